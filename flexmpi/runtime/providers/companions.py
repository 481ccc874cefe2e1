"""The companions of one job: submitted, looked at while they are waited for, and never forgotten.

What is wanted is compared with what Slurm lists again and again, so what ``sbatch`` has not told, or has told wrongly, comes
to light; a companion that nobody wants is cancelled. How they are listed, and which are not wanted, is `slurm.companion_queue`'s.
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError, MembershipError
from flexmpi.runtime.providers.slurm_commands import TOO_LATE, run
from flexmpi.slurm import companion_queue, times
from flexmpi.slurm.commands import (
    job_number,
    quoted,
    sbatch_command,
    sbatch_environment,
    sbatch_input,
    slurm_environment,
)
from flexmpi.slurm.companion_queue import Listed, Times

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.5, 60.0
PART_OF_WAIT = 0.1
"""Slurm is asked again after this part of the time that has been waited."""
LOOK_AGAIN_S = 0.2
END_LIMIT_S = 5.0
"""How long companions may take at the end of their job before they are cancelled."""
GONE_LIMIT_S = 60.0
"""How long a companion is waited for that has been told to end; Slurm may be busy with its node for a while."""

_TIMED_OUT = "timed out"
"""What sbatch says where slurmctld has not answered: ``Socket timed out on send/recv operation``."""


@dataclass
class _Asked:
    """One request for a node.

    Attributes
    ----------
    submitting
        The task that submits its companion, until it has been looked for.
    job_id
        What ``sbatch`` printed.
    node
        From where its launcher has reported.
    found
        Its companion as it was seen last.
    is_wanted, is_awaited
        Whether it has not been given up, and whether its launcher has not reported yet.
    refused
        Why there is no companion.
    is_settled
        Whether none can appear any more.
    """

    submitting: asyncio.Task[None] | None = None
    job_id: int | None = None
    node: str | None = None
    found: Listed | None = None
    is_wanted: bool = True
    is_awaited: bool = True
    refused: str | None = None
    is_settled: bool = False

    @property
    def is_watched(self) -> bool:
        """Whether Slurm has to be asked about it again."""
        return self.is_awaited or not self.is_wanted

    @property
    def is_over(self) -> bool:
        """Whether nothing of it is left, nor will be."""
        if self.is_wanted and self.node is not None and self.found is not None and self.found.word is None:
            return False  # one list may lack it, and the next must not show one that nobody wants
        ended = self.is_settled if self.found is None else self.found.is_over
        return ended and not self.is_awaited and self.submitting is None


class Companions:
    """The companions of one job.

    Parameters
    ----------
    parent
        The job's number.
    limit_s
        How long ``sbatch`` may take.
    on_news
        Called when something may have become of one.
    """

    def __init__(self, parent: str, *, limit_s: float, on_news: Callable[[], None]) -> None:
        self._parent = parent
        self._limit_s = limit_s
        self._on_news = on_news
        self._uid = os.getuid()
        self._first = (1 + secrets.randbelow(99_999)) * companion_queue.REQUESTS
        self._asked: dict[int, _Asked] = {}
        self._has_asked = False
        self._asked_at = 0.0
        self._since: int | None = None
        self._looking = asyncio.Lock()
        self._wake = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def ask(self, request: int, node: str | None, prepare: Callable[[], Awaitable[Submission]]) -> None:
        """Have a companion submitted; what becomes of it is told by `failure`.

        Parameters
        ----------
        node
            The node that is wanted, for messages.
        prepare
            Makes the job; MembershipError where it cannot.
        """
        asked = self._asked[request] = _Asked()
        self._has_asked, self._asked_at = True, asyncio.get_running_loop().time()
        asked.submitting = self._spawn(self._submit(asked, node or "a node", prepare))
        self._look_soon()

    def number(self, request: int) -> int:
        """Return by which number a request's companion is known among those of all runs in the job."""
        return self._first + request % companion_queue.REQUESTS

    def failure(self, request: int) -> str | None:
        """Return why the launcher of a request will not report any more; None while it may."""
        asked = self._asked.get(request)
        if asked is None or asked.submitting is not None:
            return None
        if asked.refused is None and asked.found is not None and asked.found.is_over:
            return asked.found.standing()
        return asked.refused

    def reported(self, request: int, node: str) -> None:
        """Take note that the launcher of a request has reported, from a node."""
        if (asked := self._asked.get(request)) is not None:
            asked.node, asked.is_awaited = node, False
            self._spawn(self._end_with_parent(asked))

    def give_up(self, request: int) -> None:
        """Have the companion of a request cancelled, now or when it appears."""
        if (asked := self._asked.get(request)) is not None:
            asked.is_wanted = asked.is_awaited = False
            if asked.submitting is not None:
                asked.submitting.cancel()
            self._look_soon()

    def standing(self, request: int) -> str | None:
        """Return how it stands with the companion of a request, as it was seen last; None where none was asked for.

        Raises
        ------
        MembershipError
            Slurm has refused it.
        """
        if (asked := self._asked.get(request)) is None:
            return None
        if asked.refused is not None:
            raise MembershipError(asked.refused)
        if asked.found is not None:
            return asked.found.standing()
        return "Slurm has not taken the job" if asked.job_id is None else f"Slurm does not list job {asked.job_id}"

    async def ended(self, request: int) -> None:
        """Wait until the companion of a request is over by Slurm's own word, or not to be seen."""
        end = asyncio.get_running_loop().time() + GONE_LIMIT_S
        while (asked := self._asked.get(request)) is not None and asyncio.get_running_loop().time() < end:
            is_gone = await self._look() and (asked.found is None or asked.found.word is None)
            if is_gone and asked.submitting is None:
                if asked.is_wanted:
                    del self._asked[request]
                return
            if request in self._asked:
                await asyncio.sleep(LOOK_AGAIN_S)

    async def close(self) -> None:
        """See that none is left; their launchers have been told to stop."""
        if not self._has_asked:
            return
        end = asyncio.get_running_loop().time() + END_LIMIT_S
        unknown = [asked for asked in self._asked.values() if asked.found is None and asked.submitting is not None]
        if unknown:
            await asyncio.wait([asked.submitting for asked in unknown if asked.submitting], timeout=END_LIMIT_S)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks), timeout=END_LIMIT_S)
        while True:
            listed = await self._list()
            # Where Slurm does not answer: those that are known, and are still this job's by name and owner.
            known = [asked.found for asked in self._asked.values() if asked.found is not None]
            alive = [each for each in (known if listed is None else listed) if each.can_be_cancelled]
            late = asyncio.get_running_loop().time() >= end
            await self._cancel([each for each in alive if late or each.waits])
            if late or (listed is not None and not alive and not any(map(_may_appear, self._asked.values()))):
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def _submit(self, asked: _Asked, whom: str, prepare: Callable[[], Awaitable[Submission]]) -> None:
        try:
            submission = await prepare()
            command, environment = sbatch_command(submission), sbatch_environment(submission, os.environ)
            status, output, errors = await run(
                command, environment, given=sbatch_input(submission), limit_s=self._limit_s
            )
            why = quoted(errors) or f"sbatch status {status}"
            try:
                asked.job_id = job_number(output)
            except ManagerError as error:
                why = why if status else str(error)
            looked = await self._look()
            if asked.found is None and (status or asked.job_id is None):
                asked.refused = f"Slurm refused {whom}: {why}"
                # One that took too long may have reached Slurm all the same, which takes its time.
                asked.is_settled = looked and status not in (0, TOO_LATE) and _TIMED_OUT not in errors
        except MembershipError as error:
            asked.refused, asked.is_settled = str(error), True
        finally:
            asked.submitting = None
            self._on_news()

    async def _end_with_parent(self, asked: _Asked) -> None:
        """Have a companion's limit end when its job's does: its own was counted from its start, so that waiting put it off."""
        await self._look()
        parent = await self._times()
        if parent is None or parent.ends_at is None or asked.found is None or asked.found.ends_at is None:
            return
        if asked.found.ends_at > parent.ends_at:
            await run(companion_queue.end_command(asked.found.job_id, ends_at=parent.ends_at))

    def _look_soon(self) -> None:
        """Have a look taken as soon as possible, and again as long as there is something to be seen."""
        self._wake.set()
        if self._watching is None or self._watching.done():
            self._watching = self._spawn(self._watch())

    async def _watch(self) -> None:
        while any(asked.is_watched for asked in self._asked.values()):
            waited_s = asyncio.get_running_loop().time() - self._asked_at
            with suppress(TimeoutError):
                async with asyncio.timeout(min(max(FIRST_PAUSE_S, waited_s * PART_OF_WAIT), LONGEST_PAUSE_S)):
                    await self._wake.wait()
            self._wake.clear()
            await self._look()

    async def _look(self) -> bool:
        """Compare what Slurm lists with what is wanted, and cancel the rest; return whether Slurm has answered."""
        # One after the other: what is known must not be taken for gone by a list that is older.
        async with self._looking:
            if (listed := await self._list()) is None:
                return False
            for request, asked in self._asked.items():
                own = companion_queue.of_request(listed, request, job_id=asked.job_id, node=asked.node)
                asked.found = own if own is not None or asked.found is None else asked.found.gone()
            wanted = {request: asked for request, asked in self._asked.items() if asked.is_wanted}
            await self._cancel(
                companion_queue.strays(
                    listed,
                    kept={asked.found.identity for asked in wanted.values() if asked.found is not None},
                    under_way=[request for request, asked in wanted.items() if asked.submitting is not None],
                )
            )
            self._asked = {request: asked for request, asked in self._asked.items() if not asked.is_over}
        self._on_news()
        return True

    async def _list(self) -> tuple[Listed, ...] | None:
        """Return the companions that Slurm knows; None where it does not answer."""
        if self._since is None:
            if (parent := await self._times()) is None:
                return None
            self._since = parent.submitted_at
        status, output, _ = await self._ask(companion_queue.listing_command(self._parent, uid=self._uid))
        if status != 0:
            return None
        return companion_queue.of_run(companion_queue.parse_listing(output, since=self._since), self._first)

    async def _times(self) -> Times | None:
        _, output, _ = await self._ask(companion_queue.times_command(self._parent))
        return companion_queue.parse_times(self._parent, output)

    async def _cancel(self, companions: Sequence[Listed]) -> None:
        if companions:
            numbers = [each.job_id for each in companions]
            await run(companion_queue.cancel_command(self._parent, numbers, uid=self._uid))

    async def _ask(self, command: Sequence[str]) -> tuple[int, str, str]:
        return await run(command, slurm_environment(os.environ) | times.ENVIRONMENT)

    def _spawn(self, work: Coroutine[None, None, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _may_appear(asked: _Asked) -> bool:
    """Whether a companion may still come into the list."""
    return asked.found is None and asked.node is None and not asked.is_settled
