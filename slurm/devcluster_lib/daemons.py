"""The processes of a cluster: starting daemons, telling which live, finding everything that belongs to a cluster, ending it.

Nothing here knows what the daemons are for.
"""

from __future__ import annotations

import dataclasses
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from devcluster_lib.packages import search_path
from devcluster_lib.plans import Plan
from devcluster_lib.waiting import wait_until

MARK = "DEVCLUSTER"
"""The environment variable that marks a daemon; its value is the cluster's folder and the daemon's name."""
SLURM_VARIABLES = ("SLURM_", "SLURMD_", "SBATCH_", "SALLOC_", "SRUN_", "SQUEUE_", "SINFO_", "SCANCEL_", "SCONTROL_")
"""What the variables begin with by which one Slurm, or one job, would be mistaken for another."""
REWRITES_ENVIRONMENT = ("slurmstepd", "slurmscriptd", "slurmctld")
"""Programs that write their title over their environment; they are known by the files they have open."""
HOLDER = "holder."
"""What the names of daemons begin with that only keep a node's namespaces alive."""
KILL_LIMIT_S = 10.0
PROC = Path("/proc")


@dataclasses.dataclass(frozen=True)
class Daemon:
    """A process to be kept running."""

    name: str
    command: tuple[str, ...]


def environment(plan: Plan) -> dict[str, str]:
    """Return an environment in which Slurm's commands speak to this cluster and nothing reminds of another."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith((*SLURM_VARIABLES, MARK))}
    return kept | {"SLURM_CONF": str(plan.slurm_conf), "PATH": search_path()}


def start(plan: Plan, daemon: Daemon) -> None:
    """Start a daemon in a session of its own, in the cluster's folder."""
    with plan.log(daemon.name).open("ab") as log:
        process = subprocess.Popen(
            daemon.command,
            cwd=plan.folder,
            env=environment(plan) | {MARK: _mark(plan.folder, daemon.name)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            umask=0o022,
        )
    _pid_file(plan, daemon.name).write_text(f"{process.pid} {_started(process.pid)}\n")


def pid_of(plan: Plan, name: str) -> int | None:
    """Return the process id of a daemon, or none if it does not live."""
    try:
        pid, started = map(int, _pid_file(plan, name).read_text().split())
    except (OSError, ValueError):
        return None
    # The number may have gone to another process since. (Its environment would not tell: it is empty while it executes.)
    return pid if _lives(pid) and _started(pid) == started else None


def members(folder: Path) -> set[int]:
    """Return every process of the cluster in a folder: daemons, job steps, jobs, and whatever these started.

    It also finds what an earlier cluster in the same folder left when it crashed.
    """
    parents = dict(_parents())
    ours = {pid for pid in parents if _belongs(pid, folder)}
    # Only a namespace that was made for a node: the others of a member's namespace may be the whole machine.
    namespaces = {namespace(pid) for pid in ours if _holds_namespace(pid, folder)}
    if namespaces:
        ours |= {pid for pid in parents if namespace(pid) in namespaces}
    ours |= {pid for pid in parents if not ours.isdisjoint(_ancestors(pid, parents))}
    return ours - {os.getpid(), *_ancestors(os.getpid(), parents)}


def holds_namespace(pid: int) -> bool:
    """Tell whether a process that was started to hold namespaces has made them: then it sleeps."""
    return _command_name(pid) == "sleep"


def namespace(pid: int) -> str | None:
    """Return the name of a process's network namespace."""
    try:
        return str((PROC / str(pid) / "ns" / "net").readlink())
    except OSError:
        return None


def end_all(folder: Path) -> None:
    """Kill every process of the cluster in a folder, and look again until there is none.

    Raises
    ------
    DevclusterError
        Some still live 10 s after they were killed, as processes do in an uninterruptible system call.
    """
    while found := members(folder):
        _kill(found)


def _kill(pids: set[int]) -> None:
    for pid in pids:
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signal.SIGKILL)
    names = ", ".join(map(str, sorted(pids)))
    wait_until(lambda: not any(map(_lives, pids)), what=f"the killed processes {names} are gone", limit_s=KILL_LIMIT_S)


def _belongs(pid: int, folder: Path) -> bool:
    variables = _environment_of(pid)
    if any(entry.startswith(f"{MARK}={_mark(folder, '')}") for entry in variables):
        return True
    # What Slurm sets in a job, and `env` does not set in a shell.
    if {f"SLURM_CONF={folder}/slurm.conf", "SLURM_CLUSTER_NAME=devcluster"} <= variables:
        return True
    return _command_name(pid) in REWRITES_ENVIRONMENT and any(
        path.startswith(f"{folder}/") for path in _open_files(pid)
    )


def _holds_namespace(pid: int, folder: Path) -> bool:
    mark = f"{MARK}={_mark(folder, HOLDER)}"
    return holds_namespace(pid) and any(entry.startswith(mark) for entry in _environment_of(pid))


def _mark(folder: Path, name: str) -> str:
    return f"{folder} {name}"


def _pid_file(plan: Plan, name: str) -> Path:
    return plan.folder / "run" / f"{name}.pid"


def _lives(pid: int) -> bool:
    """Tell whether a process runs; one that has ended but was not collected by its parent does not."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    fields = _stat(pid)
    return bool(fields) and fields[0] not in "ZX"


def _started(pid: int) -> int | None:
    """Return when a process was started, in clock ticks since the machine was."""
    fields = _stat(pid)
    return int(fields[19]) if fields else None


def _parents() -> Iterator[tuple[int, int]]:
    for entry in os.scandir(PROC):
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            yield int(entry.name), int(fields[1])


def _ancestors(pid: int, parents: dict[int, int]) -> Iterator[int]:
    while pid := parents.get(pid, 0):
        yield pid


def _stat(pid: int) -> list[str]:
    """Return the fields of proc_pid_stat(5) from the third on: state, parent, …; none if the process is gone."""
    try:
        # The command, in parentheses, may hold anything.
        return (PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _environment_of(pid: int) -> set[str]:
    try:
        return set((PROC / str(pid) / "environ").read_bytes().decode(errors="replace").split("\0"))
    except OSError:
        return set()


def _command_name(pid: int) -> str:
    try:
        return (PROC / str(pid) / "comm").read_text().strip()
    except OSError:
        return ""


def _open_files(pid: int) -> Iterator[str]:
    with suppress(OSError):
        yield f"{(PROC / str(pid) / 'cwd').readlink()}/"
    with suppress(OSError):
        for descriptor in (PROC / str(pid) / "fd").iterdir():
            with suppress(OSError):
                yield str(descriptor.readlink())
