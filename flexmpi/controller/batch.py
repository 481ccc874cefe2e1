"""The batch file of the original controller: when which application starts, and when one changes its size.

Pure but for reading the file: `Agenda` is told the time and how far the applications are, and says what is due.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from flexmpi.controller.lines import content_lines, read_text, signed_number
from flexmpi.controller.workload import Platform, Submission, parse_sized
from flexmpi.errors import ConfigurationError
from flexmpi.numerals import whole_number

LAYOUT = "T SECONDS APP, B ID APP, I ID APP, or M SECONDS ±RANKS"


@dataclass(frozen=True)
class Progress:
    """How far an application is; ``started_s`` is a time on the agenda's clock."""

    started_s: float
    initialised: bool = False
    ended: bool = False


class When(Enum):
    """What a start waits for; the values are the letters of the file."""

    TIME = "T"
    END = "B"
    INITIALISED = "I"


@dataclass(frozen=True)
class Start:
    """Application ``number`` starts: at second ``of``, or when application ``of`` has ended or is initialised."""

    number: int
    submission: Submission
    when: When
    of: int

    @property
    def predecessor(self) -> int | None:
        """The application that it waits for, if it does."""
        return None if self.when is When.TIME else self.of


@dataclass(frozen=True)
class Resize:
    """Application ``number`` gains or loses ranks, so many seconds after its start."""

    number: int
    after_s: int
    change: int


@dataclass(frozen=True)
class Dropped:
    """What cannot happen any more, and why."""

    entry: Start | Resize
    why: str


def read_batch(path: Path, *, platform: Platform, first: int = 0) -> tuple[Start | Resize, ...]:
    """Read a batch file, one ``<T|B|M|I> <int> <command>`` a line; ``#`` starts a comment.

    ``T s app``: starts at second s. ``B id app``: starts when application id has ended. ``I id app``: starts when it is
    initialised. ``M s ±n``: the application of the line before gains or loses n ranks, s seconds after its start.
    Applications are numbered in the order of their lines; an id is that of an earlier one.

    Parameters
    ----------
    platform
        What lines may refer to.
    first
        The number of the first application here; lower ones are of the workload file.

    Raises
    ------
    ConfigurationError
        The file cannot be read or has no application, or a line is not one of these.
    """
    file = f"batch file {path}"
    entries: list[Start | Resize] = []
    count = first
    for number, content in content_lines(read_text(path, file=file)):
        try:
            entry = _entry(content, platform=platform, next_number=count, any_before=bool(entries))
        except ConfigurationError as error:
            raise ConfigurationError(str(error), file=file, line=number) from None
        entries.append(entry)
        count += isinstance(entry, Start)
    if not entries:
        raise ConfigurationError(f"no application in it, expected lines of {LAYOUT}", file=file)
    return tuple(entries)


def _entry(content: str, *, platform: Platform, next_number: int, any_before: bool) -> Start | Resize:
    kind, *rest = content.split(maxsplit=2)
    if kind not in ("T", "B", "I", "M") or len(rest) != 2:
        raise ConfigurationError(f"expected {LAYOUT}, got {content!r}")
    number = whole_number(rest[0])
    if number is None:
        what = "seconds" if kind in "TM" else "id"
        raise ConfigurationError(f"{what} must be an integer, 0 or more, got {rest[0]!r}")
    if kind == "M":
        change = signed_number(rest[1])
        if not change:
            raise ConfigurationError(f"change of ranks must be an integer other than 0, got {rest[1]!r}")
        if not any_before:
            raise ConfigurationError("an application must come before the first M")
        return Resize(next_number - 1, number, change)
    start = Start(next_number, parse_sized(rest[1], platform=platform), When(kind), number)
    if start.predecessor is not None and start.predecessor >= next_number:
        earlier = f"0 to {next_number - 1}" if next_number else "none, this is the first"
        raise ConfigurationError(f"id must be that of an earlier application ({earlier}), got {number}")
    return start


class Agenda:
    """What is still to happen.

    Parameters
    ----------
    entries
        In the order of the file: an entry refers to applications of earlier ones only, so none waits for another for ever.
    began_s
        Second 0 of the file, on the clock of `due`.
    """

    def __init__(self, entries: Iterable[Start | Resize], *, began_s: float) -> None:
        self._entries = list(entries)
        self._began_s = began_s
        self._dropped: set[int] = set()

    @property
    def starting(self) -> set[int]:
        """The applications that have not started yet."""
        return {entry.number for entry in self._entries if isinstance(entry, Start)}

    @property
    def empty(self) -> bool:
        """Whether nothing is left."""
        return not self._entries

    def due(self, now_s: float, progress: Mapping[int, Progress]) -> list[Start | Resize | Dropped]:
        """Return what is to be done now, in order, and forget it.

        Parameters
        ----------
        now_s
            The time.
        progress
            Of every application that has started.
        """
        ready: list[Start | Resize | Dropped] = []
        waiting = []
        for entry in self._entries:
            if (why := self._obstacle(entry, progress)) is not None:
                ready.append(Dropped(entry, why))
                if isinstance(entry, Start):
                    self._dropped.add(entry.number)
            elif self._is_due(entry, now_s, progress):
                ready.append(entry)
            else:
                waiting.append(entry)
        self._entries = waiting
        return ready

    def drop(self, number: int) -> None:
        """Note that an application could not be started."""
        self._dropped.add(number)

    def left_s(self, now_s: float, progress: Mapping[int, Progress]) -> float | None:
        """Return how long until something is due by the clock; None where all that is left waits for applications."""
        times = [time_s for entry in self._entries if (time_s := self._time_s(entry, progress)) is not None]
        return max(0.0, min(times) - now_s) if times else None

    def _obstacle(self, entry: Start | Resize, progress: Mapping[int, Progress]) -> str | None:
        """Say why an entry cannot happen any more; None while it can."""
        needed = entry.number if isinstance(entry, Resize) else entry.predecessor
        if needed is None:
            return None
        if needed in self._dropped:
            return f"application {needed} was never started"
        if needed not in progress or not progress[needed].ended:
            return None
        if isinstance(entry, Resize):
            return f"application {needed} has ended"
        if entry.when is When.INITIALISED and not progress[needed].initialised:
            return f"application {needed} ended before it was initialised"
        return None

    def _is_due(self, entry: Start | Resize, now_s: float, progress: Mapping[int, Progress]) -> bool:
        if isinstance(entry, Resize) or entry.when is When.TIME:
            time_s = self._time_s(entry, progress)
            return time_s is not None and now_s >= time_s
        if (state := progress.get(entry.of)) is None:
            return False
        return state.ended if entry.when is When.END else state.initialised

    def _time_s(self, entry: Start | Resize, progress: Mapping[int, Progress]) -> float | None:
        """Return when an entry is due by the clock, if it is known yet."""
        if isinstance(entry, Start):
            return self._began_s + entry.of if entry.when is When.TIME else None
        state = progress.get(entry.number)
        # Its ranks cannot change before its loop has begun.
        return state.started_s + entry.after_s if state is not None and state.initialised else None
