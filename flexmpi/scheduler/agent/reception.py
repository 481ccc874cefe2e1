"""Hears whoever speaks to the agent: finds out who that is, and passes jobs on to the ledger and people to the desk."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Coroutine
from typing import Any, Protocol

from flexmpi.cluster.state import Job, Snapshot
from flexmpi.errors import AuthenticationError, FlexMPIError, MessageError
from flexmpi.protocol.auth import Action, Authority, Identity, identify, may
from flexmpi.protocol.messages import FromAgent, Register, Rejected
from flexmpi.protocol.replies import Reply
from flexmpi.protocol.requests import AnyRequest, Request, decode_to_agent
from flexmpi.scheduler.agent.server import Server
from flexmpi.scheduler.jobs.ledger import Ledger, Member
from flexmpi.scheduler.ordering.journal import LARGEST_BELIEVED_EPOCH
from flexmpi.scheduler.requests.desk import Desk
from flexmpi.trust.users import name_of_user

log = logging.getLogger("flexmpi.agent")

AT_ONCE = 64
"""How many credentials are checked at the same time, at most."""
REMEMBERED = 100
"""How many refused messages are not logged again, the latest."""


class Office(Protocol):
    """What the agent offers its reception."""

    ledger: Ledger
    snapshot: Snapshot

    def now(self) -> float:
        """Return the time, in seconds of the epoch."""

    async def look(self, *, since: float) -> None:
        """Have a snapshot that is not older than this; raises ManagerError where the manager does not answer."""

    def admitted(self, member: Member) -> None:
        """Take note of a job that was not known before."""

    def flush(self) -> None:
        """Send what is to be sent, and record what is over."""

    def send(self, connection: bytes, message: Reply | FromAgent) -> None:
        """Send a message to a connection."""


class Reception:
    """The agent's ear.

    Parameters
    ----------
    office
        The agent.
    server
        Where jobs and people connect to.
    authority
        What proves who somebody is.
    desk
        Which answers people.
    """

    def __init__(self, office: Office, *, server: Server, authority: Authority, desk: Desk) -> None:
        self._office = office
        self._server = server
        self._authority = authority
        self._desk = desk
        self._checking = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._refused: deque[tuple[bytes, str]] = deque(maxlen=REMEMBERED)

    def close(self) -> None:
        """Give up what is being answered."""
        for task in [*self._tasks]:
            task.cancel()

    async def serve(self) -> None:
        """Take in messages for ever."""
        while True:
            connection, data = await self._server.receive()
            try:
                message = decode_to_agent(data)
            except MessageError as error:
                self._log_refusal(connection, str(error))
                self._office.send(connection, Rejected(why=str(error)))
                continue
            if isinstance(message, Register):
                self.spawn(self._admit(message, connection))
            elif isinstance(message, Request):
                self.spawn(self._ask(message, connection))
            else:
                self._office.ledger.hear(message, connection=connection, now=self._office.now())
                self._office.flush()

    def _log_refusal(self, connection: bytes, why: str) -> None:
        """Log once what the same peer does again and again: one of another release does, with each of its samples."""
        if (connection, why) not in self._refused:
            self._refused.append((connection, why))
            log.warning("a message is refused: %s", why)

    def spawn(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """Do something beside the rest."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_task_end)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("a message was not dealt with", exc_info=error)

    async def _admit(self, said: Register, connection: bytes) -> None:
        """Let a job register whose owner has proved himself."""
        try:
            who = await self._identify(said.credential, connection)
            job = await self._job_of(said, who)
        except FlexMPIError as error:
            log.warning("job %s (key %s) may not register: %s", said.job_id, said.job_key, error)
            self._office.send(connection, Rejected(why=str(error)))
            return
        is_new = said.job_key not in self._office.ledger.members
        self._office.ledger.register(said, job, connection=connection, now=self._office.now())
        member = self._office.ledger.members.get(said.job_key)
        if is_new and member is not None:
            self._office.admitted(member)
        self._office.flush()

    async def _job_of(self, said: Register, who: Identity) -> Job:
        """Return the resource manager's job that somebody may register.

        Raises
        ------
        AuthenticationError
            There is no such job, or it is another user's.
        ManagerError
            The resource manager does not answer.
        """
        if said.job_id is None:
            raise AuthenticationError("it runs in no job of the resource manager")
        if said.epoch > LARGEST_BELIEVED_EPOCH:
            raise AuthenticationError(f"epoch {said.epoch} is none that an agent has given out")
        await self._office.look(since=self._office.now())
        job = self._office.snapshot.job_of.get(said.job_id)
        if job is None or job.is_ended:
            if "jobs" in self._office.snapshot.hidden:
                raise AuthenticationError(
                    f"the agent does not see job {said.job_id}: PrivateData hides others' from its user"
                )
            raise AuthenticationError(f"the resource manager knows no running job {said.job_id}")
        permission = may(who.uid, Action.REGISTER, agent_uid=os.geteuid(), job_owner=job.uid, name_of=name_of_user)
        if not permission or said.uid != job.uid:
            raise AuthenticationError(
                permission.why if not permission else f"job {said.job_id} is not uid {said.uid}'s"
            )
        return job

    async def _ask(self, request: AnyRequest, connection: bytes) -> None:
        try:
            who = await self._identify(request.credential, connection)
        except AuthenticationError as error:
            log.warning("a request (%s) was refused: %s", request.kind, error)
            self._office.send(connection, Rejected(why=str(error)))
            return
        self._desk.answer(request, who=who, connection=connection)
        self._office.flush()

    async def _identify(self, credential: str, connection: bytes) -> Identity:
        async with self._checking:
            return await asyncio.to_thread(
                identify, self._authority, credential, client_key=connection.decode(), server_key=self._server.key
            )
