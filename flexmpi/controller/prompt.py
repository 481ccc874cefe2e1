"""What can be typed at the controller's prompt: a line of text to what it asks for, and what can complete it.

Pure: reading lines is terminal.py's, carrying them out controller.py's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from flexmpi.errors import CommandError
from flexmpi.numerals import whole_number
from flexmpi.protocol.commands import SUMMARIES, SYNTAX, Command, parse_command

QUIT_WORDS = ("-1", "quit", "exit")
INVITATION = "Please type a command [appId command]:"
_FORMS = {
    "ID COMMAND": "send COMMAND to application ID (0 4:on)",
    "-2 APP": "start another application (-2 jio:compute-1:4, or as in a batch file)",
    "-3 N": "say on which nodes N more ranks would go",
    "-1, quit, exit": "end all applications and this controller",
    "help": "show these lines",
}


@dataclass(frozen=True)
class Send:
    """Send a command to an application."""

    number: int
    command: Command


@dataclass(frozen=True)
class Submit:
    """Start another application, which is given as in a workload or batch file."""

    text: str


@dataclass(frozen=True)
class TryAllocation:
    """Say where ranks would go."""

    ranks: int


@dataclass(frozen=True)
class Quit:
    """End everything."""


@dataclass(frozen=True)
class Help:
    """Show what can be typed."""


Wish = Send | Submit | TryAllocation | Quit | Help


def parse_wish(line: str) -> Wish | None:
    """Read a line; an empty one asks for nothing.

    Raises
    ------
    CommandError
        It is none of the forms, or its command is not one of the manual's; the message is one line.
    """
    word, _, rest = line.strip().partition(" ")
    rest = rest.strip()
    if not word:
        return None
    if word in QUIT_WORDS or word == "help":
        if rest:
            raise CommandError(f"{word} stands alone, got {rest!r} after it")
        return Help() if word == "help" else Quit()
    if word == "-2":
        if not rest:
            raise CommandError("expected an application after -2, such as jio:compute-1:4")
        return Submit(rest)
    if word == "-3":
        if not (ranks := whole_number(rest)):
            raise CommandError(f"expected a number of ranks after -3, got {rest!r}")
        return TryAllocation(ranks)
    number = whole_number(word)
    if number is None:
        raise CommandError(f"{word!r} is not an application's number (expected APPID COMMAND, quit or help)")
    return Send(number, parse_command(rest.encode()))


def help_lines() -> list[str]:
    """Return what can be typed, a line each."""
    width = max(map(len, (*SYNTAX.values(), *_FORMS)))
    forms = [f"  {form:<{width}}  {what}" for form, what in _FORMS.items()]
    commands = [f"  {SYNTAX[number]:<{width}}  {SUMMARIES[number]}" for number in sorted(SYNTAX)]
    return [*forms, "COMMAND is one of", *commands]


def completions(
    text: str, *, numbers: Iterable[int], names: Iterable[str], programs: Iterable[str]
) -> Iterator[tuple[str, str]]:
    """Yield what the word at the end of a line may become, and what it means.

    Parameters
    ----------
    text
        The line up to the cursor.
    numbers
        The applications that run.
    names
        Hosts and aliases of the nodes.
    programs
        What can be started.
    """
    before, space, word = text.lstrip().rpartition(" ")
    if not space:
        candidates = {str(number): "application" for number in numbers}
        candidates |= {"-2": "start another", "-3": "where ranks would go", "quit": "end all", "help": ""}
    elif before == "-2":
        candidates = {f"{program}:": "" for program in programs}
    elif whole_number(before) is not None:
        candidates = _commands(word, names)
    else:
        return
    yield from ((candidate, meaning) for candidate, meaning in candidates.items() if candidate.startswith(word))


def _commands(word: str, names: Iterable[str]) -> dict[str, str]:
    number, colon, _ = word.partition(":")
    if colon and number in ("6", "11"):
        # A name goes where the field is even: 6:NAME:n:NAME:n, 11:iteration:NAME:n.
        *done, _ = word.split(":")
        if len(done) % 2 == (1 if number == "6" else 0):
            return {":".join([*done, f"{name}:"]): "" for name in names}
    return {"4:on": SUMMARIES[4], "4:off": SUMMARIES[4], "10:1": SUMMARIES[10]} | {
        f"{number}:": SUMMARIES[number] for number in sorted(SUMMARIES) if number not in (4, 10)
    }
