"""Hardware counters of one process by PAPI (python-papi), which is loaded only when events are asked for.

A rank counts what its main thread does, from one agreement point to the next. Whether a machine has an event is found by
counting it, in a process of its own that a node launcher starts (``python -m flexmpi.runtime.machine.counters EVENT…``): PAPI
says nothing reliable before that, and a running rank is not to be disturbed.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import Any

PRESETS = "PAPI_"
CONFLICT = "PAPI_ECNFLCT"
"""PAPI's word for events that the processor cannot count at the same time."""

Counts = tuple[int | None, ...]


@dataclass(frozen=True)
class Probe:
    """What one machine can count.

    Attributes
    ----------
    refused
        Why, for each event asked for that cannot be counted (beside those named before it).
    countable
        PAPI's preset events that can be counted; only found out where something was refused.
    """

    refused: dict[str, str]
    countable: tuple[str, ...] = ()


class Counters:
    """Counts events in this thread, as long as it lives.

    Parameters
    ----------
    events
        PAPI's presets or native events, each once; without any, PAPI is not loaded.

    Attributes
    ----------
    events
        The same.
    refused
        Why, for each that is not counted.
    """

    def __init__(self, events: Iterable[str] = ()) -> None:
        self.events = tuple(events)
        self.refused: dict[str, str] = {}
        self._counted: list[str] = []
        self._papi: Any = None
        self._set = 0
        if self.events:
            self._open()

    def _open(self) -> None:
        try:
            self._papi, self._errors = _load()
        except _Unavailable as problem:
            self.refused = dict.fromkeys(self.events, str(problem))
            return
        try:
            self._set = self._papi.create_eventset()
            for event in self.events:
                self._try(event)
            if self._counted:
                self._papi.start(self._set)
        except self._errors as error:
            self._give_up(error)

    def _try(self, event: str) -> None:
        """Add an event if it can be counted together with those before it, which is found by counting."""
        try:
            self._papi.add_named_event(self._set, event)
        except self._errors as error:
            self.refused[event] = _reason(error, self._papi, beside=self._counted)
            return
        try:
            self._papi.start(self._set)
            self._papi.read(self._set)
            self._counted.append(event)
        except self._errors as error:
            self.refused[event] = _reason(error, self._papi, beside=self._counted)
        with suppress(self._errors):
            self._papi.stop(self._set)
        if event in self.refused:
            self._papi.remove_named_event(self._set, event)

    def _give_up(self, error: Exception) -> None:
        """Take note that nothing is counted any more."""
        lost = [event for event in self.events if event not in self.refused]
        self.refused |= dict.fromkeys(lost, _reason(error, self._papi))
        self._counted = []

    def read(self) -> Counts:
        """Return how often each event has happened since this was made; None for one that is not counted."""
        if not self._counted:
            return (None,) * len(self.events)
        try:
            values = dict(zip(self._counted, self._papi.read(self._set), strict=True))
        except self._errors as error:
            # The program itself may have shut PAPI down. What is not known any more must not look like a standstill.
            self._give_up(error)
            return (None,) * len(self.events)
        return tuple(values.get(event) for event in self.events)

    def close(self) -> None:
        """Stop counting; there is nothing to read afterwards."""
        if self._papi is not None:
            # What PAPI cannot give back goes with the process.
            with suppress(self._errors):
                if self._counted:
                    self._papi.stop(self._set)
                self._papi.cleanup_eventset(self._set)
                self._papi.destroy_eventset(self._set)
        self._papi, self._counted = None, []


def counted_between(before: Counts, after: Counts) -> Counts:
    """Return what was counted between two readings of the same events."""
    return tuple(
        None if first is None or last is None else last - first for first, last in zip(before, after, strict=True)
    )


def probe(events: Sequence[str]) -> Probe:
    """Find out which events this machine counts, by counting them."""
    counters = Counters(events)
    counters.close()
    return Probe(counters.refused, _countable() if counters.refused else ())


def probe_command(events: Sequence[str]) -> list[str]:
    """Return the command that prints a `Probe` as JSON."""
    return [sys.executable, "-P", "-m", "flexmpi.runtime.machine.counters", *events]


def parse_probe(printed: str) -> Probe:
    """Read what the command of `probe_command` has printed last; a library may have printed something before."""
    found = json.loads(printed.rstrip().rpartition("\n")[2])
    return Probe(found["refused"], tuple(found["countable"]))


class _Unavailable(Exception):
    """PAPI cannot be used at all; says why in one line."""


def _load() -> tuple[Any, type[Exception]]:
    """Import PAPI and make it ready; return its functions, and the error they raise."""
    try:
        from pypapi import exceptions, papi_low
    except ImportError as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "pypapi":
            raise _Unavailable("python-papi is not installed: pip install python-papi") from None
        raise _Unavailable(f"python-papi cannot be loaded: {error}") from None
    errors: type[Exception] = exceptions.PapiError
    try:
        papi_low.library_init()
    except errors as error:
        raise _Unavailable(f"PAPI cannot start: {_text(error)}") from None
    return papi_low, errors


def _countable() -> tuple[str, ...]:
    """Return PAPI's presets that can be counted here, one at a time."""
    try:
        _load()
    except _Unavailable:
        return ()
    from pypapi import events

    found = []
    for name in vars(events):
        if name.startswith(PRESETS):
            counters = Counters([name])
            counters.close()
            if not counters.refused:
                found.append(name)
    return tuple(found)


def _text(error: Exception) -> str:
    """Return PAPI's message in the form ``Event does not exist (PAPI_ENOEVNT)``."""
    return str(error).replace(". (", " (")


def _reason(error: Exception, papi: Any, *, beside: Sequence[str] = ()) -> str:
    """Say why an event cannot be counted; PAPI says of a machine without counters only that it knows no reason."""
    if disabled := _disabled(papi):
        return f"{_text(error)} because {disabled}"
    conflict = beside and getattr(error, "c_name", "") == CONFLICT
    return f"{_text(error)}, beside {' and '.join(beside)}" if conflict else _text(error)


def _disabled(papi: Any) -> str:
    """Say why this machine has no counters at all, if that is so."""
    # Component 0 is the processor's, by PAPI's convention.
    processor = papi.get_component_info(0)
    if processor is None or not processor.disabled:
        return ""
    return f"PAPI's {processor.name} is disabled: {processor.disabled_reason}"


def main() -> None:
    """Print what this machine can count of the events on the command line."""
    print(json.dumps(asdict(probe(sys.argv[1:]))))


if __name__ == "__main__":
    main()
