"""The numbered text commands of the FlexMPI manual: bytes to frozen dataclasses and back.

Nothing here opens a socket, knows a job or carries a command out. Commands 9 to 12 are not in the manual's table; their
syntax is that of the C implementation. Command 13 is FlexMPI's own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, Self, get_args

from flexmpi.errors import CommandError

LARGEST_DATAGRAM_BYTES = 2048
LARGEST_NUMBER = 1_000_000  # ranks, cores or seconds of delay beyond this are a slip of the pen
LARGEST_ITERATION = 10**12  # also the bound of an objective: long runs do pass a million

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")  # never starts with '-': a name must not pass for an option
_EVENT = re.compile(r"[A-Za-z0-9_]+:{2,3}[A-Za-z0-9._-]+|[A-Za-z0-9][A-Za-z0-9._-]*")  # perf::CYCLES, net:::eth0
_SINGLE_COLON = "(?<!:):(?!:)"
_WHOLE = re.compile(r"[+-]?[0-9]+")  # int() alone would take '1_0' and the digits of every script
_DECIMAL = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")


class _Command:
    """What every command has; a command without arguments needs nothing more."""

    number: ClassVar[int]
    syntax: ClassVar[str]
    summary: ClassVar[str]

    def __init_subclass__(cls, *, number: int, syntax: str, summary: str) -> None:
        cls.number, cls.syntax, cls.summary = number, syntax, summary

    def text(self) -> str:
        """Canonical command text, which `parse_command` reads back."""
        return f"{self.number}:" + ":".join(self._fields())

    def _fields(self) -> Iterable[str]:
        return (str(value) for value in vars(self).values() if value is not None)

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        argument.fields(0, 0)
        return cls()


@dataclass(frozen=True)
class ChangePolicy(_Command, number=1, syntax="1:POLICY[:OBJECTIVE[:THRESHOLD]]", summary="Change the policy"):
    """Command 1. What `objective` means (seconds, a fraction…) is the policy's affair; both numbers are >= 0."""

    policy: str
    objective: float | None = None
    threshold: float | None = None

    def __post_init__(self) -> None:
        if self.threshold is not None and self.objective is None:
            raise CommandError(f"command 1: a threshold needs an objective before it (expected {self.syntax})")

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        policy, *numbers = argument.fields(1, 3)
        figures = [argument.decimal(number, most=LARGEST_ITERATION) for number in numbers]
        return cls(argument.name(policy, "a policy name"), *figures)


@dataclass(frozen=True)
class BalanceLoad(_Command, number=2, syntax="2:", summary="Balance the load at the next agreement point"):
    """Command 2."""


@dataclass(frozen=True)
class ShowPerformance(_Command, number=3, syntax="3:", summary="Display the performance values"):
    """Command 3."""


@dataclass(frozen=True)
class Monitoring(_Command, number=4, syntax="4:on or 4:off", summary="Turn the monitoring service on or off"):
    """Command 4."""

    on: bool

    def _fields(self) -> Iterable[str]:
        return ("on" if self.on else "off",)

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        (word,) = argument.fields(1, 1)
        if word not in ("on", "off"):
            raise argument.wrong(f"{_shown(word)} is neither 'on' nor 'off'")
        return cls(on=word == "on")


@dataclass(frozen=True)
class Terminate(_Command, number=5, syntax="5:", summary="Terminate the application"):
    """Command 5."""


@dataclass(frozen=True)
class ChangeRanks(_Command, number=6, syntax="6:NODE:±N:NODE:±N…", summary="Add or remove ranks"):
    """Commands 6 and 11: ranks to add (positive) or remove (negative), as (node name or alias, change) pairs.

    `at_iteration` is None for command 6 (at the next agreement point) and an iteration number for command 11. Both
    signs in one command, which the manual forbids, make a migration; zeros may stand among them.
    """

    changes: tuple[tuple[str, int], ...]
    at_iteration: int | None = None

    def text(self) -> str:
        """Canonical command text: number 11 with an iteration, number 6 without."""
        head = "6" if self.at_iteration is None else f"11:{self.at_iteration}"
        return head + "".join(f":{node}:{change}" for node, change in self.changes)

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        later = argument.number == 11
        fields = argument.fields(3 if later else 2)
        at_iteration = argument.whole(fields.pop(0), most=LARGEST_ITERATION) if later else None
        changes = tuple(
            (argument.name(node, "a node name"), argument.whole(change, least=-LARGEST_NUMBER))
            for node, change in argument.pairs(fields)
        )
        return cls(changes, at_iteration)


