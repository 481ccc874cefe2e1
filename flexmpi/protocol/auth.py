"""Who somebody is and what they may do: what a credential says, how it is checked, and who may act on which job.

Pure: the keys are read in `trust.keys`, munge is run in `trust.munge`, sockets are secured in `trust.curve`.
"""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol

from flexmpi.errors import AuthenticationError

PURPOSE = "flexmpi-agent/1"
SEPARATOR = ","  # in no Z85 text
LOCAL = "LOCAL"
NONCE_BYTES = 16
ROOT = 0


@dataclass(frozen=True)
class Identity:
    """A user of this system."""

    uid: int
    gid: int


@dataclass(frozen=True)
class Signed:
    """What a credential says, and who said it."""

    payload: str
    identity: Identity


class Authority(Protocol):
    """What vouches that a user of this system made a payload: `flexmpi.trust.munge.Munge` or a `SharedKey`."""

    def sign(self, payload: str) -> str:
        """Return a credential for a payload, made by this process's user.

        Raises
        ------
        AuthenticationError
            None can be made.
        """

    def read(self, credential: str) -> Signed:
        """Return what a credential says and who made it.

        Raises
        ------
        AuthenticationError
            It is not genuine, or has expired.
        """


@dataclass(frozen=True)
class SharedKey:
    """The authority where there is no munge: whoever can read the key file is its owner.

    Attributes
    ----------
    key
        Of the file.
    owner
        Of the file, which nobody else can read.
    """

    key: bytes = field(repr=False)
    owner: Identity

    def sign(self, payload: str) -> str:
        """Return ``LOCAL:PAYLOAD:HMAC``."""
        return f"{LOCAL}:{payload}:{self._tag(payload)}"

    def read(self, credential: str) -> Signed:
        """Return what such a credential says; raises AuthenticationError where it was not made with this key."""
        head, _, rest = credential.partition(":")
        payload, _, tag = rest.rpartition(":")
        if head != LOCAL:
            raise AuthenticationError(f"the credential is not of the form {LOCAL}:…, which this agent asks for")
        if not hmac.compare_digest(self._tag(payload).encode(), tag.encode(errors="replace")):
            raise AuthenticationError("the credential was not made with this agent's local key")
        return Signed(payload, self.owner)

    def _tag(self, payload: str) -> str:
        return hmac.digest(self.key, payload.encode(errors="surrogatepass"), "sha256").hex()


def prove(authority: Authority, *, client_key: str, server_key: str) -> str:
    """Return a credential that is good for one connection: that of this client's key to this server's.

    Raises
    ------
    AuthenticationError
        The authority makes none.
    """
    return authority.sign(fresh_payload(client_key=client_key, server_key=server_key))


def fresh_payload(*, client_key: str, server_key: str) -> str:
    """Return what a credential for a connection is made of, with a number that was never used."""
    return payload_of(client_key=client_key, server_key=server_key, nonce=secrets.token_hex(NONCE_BYTES))


def identify(authority: Authority, credential: str, *, client_key: str, server_key: str) -> Identity:
    """Return whose credential came over a connection.

    It can be used again on its own connection only, by the same user: that does no harm.

    Parameters
    ----------
    client_key
        The connection's own, as ZeroMQ proved it; never one that a message tells.
    server_key
        The agent's own.

    Raises
    ------
    AuthenticationError
        The credential is not genuine, has expired, or was made for another connection or purpose.
    """
    signed = authority.read(credential)
    check_payload(signed.payload, client_key=client_key, server_key=server_key)
    return signed.identity


def payload_of(*, client_key: str, server_key: str, nonce: str) -> str:
    """Return what a credential is made of: its purpose, both public keys (Z85) and a number used once."""
    return SEPARATOR.join((PURPOSE, client_key, server_key, nonce))


def check_payload(payload: str, *, client_key: str, server_key: str) -> None:
    """Compare what a credential says with the connection it came over.

    Raises
    ------
    AuthenticationError
        It was made for something else.
    """
    purpose, *rest = payload.split(SEPARATOR)
    if purpose != PURPOSE or len(rest) != 3:
        raise AuthenticationError(f"the credential was not made for a FlexMPI agent of this version ({PURPOSE})")
    if rest[0] != client_key:
        raise AuthenticationError(
            "the credential was made for another connection: its client key is not the connection's"
        )
    if rest[1] != server_key:
        raise AuthenticationError("the credential was made for another agent: its server key is not this agent's")


class Action(StrEnum):
    """What somebody may want of an agent."""

    READ = "read"
    REGISTER = "register"
    EXPAND = "expand"
    SHRINK = "shrink"
    BALANCE = "balance"
    STOP = "stop"
    POLICY = "policy"
    MODE = "mode"
    POWERCAP = "powercap"
    SUBMIT = "submit"


ON_A_JOB = frozenset({Action.EXPAND, Action.SHRINK, Action.BALANCE, Action.STOP})


@dataclass(frozen=True)
class Permission:
    """Whether something is allowed, and why; true where it is."""

    granted: bool
    why: str

    def __bool__(self) -> bool:
        return self.granted


def by_number(uid: int) -> str:
    """Return what a user is called where no names are known."""
    return f"uid {uid}"


def may(
    uid: int,
    action: Action,
    *,
    agent_uid: int,
    job_owner: int | None = None,
    operators: Collection[int] = (),
    name_of: Callable[[int], str] = by_number,
) -> Permission:
    """Decide whether a user may do something.

    Root, the agent's own user and operators may act on any job, an owner on its own; everybody may look. A job is
    registered by its owner only, so that nobody else receives its commands. What is submitted runs as the agent's own
    user, so operators may not.

    Parameters
    ----------
    uid
        Who wants to, as `identify` found.
    agent_uid
        The user the agent runs as.
    job_owner
        The uid whose job it is, as the resource manager says; None where the action is on none.
    operators
        The uids that the agent's configuration lists.
    name_of
        What a user is called in a refusal.
    """
    if action is Action.READ:
        return Permission(True, "everybody may look")
    owns = job_owner is not None and uid == job_owner
    owner = "" if job_owner is None else f" ({name_of(job_owner)})"
    if owns and (action in ON_A_JOB or action is Action.REGISTER):
        return Permission(True, "the job's owner")
    if action is Action.REGISTER:
        return Permission(False, f"{name_of(uid)} may not register this job: only its owner may{owner}")
    if uid in (ROOT, agent_uid):
        return Permission(True, "root" if uid == ROOT else "the agent's own user")
    if action is Action.SUBMIT:
        return Permission(
            False, f"{name_of(uid)} may not submit: jobs run as the agent's own user ({name_of(agent_uid)})"
        )
    if uid in operators:
        return Permission(True, "an operator")
    if action in ON_A_JOB:
        return Permission(False, f"{name_of(uid)} may not {action} this job: only its owner{owner} and operators may")
    return Permission(False, f"{name_of(uid)} may not change the {action}: only operators may")
