"""A person's connection to the agent: one request at a time, its replies within time limits, and what went wrong if none come.

What is asked and printed is the commands'.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import click
import zmq
from pydantic import ValidationError
from zmq.utils.monitor import recv_monitor_message

from flexmpi.errors import ConfigurationError, LinkError, MessageError
from flexmpi.protocol.messages import Rejected
from flexmpi.protocol.replies import Reply, decode_reply
from flexmpi.protocol.requests import AnyRequest
from flexmpi.protocol.wire import Message, complaint, encode
from flexmpi.trust.agent_folder import CARD_NAME, DEFAULT_FOLDER, NO_AGENT, VARIABLE, agent_folder, has_card
from flexmpi.trust.contact import FAILED, Connection, is_stranger, read_contact

ANSWER_LIMIT_S = 10
REFUSED = 1
INTERRUPTED = 130

STATUSES = "Exit status: 0 done, 1 refused by the agent, 2 wrong usage or no agent."
"""The end of the help of commands that only ask."""

R = TypeVar("R", bound=Reply)
Command = TypeVar("Command", bound=Callable[..., Any])


class Refused(click.ClickException):
    """The agent refused a request, or could not carry it out; its words."""

    exit_code = REFUSED

    def show(self, file: Any = None) -> None:
        """Print it like every error."""
        click.echo(f"flexmpi: error: {self.message}", file=file, err=file is None)


def agent_options(command: Command) -> Command:
    """Give a command the options that say which agent is asked; `connected` takes their values."""
    command = click.option(
        "--answer-limit",
        type=click.FloatRange(min=0, min_open=True),
        default=ANSWER_LIMIT_S,
        show_default=True,
        metavar="SECONDS",
        help="How long the agent may take to answer.",
    )(command)
    return click.option(
        "--agent", metavar="FOLDER", help=f"What tells of the agent.  [default: {VARIABLE}, else {DEFAULT_FOLDER}]"
    )(command)


@contextmanager
def connected(options: Mapping[str, Any]) -> Iterator[Agent]:
    """Connect to the agent that the options of a command name.

    Raises
    ------
    ConfigurationError, AuthenticationError
        There is none in that folder, or its files are not safe to use.
    """
    contact = read_contact(asked_folder(options))
    context = zmq.Context()
    try:
        yield Agent(contact.dial(context), answer_limit_s=options["answer_limit"])
    except KeyboardInterrupt:
        click.echo(f"flexmpi: interrupted before the agent has answered: {contact.card.address}", err=True)
        sys.exit(INTERRUPTED)
    finally:
        context.destroy(linger=0)


def asked_folder(options: Mapping[str, Any]) -> Path:
    """Return the folder that tells of the agent; raises ConfigurationError where it does not."""
    folder = agent_folder(options["agent"], os.environ)
    if folder is not None and has_card(folder):
        return folder
    where = f"no agent is told of in {folder}" if folder else f"{NO_AGENT} stands for no agent"
    raise ConfigurationError(f"{where}: expected --agent FOLDER or {VARIABLE} to name the folder with its {CARD_NAME}")


class Agent:
    """The agent, as one who asks has it.

    Parameters
    ----------
    connection
        Its owner closes it.
    answer_limit_s
        How long the agent may take to be reached, and then to answer.
    """

    def __init__(self, connection: Connection[zmq.Socket[bytes]], *, answer_limit_s: float) -> None:
        self._connection = connection
        self._socket = connection.socket
        self._answer_limit_s = answer_limit_s
        self._events = self._socket.get_monitor_socket(zmq.Event.CONNECTED | FAILED)

    def ask(self, kind: type[AnyRequest], expected: type[R], **fields: Any) -> R:
        """Send a request and return the answer.

        Raises
        ------
        Refused
            The agent does not take it.
        LinkError, MessageError
            It does not answer in time, or something else than what is expected.
        ConfigurationError, AuthenticationError
            The request has a field of no meaning, or who asks cannot be proved.
        """
        request = self._made(kind, fields)
        if not self._send(request, self._answer_limit_s):
            raise LinkError(f"{self._hindrance()} within {self._answer_limit_s:g} s{self._where()}")
        match self.receive(self._answer_limit_s):
            case None:
                raise LinkError(f"the agent does not answer within {self._answer_limit_s:g} s{self._where()}")
            case Rejected(why=why):
                raise Refused(why)
            case reply if isinstance(reply, expected):
                return reply
            case reply:
                raise MessageError(f"the agent answered with {reply.kind}, expected {_word(expected)}")

    def inquire(self, kind: type[AnyRequest], **fields: Any) -> None:
        """Send a request whose answer is among what `receive` returns, if the agent is there at this moment.

        Raises
        ------
        ConfigurationError, AuthenticationError
            As for `ask`.
        """
        self._send(self._made(kind, fields), 0)

    def receive(self, limit_s: float) -> Reply | None:
        """Return the next reply, or None if none comes within the limit.

        Raises
        ------
        MessageError
            It is none.
        """
        if not self._socket.poll(math.ceil(1e3 * limit_s)):
            return None
        return decode_reply(self._socket.recv())

    def _made(self, kind: type[AnyRequest], fields: Mapping[str, Any]) -> AnyRequest:
        try:
            return kind(credential=self._connection.credential(), **fields)
        except ValidationError as error:
            raise ConfigurationError(complaint(error, _word(kind))) from None

    def _send(self, request: AnyRequest, limit_s: float) -> bool:
        # It can be sent once the agent has been reached and has proved its key.
        if not self._socket.poll(math.ceil(1e3 * limit_s), zmq.POLLOUT):
            return False
        self._socket.send(encode(request))
        return True

    def _hindrance(self) -> str:
        events = []
        while self._events.poll(0):
            events.append(recv_monitor_message(self._events))
        if any(map(is_stranger, events)):
            return "somebody answers, but does not prove to be the agent with this public key"
        return "the agent does not answer" if events else "no agent could be reached"

    def _where(self) -> str:
        contact = self._connection.contact
        return f": {contact.card.address}, of which {contact.folder} tells"


def _word(kind: type[Message]) -> str:
    word: str = kind.model_fields["kind"].default
    return word