@dataclass(frozen=True)
class ChangeCounters(_Command, number=7, syntax="7:EVENT1:EVENT2:", summary="Change the performance counters"):
    """Command 7: the one or two performance counters to follow, by their PAPI names (``::`` in a name is no separator)."""

    first: str
    second: str | None = None

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        events = argument.fields(1, 2, separator=_SINGLE_COLON)
        return cls(*(argument.name(event, "a counter name", pattern=_EVENT) for event in events))


@dataclass(frozen=True)
class BindRanks(_Command, number=8, syntax="8:RANK:CORE:RANK:CORE…", summary="Bind ranks to cores"):
    """Command 8: (rank, core) pairs; a rank that appears several times may run on each of its cores."""

    bindings: tuple[tuple[int, int], ...]

    def _fields(self) -> Iterable[str]:
        return (str(field) for binding in self.bindings for field in binding)

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        pairs = argument.pairs(argument.fields(2))
        return cls(tuple((argument.whole(rank), argument.whole(core)) for rank, core in pairs))


@dataclass(frozen=True)
class DelayIO(_Command, number=9, syntax="9:SECONDS", summary="Delay the next I/O phase"):
    """Command 9."""

    seconds: float

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        (seconds,) = argument.fields(1, 1)
        return cls(argument.decimal(seconds, most=LARGEST_NUMBER))


@dataclass(frozen=True)
class GrantIO(_Command, number=10, syntax="10:1", summary="Let the waiting I/O phase begin"):
    """Command 10."""

    def _fields(self) -> Iterable[str]:
        return ("1",)

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        if argument.fields(1, 1) != ["1"]:
            raise argument.wrong(f"{_shown(argument.text)} is not 1")
        return cls()


@dataclass(frozen=True)
class PrintMessage(_Command, number=12, syntax="12:TEXT", summary="Print a message in the application's output"):
    """Command 12: one line of printable text, which may hold colons."""

    message: str

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        if not argument.text:
            raise argument.wrong("nothing follows the number")
        return cls(argument.text)


@dataclass(frozen=True)
class PrepareRanks(
    _Command, number=13, syntax="13:NODE:N", summary="Have ranks ready to join on a node; 0 lets them go"
):
    """Command 13: ranks that are started on a node and wait there, asleep, until command 6 adds ranks to it."""

    node: str
    ranks: int

    @classmethod
    def _read(cls, argument: _Argument) -> Self:
        node, ranks = argument.fields(2, 2)
        return cls(argument.name(node, "a node name"), argument.whole(ranks))


Command = (
    ChangePolicy | BalanceLoad | ShowPerformance | Monitoring | Terminate | ChangeRanks  # 1 to 6
    | ChangeCounters | BindRanks | DelayIO | GrantIO | PrintMessage | PrepareRanks  # 7 to 10, 12, 13
)  # fmt: skip
COMMANDS: dict[int, type[Command]] = {kind.number: kind for kind in get_args(Command)} | {11: ChangeRanks}
SYNTAX = {number: kind.syntax for number, kind in COMMANDS.items()} | {11: "11:ITERATION:NODE:±N:NODE:±N…"}
SUMMARIES = {number: kind.summary for number, kind in COMMANDS.items()} | {11: "Add or remove ranks at an iteration"}


