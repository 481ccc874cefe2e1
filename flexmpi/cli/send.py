"""`flexmpi send`: send one text command to an application and print its reply."""

from __future__ import annotations

import secrets
import socket
import sys
import time

import click

from flexmpi.errors import AuthenticationError, CommandError, LinkError
from flexmpi.protocol.address import LARGEST_DATAGRAM, Address
from flexmpi.protocol.commands import split_token
from flexmpi.protocol.signatures import GREETING, NONCE_BYTES, number_of, sign
from flexmpi.runtime.machine.datagrams import reachable, resolved, sending_socket
from flexmpi.trust.command_key import command_key

REPLY_LIMIT_S = 5.0


def ask(address: Address, command: str, *, limit_s: float = REPLY_LIMIT_S, key: bytes | None = None) -> str:
    """Send a command as one datagram and return the reply.

    Parameters
    ----------
    key
        The user's, to sign the command with; without one the kernel has to tell whose it is.

    Raises
    ------
    ConfigurationError
        The host is not known.
    LinkError
        Nobody answered within ``limit_s`` seconds.
    """
    problem: OSError | None = None
    # A name may have an address of each family, and the job listens at one of them.
    for family, end in resolved(reachable(address), what="the address"):
        try:
            return _ask(family, end, command, limit_s=limit_s, key=key)
        except TimeoutError:
            raise LinkError(f"no answer from {address} within {limit_s:g} s") from None
        except OSError as error:
            problem = problem or error
    raise LinkError(f"cannot send to {address}: {(problem and problem.strerror) or problem}")


def _ask(family: socket.AddressFamily, end: Address, command: str, *, limit_s: float, key: bytes | None) -> str:
    # Open until the reply: the job looks up whose socket it is.
    with sending_socket(family) as sending:
        text = command.encode()
        # One with the job's own token proves itself.
        if (
            key is not None
            and not _has_token(text)
            and (job := number_of(_exchange(sending, end, GREETING, limit_s=limit_s))) is not None
        ):
            text = sign(text, key=key, job=job, nonce=secrets.token_hex(NONCE_BYTES))
        return _exchange(sending, end, text, limit_s=limit_s)


def _has_token(text: bytes) -> bool:
    try:
        return split_token(text)[0] is not None
    except CommandError:
        return False  # the job says what is wrong


def _exchange(sending: socket.socket, end: Address, text: bytes, *, limit_s: float) -> str:
    sending.sendto(text, end)
    until = time.monotonic() + limit_s
    while (left_s := until - time.monotonic()) > 0:
        sending.settimeout(left_s)
        reply, sender = sending.recvfrom(LARGEST_DATAGRAM)
        answered = Address.of(sender)
        # This host's own name may be 127.0.1.1, and a job that listens everywhere answers from 127.0.0.1.
        if answered == end or (answered.port == end.port and answered.is_loopback and end.is_loopback):
            return reply.decode(errors="replace")
    raise TimeoutError


@click.command()
@click.argument("address", metavar="HOST:PORT")
@click.argument("command")
def send(address: str, command: str) -> None:
    """Send the text COMMAND to the application that listens at HOST:PORT and print its reply.

    For example: flexmpi send localhost:6666 6:lhost:2

    It is signed with your key ~/.flexmpi/commands.key where there is one, which proves from other machines whose it is.
    The exit status is 0 if the command was taken, 1 if it was refused, 2 if nobody answered.
    """
    try:
        key = command_key(make=False)
    except AuthenticationError as error:
        click.echo(f"flexmpi: warning: the command is not signed: {error}", err=True)
        key = None
    reply = ask(Address.parse(address, option="the address"), command, key=key)
    click.echo(reply)
    sys.exit(1 if reply.startswith("error:") else 0)
