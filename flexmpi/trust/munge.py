"""The commands `munge` and `unmunge`, run with a time limit: credentials that prove a user to all nodes of a cluster.

What a credential says is `auth`'s. https://github.com/dun/munge/wiki/Man-1-unmunge
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from asyncio.subprocess import PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from flexmpi.errors import AuthenticationError
from flexmpi.protocol.auth import Identity, Signed

SUCCESS, EXPIRED, REWOUND, REPLAYED = 0, 15, 16, 17
"""Exit statuses of `unmunge`, those of ``munge_err_t`` in munge.h."""

_WHY = {
    EXPIRED: "it has expired",
    REWOUND: "it is from the future",
}
_FIGURES = ("UID", "GID", "LENGTH", "ENCODE_HOST", "ENCODE_TIME", "DECODE_TIME", "TTL")


@dataclass(frozen=True)
class Munge:
    """The authority that Slurm sites have.

    Attributes
    ----------
    socket
        Where munged listens; None for the usual place.
    limit_s
        How long a command may take. The methods block so long at most.
    lifetime_s
        How long a credential is good; None for the site's usual time.
    """

    socket: Path | None = None
    limit_s: float = 10.0
    lifetime_s: int | None = None

    def sign(self, payload: str) -> str:
        """Return a credential for a payload; raises AuthenticationError, with munge's words."""
        return _credential(self._ask(self._munge(), payload))

    async def sign_beside(self, payload: str) -> str:
        """Do as `sign` without blocking; the command ends with the task that waits for it."""
        command = [*self._munge(), *self._where()]
        try:
            process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, stderr=PIPE)
        except OSError as error:
            raise _cannot_run(command, error) from None
        try:
            async with asyncio.timeout(self.limit_s):
                output, errors = await process.communicate(payload.encode())
        except TimeoutError:
            raise self._late(command) from None
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        texts = [text.decode(errors="replace") for text in (output, errors)]
        return _credential(subprocess.CompletedProcess(command, process.returncode or SUCCESS, *texts))

    def read(self, credential: str) -> Signed:
        """Return what a credential says and who made it; raises AuthenticationError where it is not genuine or expired."""
        read = self._ask(["unmunge", "--numeric", f"--keys={','.join(_FIGURES)}"], credential)
        # munged remembers what it has read, and an agent that is restarted may read a message again; `identify` makes
        # that harmless.
        if read.returncode not in (SUCCESS, REPLAYED):
            why = _WHY.get(read.returncode)
            said = _words(read) if why is None else why + clocks(read.stdout, reader=os.uname().nodename)
            raise AuthenticationError(f"the credential was refused: {said}")
        return parse_unmunge(read.stdout)

    def _munge(self) -> list[str]:
        return ["munge", *([] if self.lifetime_s is None else [f"--ttl={self.lifetime_s}"])]

    def _where(self) -> list[str]:
        return [] if self.socket is None else [f"--socket={self.socket}"]

    def _ask(self, command: list[str], text: str) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                [*command, *self._where()],
                input=text,
                capture_output=True,
                text=True,
                errors="replace",
                timeout=self.limit_s,
                check=False,
            )
        except subprocess.TimeoutExpired:
            raise self._late(command) from None
        except OSError as error:
            raise _cannot_run(command, error) from None

    def _late(self, command: Sequence[str]) -> AuthenticationError:
        return AuthenticationError(f"{command[0]} did not answer within {self.limit_s:g} s")


def parse_unmunge(output: str) -> Signed:
    """Read what ``unmunge --numeric --keys=UID,GID,LENGTH,…`` prints: the figures, an empty line, the payload.

    Raises
    ------
    AuthenticationError
        It is not the expected form.
    """
    figures, payload = _figures(output), output.partition("\n\n")[2]
    if not figures.keys() >= {"UID", "GID", "LENGTH"} or figures["LENGTH"] != len(payload):
        raise AuthenticationError("unmunge printed something else than UID, GID, LENGTH and the payload")
    return Signed(payload, Identity(figures["UID"], figures["GID"]))


def clocks(output: str, *, reader: str) -> str:
    """Say by what `unmunge` prints of a credential that is too old or too new what two clocks it goes by; nothing if it does not.

    An early clock where a credential was made looks like a late credential, and a late one like one of the future.

    Parameters
    ----------
    reader
        Where it was read.
    """
    figures = _figures(output)
    if not figures.keys() >= {"ENCODE_TIME", "DECODE_TIME"}:
        return ""
    made, read = figures["ENCODE_TIME"], figures["DECODE_TIME"]
    host = re.search(r"^ENCODE_HOST: *(\S+)$", output, re.MULTILINE)
    where = f"the clock of {host[1]}" if host else "the clock where it was made"
    good = f", and it is good for {figures['TTL']} s" if "TTL" in figures else ""
    apart = f"{abs(read - made)} s {'later' if read >= made else 'earlier'}"
    here = f"read at {_time(read)} by the clock of {reader}"
    return f": made at {_time(made)} by {where}, {here}, {apart}{good}; compare the clocks"


def _figures(output: str) -> dict[str, int]:
    head = output.partition("\n\n")[0]
    return {key: int(value) for key, value in re.findall(r"^(\w+): *([0-9]{1,18})$", head, re.MULTILINE)}


def _time(epoch_s: int) -> str:
    try:
        return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    except (OverflowError, ValueError, OSError):
        return f"second {epoch_s}"


def _credential(made: subprocess.CompletedProcess[str]) -> str:
    if made.returncode != SUCCESS:
        raise AuthenticationError(f"no credential could be made: {_words(made)}")
    return made.stdout.strip()


def _cannot_run(command: Sequence[str], error: OSError) -> AuthenticationError:
    return AuthenticationError(f"cannot run {command[0]}: {error.strerror or error}")


def _words(ended: subprocess.CompletedProcess[str]) -> str:
    words = " ".join(ended.stderr.split())
    return words.removeprefix(f"{ended.args[0]}: Error: ") or f"{ended.args[0]} ended with status {ended.returncode}"
