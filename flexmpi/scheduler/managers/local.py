"""Virtual nodes on this machine: scripts are queued, and run as real processes when it is their turn.

Which job is next is local_queue's; ending a job's processes is local_job's. All that is known is in memory, and the jobs end
with the process that owns this.
"""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Lock, Thread

from flexmpi.cluster.platform import Node as VirtualNode
from flexmpi.cluster.state import Job, JobState, Node, NodeState, Snapshot
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import local_queue
from flexmpi.scheduler.managers.local_environment import job_environment, output_name
from flexmpi.scheduler.managers.local_queue import PARTITION, Tasks
from flexmpi.scheduler.managers.scripts import script_text
from flexmpi.slurm.commands import slurm_environment

GRACE_S = 5.0
CLOSE_LIMIT_S = 5.0
REMEMBERED = 300
"""How many jobs that ended are still told of."""
PROGRAM = Path(__file__).with_name("local_job.py")


@dataclass
class _Entry:
    """One job: what was asked for, how it is, and its process while it runs."""

    job: Job
    submission: Submission
    script: str
    array: Tasks | None = None
    process: subprocess.Popen[bytes] | None = None
    end_as: JobState | None = None
    attendant: Thread | None = None
    folder: Path | None = None


class LocalManager:
    """A resource manager of virtual nodes; first come, first served, whole nodes only.

    Parameters
    ----------
    nodes
        The virtual nodes, as a corefile describes them; their classes are features that a job may be constrained to.
    grace_s
        How long a job has between SIGTERM and SIGKILL, in seconds.
    clock
        Seconds of the epoch.
    """

    def __init__(
        self, nodes: Sequence[VirtualNode], *, grace_s: float = GRACE_S, clock: Callable[[], float] = time.time
    ) -> None:
        self._nodes = tuple(nodes)
        self._grace_s = grace_s
        self._clock = clock
        self._lock = Lock()
        self._entries: dict[int, _Entry] = {}
        self._next_id = 1
        self._closed = False

    def snapshot(self) -> Snapshot:
        """Return all nodes and jobs; the last 300 jobs that ended are among them."""
        with self._lock:
            taken, reasons = self._taken(), self._reasons()
            jobs = tuple(
                replace(entry.job, reason=reasons[job_id]) if job_id in reasons else entry.job
                for job_id, entry in self._entries.items()
            )
            nodes = tuple(
                Node(
                    name=node.name,
                    cores=node.cores,
                    states=frozenset({NodeState.ALLOCATED if node.name in taken else NodeState.IDLE}),
                    partitions=(PARTITION,),
                    features=(node.alias,),
                )
                for node in self._nodes
            )
            return Snapshot(taken_at=self._clock(), nodes=nodes, jobs=jobs)

    def submit(self, submission: Submission) -> int:
        """Queue a job and return its number; that of the first task where it is an array.

        Raises
        ------
        ManagerError
            There are no such nodes, or the script cannot be read.
        """
        script = script_text(submission)
        local_queue.require_possible(submission, self._nodes)
        array = None if submission.array is None else local_queue.parse_array(submission.array)
        with self._lock:
            if self._closed:
                raise ManagerError("the local manager has been closed, expected no more jobs")
            first = self._next_id
            for task in (None,) if array is None else array.numbers:
                job = self._described(submission, first=first, task=task)
                self._entries[job.job_id] = _Entry(job, submission, script, array)
                self._next_id += 1
            self._start_what_can()
        return first

    def cancel(self, job_id: int) -> None:
        """Have a job end, or all tasks of the array whose number this is.

        Raises
        ------
        ManagerError
            There is no such job.
        """
        with self._lock:
            entries = [
                entry for entry in self._entries.values() if job_id in (entry.job.job_id, entry.job.array_job_id)
            ]
            if not entries:
                raise ManagerError(f"job {job_id} was not cancelled: invalid job id specified")
            for entry in entries:
                self._end(entry, JobState.CANCELLED)
            self._start_what_can()

    def lend(self, job_id: int, nodes: Sequence[str]) -> None:
        """Give a running job more nodes, which no other job gets until they are taken back or it ends.

        Raises
        ------
        ManagerError
            It does not run, or one of them is not free; then it gets none.
        """
        with self._lock:
            entry = self._entries.get(job_id)
            if entry is None or entry.job.state is not JobState.RUNNING:
                raise ManagerError(f"job {job_id} does not run, expected one that does")
            free = {node.name for node in self._nodes} - self._taken()
            for node in nodes:
                if node not in free:
                    raise ManagerError(f"{node} is not free")
            entry.job = replace(entry.job, nodes=(*entry.job.nodes, *nodes))

    def take_back(self, job_id: int, nodes: Sequence[str]) -> None:
        """Free nodes that a job has left, for those that wait; all but its first, which it keeps until it ends."""
        with self._lock:
            if (entry := self._entries.get(job_id)) is not None and not entry.job.is_ended:
                first, *others = entry.job.nodes or ("",)
                entry.job = replace(entry.job, nodes=(first, *(node for node in others if node not in nodes)))
                self._start_what_can()

    def close(self) -> None:
        """End all jobs, wait until they have ended, and take no more."""
        with self._lock:
            self._closed = True
            for entry in list(self._entries.values()):
                self._end(entry, JobState.CANCELLED)
            threads = [entry.attendant for entry in self._entries.values() if entry.attendant is not None]
        for thread in threads:
            thread.join(self._grace_s + CLOSE_LIMIT_S)

    def _described(self, submission: Submission, *, first: int, task: int | None) -> Job:
        return Job(
            job_id=self._next_id,
            name=submission.name or "script",
            uid=os.getuid(),
            user=_user(),
            state=JobState.PENDING,
            minimum_nodes=submission.nodes,
            maximum_nodes=submission.maximum_nodes or submission.nodes,
            partitions=(PARTITION,),
            account=submission.account,
            qos=submission.qos,
            constraint=None if submission.constraint is None else (frozenset({submission.constraint}),),
            required_nodes=() if submission.node is None else (submission.node,),
            submitted_at=self._clock(),
            time_limit_s=submission.time_limit_s if submission.time_limit_s != float("inf") else None,
            comment=submission.comment,
            array_job_id=None if task is None else first,
            array_task_id=task,
        )

    def _taken(self) -> set[str]:
        running = (entry.job for entry in self._entries.values() if not entry.job.is_waiting and not entry.job.is_ended)
        return {name for job in running for name in job.nodes}

    def _held(self) -> dict[int, str]:
        """Return the tasks of arrays of which as many run as may, and why they wait."""
        running: dict[int, int] = {}
        for job in (entry.job for entry in self._entries.values()):
            if job.array_job_id is not None and not job.is_waiting and not job.is_ended:
                running[job.array_job_id] = running.get(job.array_job_id, 0) + 1
        return {
            job_id: "JobArrayTaskLimit"
            for job_id, entry in self._entries.items()
            if entry.array is not None and running.get(entry.job.array_job_id or 0, 0) >= entry.array.at_once
        }

    def _reasons(self) -> dict[int, str]:
        """Return why each job waits that does, in Slurm's words."""
        held = self._held()
        waiting = [job_id for job_id, entry in self._entries.items() if entry.job.is_waiting]
        reasons = {job_id: held.get(job_id, "Priority") for job_id in waiting}
        for job_id in [job_id for job_id in waiting if job_id not in held][:1]:
            reasons[job_id] = "Resources"
        return reasons

    def _start_what_can(self) -> None:
        while not self._closed:
            waiting = [(job_id, entry.submission) for job_id, entry in self._entries.items() if entry.job.is_waiting]
            found = local_queue.first_to_start(waiting, self._nodes, taken=self._taken(), held=self._held())
            if found is None:
                return
            self._start(self._entries[found[0]], found[1])

    def _start(self, entry: _Entry, nodes: tuple[str, ...]) -> None:
        now, limit_s = self._clock(), entry.job.time_limit_s
        entry.job = replace(
            entry.job,
            state=JobState.RUNNING,
            nodes=nodes,
            started_at=now,
            ends_at=None if limit_s is None else now + limit_s,
        )
        try:
            entry.process = self._launch(entry)
        except OSError as error:
            self._ended(entry, JobState.FAILED, reason=f"JobLaunchFailure: {error.filename}: {error.strerror}")
            return
        entry.attendant = Thread(target=self._attend, args=(entry, entry.process), daemon=True)
        entry.attendant.start()

    def _launch(self, entry: _Entry) -> subprocess.Popen[bytes]:
        """Start the process that runs a job; its standard input ends with this process."""
        job, submission = entry.job, entry.submission
        directory = Path(submission.directory or Path.cwd())
        # One for each job, so that a manager which is killed leaves none: where a job runs, its process removes it.
        entry.folder = Path(tempfile.mkdtemp(prefix="flexmpi-local-"))
        script = entry.folder / f"job{job.job_id}"
        script.write_text(entry.script)
        script.chmod(0o700)
        inherited = slurm_environment(os.environ) if submission.inherit_environment else {"PATH": os.defpath}
        with (directory / output_name(submission, job)).open("wb") as output:
            return subprocess.Popen(
                [sys.executable, "-I", "-S", PROGRAM, str(self._grace_s), script, *submission.arguments],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=directory,
                env=inherited
                | job_environment(job, self._nodes, directory=str(Path.cwd()))
                | dict(submission.environment),
                start_new_session=True,
            )

    def _attend(self, entry: _Entry, process: subprocess.Popen[bytes]) -> None:
        """Wait for the end of a job, its time limit's included, and start what can start then. A thread of its own."""
        try:
            status = process.wait(timeout=entry.job.time_limit_s)
        except subprocess.TimeoutExpired:
            with self._lock:
                self._end(entry, JobState.TIMEOUT)
            status = process.wait()
        with self._lock:
            if entry.end_as is not None:
                self._ended(entry, entry.end_as, reason="TimeLimit" if entry.end_as is JobState.TIMEOUT else None)
            elif status == 0:
                self._ended(entry, JobState.COMPLETED)
            else:
                self._ended(entry, JobState.FAILED, reason="NonZeroExitCode")
            self._start_what_can()

    def _end(self, entry: _Entry, state: JobState) -> None:
        """Have a job end: at once where it waits, else by its process."""
        if entry.job.is_waiting:
            self._ended(entry, state)
        elif entry.process is not None and entry.end_as is None and not entry.job.is_ended:
            entry.end_as = state
            entry.job = replace(entry.job, state=JobState.COMPLETING)
            entry.process.terminate()

    def _ended(self, entry: _Entry, state: JobState, *, reason: str | None = None) -> None:
        now = self._clock()
        entry.job = replace(entry.job, state=state, reason=reason, started_at=entry.job.started_at or now, ends_at=now)
        if entry.process is not None and entry.process.stdin is not None:
            entry.process.stdin.close()
        if entry.folder is not None:
            shutil.rmtree(entry.folder, ignore_errors=True)
        over = [job_id for job_id, other in self._entries.items() if other.job.is_ended]
        for job_id in over[:-REMEMBERED]:
            del self._entries[job_id]


def _user() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return str(os.getuid())
