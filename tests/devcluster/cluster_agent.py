"""A real `flexmpi agent` on a test cluster, the commands that people give it, and the elastic jobs that find it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.applications import wait_until
from tests.devcluster.clusters import Cluster, without_slurm

LIMIT_S = 60.0
FLEXMPI = (sys.executable, "-m", "flexmpi.cli")


def become(uid: int) -> list[str]:
    """Return what makes a command another user's, who can reach this checkout and its interpreter wherever they are.

    Who somebody is does not depend on that: munge and the agent go by the user, not by what he may open.
    """
    reach = ("--inh-caps=+dac_override", "--ambient-caps=+dac_override")
    return ["setpriv", f"--reuid={uid}", f"--regid={uid}", "--clear-groups", *reach]


class ClusterAgent:
    """An agent process that can be killed and started again.

    Parameters
    ----------
    cluster
        The `cluster` fixture.
    folder
        Empty; other users can reach it.
    more
        Further sections of its settings.
    second_look_s
        How long a job may take to start with what is idle and kept for it.
    settings
        Of ``[agent]``, on top of those of the test.
    """

    def __init__(
        self, cluster: Cluster, folder: Path, *, more: str = "", second_look_s: float = 120.0, **settings: object
    ) -> None:
        self.cluster, self.folder = cluster, folder
        folder.chmod(0o755)
        values = {
            "folder": str(folder),
            "journal": str(folder / "journal.sqlite"),
            "listen": "tcp://127.0.0.1:0",
            "advertise": "127.0.0.1",
            "munge_socket": str(cluster.folder / "munge" / "munge.sock"),
            "tick_s": 0.5,
            "mode": "on",
            **settings,
        }
        (folder / "agent.toml").write_text(
            "[agent]\n"
            + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items())
            + "[hysteresis]\ncool_down_s = 0\nsettle_s = 1\nretry_s = 2\n"
            + f"second_look_s = {second_look_s}\n"
            + more
        )
        self.environment = {**without_slurm(os.environ), **cluster.environment, "FLEXMPI_AGENT": str(folder)}
        self.log = folder / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it and wait until it listens."""
        before = self.words().count("listening at")
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [*FLEXMPI, "agent", f"--config={self.folder / 'agent.toml'}"],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        wait_until(lambda: self.words().count("listening at") > before, what="the agent listens", limit_s=LIMIT_S)

    def words(self) -> str:
        """Return what it has logged."""
        return self.log.read_text() if self.log.exists() else ""

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """End it and wait until it has ended."""
        assert self.process is not None
        self.process.send_signal(number)
        self.process.wait(LIMIT_S)

    def command(self, *words: object, uid: int | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command for people, as another user where one is named."""
        other = [] if uid is None else become(uid)
        return subprocess.run(
            [*other, *FLEXMPI, *map(str, words)],
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            env=self.environment,
            cwd=self.folder,
        )

    def listed(self, *words: object) -> list[dict[str, Any]]:
        """Return the rows of a command that lists."""
        run = self.command(*words, "--json")
        assert run.returncode == 0, run.stderr
        rows: list[dict[str, Any]] = json.loads(run.stdout)
        return rows

    def asked(self, *words: object) -> dict[str, Any]:
        """Return the one answer of a command that only asks."""
        run = self.command(*words, "--json")
        assert run.returncode == 0, run.stderr
        answer: dict[str, Any] = json.loads(run.stdout)
        return answer

    def size(self, job_id: int) -> int:
        """Return how many nodes a job has, its companions' among them."""
        return sum(len(row["nodes"]) for row in self.listed("jobs") if row["job"] == str(job_id))

    def wait_for_size(self, job_id: int, size: int, *, limit_s: float = LIMIT_S) -> None:
        """Wait until a job has so many nodes."""
        try:
            wait_until(lambda: self.size(job_id) == size, what=f"job {job_id} has {size} nodes", limit_s=limit_s)
        except AssertionError as error:
            raise AssertionError(f"{error}; jobs: {self.listed('jobs')}; {self.words()[-3000:]}") from None

    def open_orders(self) -> list[dict[str, Any]]:
        """Return the decisions of which nothing has come yet."""
        return [row for row in self.listed("history") if row["outcome"] == "open"]

    def close(self) -> None:
        """End it in order."""
        if self.process is not None and self.process.poll() is None:
            self.kill(signal.SIGTERM)
            assert self.process.returncode == 0, self.words()[-3000:]
