"""`flexmpi send`: send one text command to an application and print its reply."""

from __future__ import annotations

import socket
import sys

import click

from flexmpi.errors import LinkError
from flexmpi.protocol.address import LARGEST_DATAGRAM, Address

REPLY_LIMIT_S = 5.0


def ask(address: Address, command: str, *, limit_s: float = REPLY_LIMIT_S) -> str:
    """Send a command as one datagram and return the reply.

    Raises
    ------
    LinkError
        Nobody answered within ``limit_s`` seconds.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.settimeout(limit_s)
        try:
            # Connected, so that a closed port is refused at once rather than waited for.
            end.connect(address)
            end.send(command.encode())
            return end.recv(LARGEST_DATAGRAM).decode(errors="replace")
        except TimeoutError:
            raise LinkError(f"no answer from {address} within {limit_s:g} s") from None
        except OSError as error:
            raise LinkError(f"cannot send to {address}: {error.strerror or error}") from None


@click.command()
@click.argument("address", metavar="HOST:PORT")
@click.argument("command")
def send(address: str, command: str) -> None:
    """Send the text COMMAND to the application that listens at HOST:PORT and print its reply.

    For example: flexmpi send localhost:6666 6:lhost:2

    The exit status is 0 if the command was taken, 1 if it was refused, 2 if nobody answered.
    """
    reply = ask(Address.parse(address, option="the address"), command)
    click.echo(reply)
    sys.exit(1 if reply.startswith("error:") else 0)