def split_token(datagram: bytes) -> tuple[str | None, bytes]:
    """Split ``TOKEN@6:…`` into the token and the command; without a token, into None and the datagram.

    An ``@`` after the first colon belongs to the command. The token comes without surrounding blanks. Raises
    CommandError for a datagram of more than 2048 bytes or with text after a NUL byte, and for a token that is empty or not
    UTF-8.
    """
    head, at, rest = _without_padding(datagram).partition(b"@")
    if not at or b":" in head:
        return None, datagram
    token = _decoded(head)
    if not token:
        raise CommandError("the token before '@' is empty (expected TOKEN@NUMBER:…)")
    return token, rest


def parse_command(datagram: bytes) -> Command:
    """Read one command, its token already split off.

    Blanks and newlines around the command and its fields, one trailing ``:``, and NUL bytes at the end (C clients send
    buffers of a fixed size) are ignored.

    Raises
    ------
    CommandError
        The datagram is not one of the commands 1 to 13; the message is one line and gives the expected syntax.
    """
    text = _decoded(_without_padding(datagram))
    if not text:
        raise CommandError("empty command (expected NUMBER:…, commands are 1 to 13)")
    if not text.isprintable():
        raise CommandError(f"control character in command {_shown(text)} (expected one line of printable text)")
    digits, _, rest = text.partition(":")
    if not re.fullmatch(r"[0-9]+ *", digits):
        raise CommandError(f"{_shown(digits)} is not a command number (commands are 1 to 13)")
    if int(digits) not in COMMANDS:
        raise CommandError(f"unknown command number {_shown(digits)[1:-1]} (commands are 1 to 13)")
    return COMMANDS[int(digits)]._read(_Argument(int(digits), rest.strip()))


@dataclass(frozen=True)
class _Argument:
    """What follows the number of a command, and how to complain about it."""

    number: int
    text: str

    def wrong(self, what: str) -> CommandError:
        return CommandError(f"command {self.number}: {what} (expected {SYNTAX[self.number]})")

    def fields(self, least: int, most: int | None = None, *, separator: str = ":") -> list[str]:
        fields = [field.strip() for field in re.split(separator, self.text.removesuffix(":"))] if self.text else []
        if len(fields) < least:
            raise self.wrong("fields are missing" if fields else "nothing follows the number")
        if most is not None and len(fields) > most:
            raise self.wrong(f"{_shown(fields[most])} is one field too many")
        return fields

    def pairs(self, fields: Sequence[str]) -> list[tuple[str, str]]:
        if len(fields) % 2:
            raise self.wrong(f"odd number of fields, {_shown(fields[-1])} has no partner")
        return list(zip(fields[::2], fields[1::2], strict=True))

    def name(self, field: str, what: str, *, pattern: re.Pattern[str] = _NAME) -> str:
        if not pattern.fullmatch(field):
            raise self.wrong(f"{_shown(field)} is not {what}")
        return field

    def whole(self, field: str, *, least: int = 0, most: int = LARGEST_NUMBER) -> int:
        if not _WHOLE.fullmatch(field):
            raise self.wrong(f"{_shown(field)} is not a whole number")
        if not least <= int(field) <= most:
            raise self.wrong(f"{_shown(field)} is not between {least} and {most}")
        return int(field)

    def decimal(self, field: str, *, most: int) -> float:
        if not _DECIMAL.fullmatch(field):
            raise self.wrong(f"{_shown(field)} is not a number")
        if not 0 <= float(field) <= most:
            raise self.wrong(f"{_shown(field)} is not between 0 and {most}")
        return float(field)


def _without_padding(datagram: bytes) -> bytes:
    if len(datagram) > LARGEST_DATAGRAM_BYTES:
        raise CommandError(f"datagram of {len(datagram)} bytes (expected at most {LARGEST_DATAGRAM_BYTES})")
    text = datagram.rstrip(b"\0")
    if b"\0" in text:
        raise CommandError("text after a NUL byte (expected NULs at the end only)")
    return text


def _decoded(raw: bytes) -> str:
    try:
        return raw.decode().strip()
    except UnicodeDecodeError as error:
        raise CommandError(f"not UTF-8 text: byte {raw[error.start]:#04x} at position {error.start}") from None


def _shown(text: str) -> str:
    return repr(text if len(text) <= 40 else text[:39] + "…")
