"""What every message is made of: one JSON object with a kind and a version, checked field by field; bytes and back.

The kinds are in `messages` (supervisors and the agent) and `requests` (people and the agent). No socket, no clock.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from flexmpi.errors import MessageError

Version = Literal[1]
VERSION: Version = 1
VERSIONS: tuple[int, ...] = get_args(Version)
"""Those that are understood here."""

LARGEST_MESSAGE_BYTES = 16 * 1024 * 1024
LONGEST_LINE = 2000
LARGEST_COUNT = 10**6  # nodes or ranks beyond this are a slip of the pen
LARGEST_INTEGER = 2**63 - 1  # what SQLite keeps
LONGEST_SHOWN = 40
LONGEST_PLACE = 80
LONGEST_ERROR = 400

_SECRET = frozenset({"credential", "environment", "script"})  # their values are shown to nobody
_WORDS = {"missing": "is missing", "extra_forbidden": "is not known"}
_SAYS_ALL = frozenset({*_WORDS, "json_invalid"})


def one_line(text: str, *, longest: int = LONGEST_LINE) -> str:
    """Return a text as one printable line: it may hold whatever a program printed, and ends on a terminal."""
    line = " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _word(what: str, *, longest: int, pattern: str = r"[A-Za-z0-9][A-Za-z0-9._-]*") -> AfterValidator:
    expected = re.compile(pattern)

    def check(text: str) -> str:
        if len(text) > longest or not expected.fullmatch(text):
            raise ValueError(f"expected {what}")
        return text

    return AfterValidator(check)


Line = Annotated[str, AfterValidator(one_line)]
"""Free text for people: made one printable line of at most 2000 characters."""
NodeName = Annotated[str, _word("the name of a node", longest=255)]
JobKey = Annotated[str, _word("a job's key: letters, digits, '.', '_' and '-'", longest=64)]
JobName = Annotated[str, _word("a job's number or key", longest=64)]
CommandId = Annotated[str, _word("a command's id: letters, digits, '.', '_' and '-'", longest=64)]
PolicyName = Annotated[str, _word("the name of a policy", longest=64)]
Host = Annotated[str, _word("an address or a host's name", longest=255, pattern=r"[A-Za-z0-9:][A-Za-z0-9:._-]*")]
Credential = Annotated[
    str, _word("a credential of at most 4096 visible ASCII characters", longest=4096, pattern="[!-~]+")
]
Count = Annotated[int, Field(ge=0, le=LARGEST_COUNT)]
PositiveCount = Annotated[int, Field(ge=1, le=LARGEST_COUNT)]
Integer = Annotated[int, Field(ge=0, le=LARGEST_INTEGER)]
JobNumber = Annotated[int, Field(ge=1, le=2**32 - 1)]
UserNumber = Annotated[int, Field(ge=0, le=2**32 - 2)]
Seconds = Annotated[float, Field(ge=0)]


class Value(BaseModel):
    """A part of a message. Nothing is converted: an integer in quotes is no integer."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Message(Value):
    """What every message has, beside the ``kind`` that each class adds."""

    version: Version = VERSION


M = TypeVar("M", bound=Message)


class _Header(BaseModel):
    """What is read first: of another version, nothing else need have the expected form."""

    model_config = ConfigDict(extra="ignore", strict=True)

    version: int
    kind: str


def encode(message: Message) -> bytes:
    """Return the bytes of a message.

    Raises
    ------
    MessageError
        It is too long to be sent.
    """
    return _bounded(message.model_dump_json().encode())


def decode(data: bytes, kinds: Mapping[str, type[M]]) -> M:
    """Read one message.

    Parameters
    ----------
    kinds
        The messages of one direction, see `kinds_of`.

    Raises
    ------
    MessageError
        The bytes are none of these messages; one line that names the field and what was expected.
    """
    try:
        header = _Header.model_validate_json(_bounded(data))
    except ValidationError as error:
        raise MessageError(complaint(error, "message")) from None
    if header.version not in VERSIONS:
        understood = ", ".join(map(str, VERSIONS))
        raise MessageError(f"message of version {_shown(header.version)} (versions understood: {understood})")
    if (kind := kinds.get(header.kind)) is None:
        raise MessageError(f"message, field kind: expected one of {', '.join(kinds)}, got {_shown(header.kind)}")
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        raise MessageError(complaint(error, f"{header.kind} message")) from None


def kinds_of(union: Any) -> dict[str, Any]:
    """Return the classes of a union of messages by their kind."""
    return {message.model_fields["kind"].default: message for message in get_args(union)}


def complaint(error: ValidationError, what: str) -> str:
    """Say in one line what is wrong with the first field that is; no secret is quoted.

    Parameters
    ----------
    what
        What was being read or made: ``expand message``.
    """
    place, words = first_complaint(error)
    where = f"{what}, field {one_line('.'.join(place), longest=LONGEST_PLACE)}" if place else what
    return one_line(f"{where}: {words}", longest=LONGEST_ERROR)


def first_complaint(error: ValidationError) -> tuple[tuple[str, ...], str]:
    """Return the first field that is wrong, as the steps to it, and what was expected; no secret is quoted."""
    first = error.errors(include_url=False)[0]
    place = tuple(str(step) for step in first["loc"])
    expected = _in_our_words(first["type"], first["msg"])
    of_a_whole = first["type"] == "value_error" and isinstance(first["input"], dict)
    if of_a_whole or first["type"] in _SAYS_ALL or not _SECRET.isdisjoint(place):
        return place, expected
    return place, f"{expected}, got {_shown(first['input'])}"


def _in_our_words(kind: str, message: str) -> str:
    if kind in _WORDS:
        return _WORDS[kind]
    for beginning in ("Input should be ", "Value error, expected "):
        if message.startswith(beginning):
            return f"expected {message.removeprefix(beginning)}"
    return message.removeprefix("Value error, ")


def _bounded(data: bytes) -> bytes:
    if len(data) > LARGEST_MESSAGE_BYTES:
        raise MessageError(f"message of {len(data)} bytes (expected at most {LARGEST_MESSAGE_BYTES})")
    return data


def _shown(value: object) -> str:
    if isinstance(value, dict | list | tuple | Value):
        return "an object" if isinstance(value, dict | Value) else "a list"
    if isinstance(value, int) and abs(value) > LARGEST_INTEGER:
        return f"a number of {value.bit_length()} bits"
    if isinstance(value, str) and len(value) > LONGEST_SHOWN:
        value = value[: LONGEST_SHOWN - 1] + "…"
    return repr(value)
