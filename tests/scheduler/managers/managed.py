"""A resource manager under test: jobs that run until they are told to end, and waiting for what it says of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType

from flexmpi.cluster.state import Job, Snapshot
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import ResourceManager, Submission
from tests.applications import wait_until

LIMIT_S = 60.0

# Runs until its first argument exists, having written what it was told to its second.
HELD = """#!/bin/sh
echo "$$ ${SLURM_ARRAY_TASK_ID-}${FLEXMPI_ARRAY_TASK_ID-}" >> "$2"
while [ ! -e "$1" ]; do sleep 0.05; done
"""


class Managed:
    """A manager, the jobs submitted to it through this, and their end.

    Parameters
    ----------
    manager
        The manager, with nothing else going on under it.
    """

    def __init__(self, manager: ResourceManager) -> None:
        self.manager = manager
        self._submitted: list[int] = []

    def __enter__(self) -> Managed:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End every job, and see that all nodes are free then."""
        try:
            for job_id in self._submitted:
                if any(not job.is_ended for job in self.manager.snapshot().tasks_of(job_id)):
                    self.manager.cancel(job_id)
            self.until(lambda seen: all(node.is_free for node in seen.nodes), what="all nodes are free")
        finally:
            self.manager.close()

    def submit(self, submission: Submission) -> int:
        """Submit a job that ends with the test."""
        job_id = self.manager.submit(submission)
        self._submitted.append(job_id)
        return job_id

    def hold(self, folder: Path, **options: object) -> HeldJob:
        """Submit a job that runs until it is told to end."""
        return HeldJob(self, folder, options)

    def until(self, condition: Callable[[Snapshot], bool], *, what: str) -> Snapshot:
        """Take snapshots until one is as it should be, and return it."""
        seen: list[Snapshot] = []

        def holds() -> bool:
            seen[:] = [self.manager.snapshot()]
            return condition(seen[0])

        try:
            wait_until(holds, what=what, limit_s=LIMIT_S)
        except AssertionError as error:
            raise AssertionError(f"{error}; last seen: {seen}") from None
        return seen[0]

    def job(self, job_id: int) -> Job | None:
        """Return what the manager says of a job now, or None if it does not know it any more."""
        return self.manager.snapshot().job_of.get(job_id)

    def until_ended(self, job_id: int) -> Snapshot:
        """Wait until a job, or every task of an array, has ended and its nodes are free."""

        def over(seen: Snapshot) -> bool:
            jobs = seen.tasks_of(job_id)
            names = {name for job in jobs for name in job.nodes}
            return all(job.is_ended for job in jobs) and all(seen.node_of[name].is_free for name in names)

        return self.until(over, what=f"job {job_id} has ended")

    def refusal(self, act: Callable[[], object]) -> str:
        """Return why the manager refuses to do something."""
        try:
            done = act()
        except ManagerError as error:
            return str(error)
        raise AssertionError(f"not refused: {done}")


class HeldJob:
    """A job that runs until `release`, or is cancelled."""

    def __init__(self, managed: Managed, folder: Path, options: dict[str, object]) -> None:
        count = len(list(folder.iterdir()))
        self._gate, self.told = folder / f"gate{count}", folder / f"told{count}"
        self.told.touch()
        self._managed = managed
        arguments = (str(self._gate), str(self.told))
        settings = {"output": "/dev/null", **options}
        self.job_id = managed.submit(Submission(script=HELD, arguments=arguments, **settings))  # type: ignore[arg-type]

    def until_running(self) -> Job:
        """Wait until its script runs, and return the job."""
        seen = self._managed.until(
            lambda seen: any(job.nodes and not job.is_ended for job in seen.tasks_of(self.job_id)),
            what=f"job {self.job_id} has nodes",
        )
        wait_until(lambda: self.told.read_text() != "", what=f"the script of job {self.job_id} runs", limit_s=LIMIT_S)
        return seen.job_of[self.job_id]

    @property
    def pids(self) -> list[int]:
        """The process ids of its scripts."""
        return [int(line.split()[0]) for line in self.told.read_text().splitlines()]

    def release(self) -> None:
        """Let it end by itself."""
        self._gate.touch()
