"""Slurm by its library: pyslurm in a child process, which is started when it is first needed and once more if it fails.

The child is pyslurm_process's, what it is asked and what it answers is built and read in flexmpi/slurm/pyslurm_records.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from threading import Lock
from typing import Any

from flexmpi.cluster.state import Snapshot
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers.pyslurm_process import Child, ChildError
from flexmpi.scheduler.managers.scripts import script_text
from flexmpi.scheduler.managers.slurm_cli import LIMIT_S, SlurmCli
from flexmpi.slurm.asked_text import with_asked
from flexmpi.slurm.commands import quoted, sbatch_environment, slurm_environment
from flexmpi.slurm.pyslurm_records import needs_sbatch, parse_snapshot, submission_options

CHILD = Path(__file__).with_name("pyslurm_child.py")


class SlurmPyslurm:
    """A resource manager: Slurm by pyslurm, whose release must be that of the site's Slurm.

    Parameters
    ----------
    limit_s
        How long a call may take, in seconds.
    environment
        Where Slurm's configuration is (SLURM_CONF); this process's where None.
    python
        A Python that has pyslurm; this one where None.
    clock
        Seconds of the epoch.
    """

    def __init__(
        self,
        *,
        limit_s: float = LIMIT_S,
        environment: Mapping[str, str] | None = None,
        python: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limit_s = limit_s
        self._inherited = dict(os.environ if environment is None else environment)
        self._commands = SlurmCli(limit_s=limit_s, environment=self._inherited)
        self._child = Child([python or sys.executable, str(CHILD)], slurm_environment(self._inherited))
        self._clock = clock
        self._turn = Lock()

    def snapshot(self) -> Snapshot:
        """Read all nodes, jobs and partitions; partitions, and what jobs ask for, by Slurm's commands: pyslurm tells too little.

        Raises
        ------
        ManagerError
            Slurm or pyslurm does not answer in time, refuses, or cannot be used.
        """
        hidden = self._commands.site().hidden
        taken_at = self._clock()
        try:
            answer = self._call({"call": "snapshot"}, doing="list nodes and jobs")
            partitions, asked = self._commands.partitions_and_asked()
        except ManagerError as error:
            raise ManagerError(self._commands.explained(str(error))) from None
        nodes, jobs = parse_snapshot(answer)
        jobs = with_asked(jobs, asked)
        return Snapshot(
            taken_at=taken_at,
            nodes=nodes,
            jobs=jobs,
            hidden=hidden,
            partitions=partitions,
            groups=self._commands.groups(jobs, partitions),
        )

    def submit(self, submission: Submission) -> int:
        """Submit a job and return its number.

        ``sbatch`` does it where pyslurm would not do the same, see `needs_sbatch`.

        Raises
        ------
        ManagerError
            Slurm refuses, in its words; or pyslurm ends or does not answer in time: then the job may be there all the
            same.
        """
        script = script_text(submission)
        if needs_sbatch(submission, script):
            return self._commands.submit(submission)
        environment = sbatch_environment(submission, self._inherited)
        where = {"host": socket.gethostname(), "directory": str(Path.cwd())}
        options = submission_options(submission, environment=environment, **where)
        request = {"call": "submit", "script": script, "options": options}
        return int(self._call(request, doing="submit the job", again=False))

    def cancel(self, job_id: int) -> None:
        """Cancel a job, or all tasks of a job array.

        Raises
        ------
        ManagerError
            Slurm knows no such job, or refuses; or pyslurm does not answer in time.
        """
        self._call({"call": "cancel", "job_id": job_id}, doing=f"cancel job {job_id}")

    def close(self) -> None:
        """End the child."""
        with self._turn:
            self._child.stop()

    def _call(self, request: dict[str, Any], *, doing: str, again: bool = True) -> Any:
        """Ask the child, a new one where it has ended; and where it ends or hangs now, once `again`."""
        end = time.monotonic() + self._limit_s
        if not self._turn.acquire(timeout=self._limit_s):
            raise ManagerError(f"pyslurm was busy for {self._limit_s:g} s, and did not {doing}")
        try:
            # Half the time for each try, if there may be two.
            first = end - self._limit_s / 2 if again else end
            try:
                answer = self._child.ask(request | {"limit_s": self._limit_s}, end=first)
            except ChildError as error:
                self._child.stop()
                if not again:
                    raise ManagerError(f"pyslurm did not {doing}, or did: {error}") from None
                answer = self._child.ask(request | {"limit_s": self._limit_s}, end=end)
        except ChildError as error:
            self._child.stop()
            raise ManagerError(f"pyslurm did not {doing}: {error}") from None
        finally:
            self._turn.release()
        if "error" in answer:
            raise ManagerError(f"pyslurm did not {doing}: {quoted(str(answer['error']))}")
        return answer["result"]
