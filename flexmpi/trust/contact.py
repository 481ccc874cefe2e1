"""How clients find an agent and reach it: its card and its public key, which it leaves in a folder, and the way to its socket.

Clients are supervisors and the commands for people. What is said over the connection is `messages` and `requests`'s.
"""

from __future__ import annotations

import errno
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Generic, Literal, TypeVar

import zmq
from pydantic import AfterValidator, ValidationError

from flexmpi.errors import AuthenticationError, ConfigurationError
from flexmpi.protocol.auth import Authority, fresh_payload, prove
from flexmpi.protocol.wire import VERSION, Value, Version, complaint
from flexmpi.trust.agent_folder import CARD_NAME, PUBLIC_NAME, has_card
from flexmpi.trust.curve import means_ipv6, secure_client
from flexmpi.trust.guarded_files import PUBLIC_MODE, WRITABLE_BY_OTHERS, cannot, read_guarded, write_whole
from flexmpi.trust.keys import CurveKeys, agent_public_key, local_key
from flexmpi.trust.munge import Munge

CARD = "agent's card"
HEARTBEAT_MS = 5_000
SILENT_MS = 15_000
"""After so long without a word, not even ZeroMQ's own, either end takes the connection for lost."""
RECONNECT_MS, LONGEST_RECONNECT_MS = 100, 5_000
CONNECT_LIMIT_MS = 5_000
LARGEST_PORT = 65535

FAILED = zmq.Event.HANDSHAKE_FAILED_NO_DETAIL | zmq.Event.HANDSHAKE_FAILED_PROTOCOL | zmq.Event.HANDSHAKE_FAILED_AUTH
"""What ZeroMQ tells of a connection on which no agent has proved its key; see `is_stranger`."""
_HUNG_UP = (errno.EPIPE, errno.ECONNRESET)

S = TypeVar("S", bound=zmq.Socket[Any])


def _tcp(address: str) -> str:
    found = re.fullmatch(r"tcp://(?:[A-Za-z0-9][A-Za-z0-9._-]*|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})", address)
    if found is None or not 1 <= int(found[1]) <= LARGEST_PORT:
        raise ValueError("expected tcp://HOST:PORT")
    return address


def _absolute(path: Path) -> Path:
    if not path.is_absolute() or "\0" in str(path):
        raise ValueError("expected an absolute path")
    return path


class Card(Value):
    """What an agent tells its clients.

    Attributes
    ----------
    address
        Where it listens, as those reach it who read this: ``tcp://HOST:PORT``; an IPv6 address stands in brackets.
    authority
        What vouches for its clients: munge, or the key file ``agent.local`` beside the card, where the agent serves its
        own user only.
    munge_socket
        Where munged listens, for an agent that does not use the usual place.
    """

    version: Version = VERSION
    address: Annotated[str, AfterValidator(_tcp)]
    authority: Literal["munge", "local"]
    munge_socket: Annotated[Path, AfterValidator(_absolute)] | None = None


def is_stranger(event: Mapping[str, Any]) -> bool:
    """Whether an event of a socket's monitor says that somebody answers without proving the agent's key.

    An agent with another key hangs up. One that is stopped says nothing, until the time for that is up: there the kernel has
    taken the connection, and the error is that there is nothing to read.
    """
    if event["event"] == zmq.Event.HANDSHAKE_FAILED_NO_DETAIL:
        return event["value"] in _HUNG_UP
    return bool(event["event"] & FAILED)


@dataclass(frozen=True)
class Contact:
    """An agent as its clients know it.

    Attributes
    ----------
    server_key
        Its public key (Z85), which whoever answers at the address has to prove.
    by_ipv6
        Whether its address is one, or a name that has no other.
    """

    folder: Path
    card: Card
    server_key: str
    by_ipv6: bool = False

    def dial(self, context: zmq.Context[S], *, prepare: Callable[[S], None] = lambda _: None) -> Connection[S]:
        """Open a connection with a key of its own; what is sent before the agent is reached waits, and is never queued.

        Parameters
        ----------
        prepare
            Called with the socket before it connects.
        """
        socket = context.socket(zmq.DEALER)
        keys = CurveKeys.fresh()
        secure_client(socket, keys, server_key=self.server_key)
        socket.setsockopt(zmq.IMMEDIATE, 1)
        socket.setsockopt(zmq.HEARTBEAT_IVL, HEARTBEAT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TIMEOUT, SILENT_MS)
        socket.setsockopt(zmq.HEARTBEAT_TTL, SILENT_MS)
        socket.setsockopt(zmq.CONNECT_TIMEOUT, CONNECT_LIMIT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        socket.setsockopt(zmq.RECONNECT_IVL_MAX, LONGEST_RECONNECT_MS)
        socket.setsockopt(zmq.IPV6, int(self.by_ipv6))
        prepare(socket)
        socket.connect(self.card.address)
        return Connection(self, socket, client_key=keys.public)

    def authority(self) -> Authority:
        """Return what makes credentials that the agent believes.

        Raises
        ------
        AuthenticationError
            The agent serves its own user only, and this is another.
        """
        if self.card.authority == "munge":
            return Munge(socket=self.card.munge_socket)
        return local_key(self.folder, make=False)


@dataclass(frozen=True)
class Connection(Generic[S]):
    """A client's connection to an agent.

    Attributes
    ----------
    socket
        A DEALER, which its owner closes.
    client_key
        By which the agent knows this connection.
    """

    contact: Contact
    socket: S
    client_key: str

    def credential(self) -> str:
        """Make a credential that is good for this connection; munge may block for ten seconds.

        Raises
        ------
        AuthenticationError
            None can be made.
        """
        return prove(self.contact.authority(), client_key=self.client_key, server_key=self.contact.server_key)

    async def credential_beside(self) -> str:
        """Do as `credential` without blocking; munge ends with the task that waits for it."""
        authority = self.contact.authority()
        payload = fresh_payload(client_key=self.client_key, server_key=self.contact.server_key)
        return await authority.sign_beside(payload) if isinstance(authority, Munge) else authority.sign(payload)


def publish(folder: Path, card: Card) -> None:
    """Tell clients of an agent: its card appears in the folder as a whole, or takes the place of an older one.

    Raises
    ------
    AuthenticationError
        The card cannot be written.
    """
    try:
        write_whole(folder / CARD_NAME, card.model_dump_json(), mode=PUBLIC_MODE, replace=True)
    except OSError as error:
        raise cannot("write", folder / CARD_NAME, error, what=CARD) from None


def read_contact(folder: Path) -> Contact:
    """Find an agent by the folder it is told of in.

    The public key must be beyond doubt, see `flexmpi.trust.keys.agent_public_key`. Of the card only the mode is checked: an
    agent that may not write to the folder is told of by a link to where it may, and the key tells who answers.

    Raises
    ------
    AuthenticationError
        A file is missing, or others could have changed it.
    ConfigurationError
        The card is not what it should be; names the field.
    """
    path = folder / CARD_NAME
    if not has_card(folder):
        raise AuthenticationError(f"no agent in {folder}: it has no {CARD_NAME}, which an agent writes when it starts")
    text, _ = read_guarded(path, what=CARD, owners=None, forbidden=WRITABLE_BY_OTHERS)
    try:
        card = Card.model_validate_json(text)
    except ValidationError as error:
        raise ConfigurationError(complaint(error, CARD), file=str(path)) from None
    return Contact(folder, card, agent_public_key(folder / PUBLIC_NAME), by_ipv6=means_ipv6(card.address))
