"""Clusters for tests: a real Slurm made by slurm/devcluster, what runs in it, and what it leaves behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.applications import REPOSITORY, wait_until

DEVCLUSTER = REPOSITORY / "slurm" / "devcluster"
LIMIT_S = 60.0
MISSING = 3
"""The exit status of devcluster where this machine lacks what is asked for."""


def devcluster(
    command: str,
    *options: object,
    folder: Path,
    environment: dict[str, str] | None = None,
    before: tuple[str, ...] = (),
) -> subprocess.CompletedProcess[str]:
    """Run ``devcluster COMMAND`` for the cluster in a folder; ``before`` leads the command line."""
    return subprocess.run(
        [*before, sys.executable, str(DEVCLUSTER), command, f"--folder={folder}", *map(str, options)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, **(environment or {})},
    )


def missing_here() -> str | None:
    """Return what this machine lacks for any cluster, in devcluster's words, or none."""
    run = devcluster("status", folder=Path("/nonexistent"))
    return run.stderr.strip() if run.returncode == MISSING else None


class Cluster:
    """A cluster in a folder of its own, up when this is made; `close` takes it down.

    A guard process takes it down when this process ends in whatever way, so that a killed test run leaves nothing.

    Parameters
    ----------
    options
        Of ``devcluster up``.

    Raises
    ------
    MissingHere
        This machine lacks what is asked for.
    """

    def __init__(self, *options: str) -> None:
        # Short, for it holds Unix sockets, whose paths are at most 107 bytes.
        self.folder = Path(tempfile.mkdtemp(prefix="fx-slurm-", dir="/tmp"))
        down = [sys.executable, str(DEVCLUSTER), "down", f"--folder={self.folder}"]
        self._guard = subprocess.Popen(
            ["sh", "-c", 'read -r _; exec "$@"', "sh", *down], stdin=subprocess.PIPE, start_new_session=True
        )
        run = devcluster("up", *options, folder=self.folder)
        if run.returncode != 0:
            self.close()
            raise MissingHere(run.stderr.strip()) if run.returncode == MISSING else AssertionError(run.stderr)
        self.has_hosts = "--hosts" in options
        self.environment = {"SLURM_CONF": str(self.folder / "slurm.conf")}
        """What to add to an environment so that Slurm's commands speak to this cluster."""
        self._configuration = (self.folder / "slurm.conf").read_text()
        self.nodes = tuple(self.run("sinfo", "--noheader", "--Node", "--format=%N").split())

    def run(self, *command: object, limit_s: float = LIMIT_S) -> str:
        """Run a command in the cluster's environment and return what it printed; it must succeed."""
        run = subprocess.run(
            [str(word) for word in command],
            capture_output=True,
            text=True,
            timeout=limit_s,
            check=False,
            cwd=self.folder,  # a job's output is to go with the cluster
            env={**without_slurm(os.environ), **self.environment},
        )
        assert run.returncode == 0, f"{command}: status {run.returncode}: {run.stderr}{run.stdout}"
        return run.stdout

    def jobs(self) -> list[dict[str, Any]]:
        """Return all jobs that slurmctld knows, ended ones too, as ``squeue --json`` shows them."""
        jobs: list[dict[str, Any]] = json.loads(self.run("squeue", "--json"))["jobs"]
        return jobs

    def node_states(self) -> dict[str, str]:
        """Return the state of each node: idle, allocated, …"""
        lines = self.run("sinfo", "--noheader", "--Node", "--format=%N %T").splitlines()
        return dict(line.split() for line in lines)

    def wait_until_idle(self, limit_s: float = LIMIT_S) -> None:
        """Wait until no job is pending, running or ending, and all nodes are idle."""

        def idle() -> bool:
            return set(self.node_states().values()) == {"idle"} and not self.run("squeue", "--noheader")

        try:
            wait_until(idle, what=f"{len(self.nodes)} nodes are idle and no job is left", limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.run('sinfo', '--Node', '--long')}{self.run('squeue')}") from None

    def configure(self, more: str = "", *, says: str) -> None:
        """Have a further line in Slurm's configuration, or none, and see that ``scontrol show config`` says this.

        All daemons are started anew. ``scontrol reconfigure`` does not wait for those of the nodes: one would read the
        file while it is written the next time, and end, or run a job by what was there before.
        """
        self.restart_with({"slurm.conf": f"{self._configuration}{more}\n"})
        shown = " ".join(self.run("scontrol", "show", "config").split())
        assert says in shown, shown

    def restart_with(self, files: dict[str, str]) -> None:
        """End slurmctld and every node's slurmd in order, write files, by their names, and start all; jobs go on meanwhile."""
        for daemon in ("slurmctld", *self.nodes):
            self.kill(daemon, signal.SIGTERM)
        for name, text in files.items():
            (self.folder / name).write_text(text)
        self.up()

    def cancel_all(self) -> None:
        """Cancel this user's jobs and wait until none is left; nodes are not idle in Slurm's words where they are reserved."""
        self.run("scancel", f"--user={os.getuid()}")
        wait_until(lambda: not self.run("squeue", "--noheader"), what="no job is left", limit_s=LIMIT_S)

    def pid(self, name: str) -> int:
        """Return the process id of munged, slurmctld, or a node's slurmd."""
        printed = devcluster("status", folder=self.folder).stdout
        found = re.search(rf"^{name} +pid (\d+)", printed, re.MULTILINE)
        assert found, f"{name} is not alive: {printed}"
        return int(found[1])

    def kill(self, name: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal to munged, slurmctld, or a node's slurmd, and wait until it has ended."""
        pid = self.pid(name)
        os.kill(pid, number)
        wait_until(lambda: not _lives(pid), what=f"{name} has ended", limit_s=LIMIT_S)

    def up(self) -> None:
        """Start those daemons that are dead."""
        run = devcluster("up", folder=self.folder)
        assert run.returncode == 0, run.stderr

    def restart_controller(self) -> None:
        """End slurmctld in order and start it again; jobs go on meanwhile."""
        self.kill("slurmctld", signal.SIGTERM)
        self.up()

    def close(self) -> None:
        """Take it down and check that nothing is left."""
        assert self._guard.stdin is not None
        self._guard.stdin.close()
        assert self._guard.wait(LIMIT_S) == 0, "devcluster down failed; its words are above"
        assert not self.folder.exists()
        assert processes_of(self.folder) == []


class MissingHere(Exception):
    """This machine lacks what a cluster needs; the reason in devcluster's words."""


def without_slurm(environment: os._Environ[str]) -> dict[str, str]:
    """Return an environment without what Slurm sets in a job, should the tests run in one."""
    return {name: value for name, value in environment.items() if not name.startswith(("SLURM", "SBATCH_"))}


def processes_of(folder: Path) -> list[str]:
    """Return the processes that have to do with a folder: by command line, environment, or open files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        traces = b""
        for name in ("cmdline", "environ"):
            with suppress(OSError):
                traces += (process / name).read_bytes()
        with suppress(OSError):
            links = [process / "cwd", *(process / "fd").iterdir()]
            for link in links:
                with suppress(OSError):
                    traces += os.fsencode(link.readlink()) + b"\0"
        if os.fsencode(folder) in traces:
            found.append(f"{process.name} {traces[:200]!r}")
    return found


def own_folder() -> Path:
    """Return a new folder for a cluster, with a path short enough for its sockets."""
    return Path(tempfile.mkdtemp(prefix="fx-slurm-", dir="/tmp"))


def remove(folder: Path) -> None:
    """Take down whatever is in a folder and remove it."""
    devcluster("down", folder=folder)
    shutil.rmtree(folder, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
