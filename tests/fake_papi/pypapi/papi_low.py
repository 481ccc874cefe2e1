"""A FAKE of PAPI's low-level interface, with made-up counts: machines without hardware counters have no others to test with.

It has the functions that FlexMPI uses, and PAPI's rules for them. Its processor has the four events of ``STEPS`` and counts
three at once; PAPI_DP_OPS takes two of these counters. Every reading of an event set finds each event further on by the
event's step, however long it took, so that a test knows what will be counted. ``FAKE_PAPI_WITHOUT``, in the environment, names
an event that this processor has not; ``FAKE_PAPI_READINGS`` says after how many readings counting has come to an end, as when
the program itself shuts PAPI down.
"""

from __future__ import annotations

import os

from pypapi import exceptions as problems

STEPS = {"PAPI_TOT_INS": 1_000_000, "PAPI_TOT_CYC": 2_500_000, "PAPI_DP_OPS": 300_000, "PAPI_SP_OPS": 40_000}
COUNTERS_TAKEN = {"PAPI_DP_OPS": 2}
COUNTERS = 3


class _EventSet:
    def __init__(self) -> None:
        self.events: list[str] = []
        self.counts: list[int] = []
        self.running = False


class _Component:
    name = "fake_event"
    disabled = 0
    disabled_reason = ""


_sets: dict[int, _EventSet] = {}
_made = 0
_readings = 0


def library_init() -> None:
    """Do nothing."""


def get_component_info(component: int) -> _Component:
    """Return the processor's."""
    assert component == 0
    return _Component()


def create_eventset() -> int:
    """Make an event set and return its handle."""
    global _made
    _made += 1
    _sets[_made] = _EventSet()
    return _made


def _of(handle: int, *, running: bool | None = None) -> _EventSet:
    if handle not in _sets:
        raise problems.PapiNoEventSetError
    if running is not None and _sets[handle].running != running:
        raise problems.PapiNotRunningError if running else problems.PapiIsRunningError
    return _sets[handle]


def add_named_event(handle: int, name: str) -> None:
    """Add an event, if there is a counter left for it."""
    event_set = _of(handle, running=False)
    if name not in STEPS or name == os.environ.get("FAKE_PAPI_WITHOUT"):
        raise problems.PapiNoEventError
    events = [*event_set.events, name]
    if name in event_set.events or sum(COUNTERS_TAKEN.get(event, 1) for event in events) > COUNTERS:
        raise problems.PapiConflictError
    event_set.events = events


def remove_named_event(handle: int, name: str) -> None:
    """Remove an event."""
    _of(handle, running=False).events.remove(name)


def start(handle: int) -> None:
    """Begin to count at 0; one event set may do so at a time."""
    event_set = _of(handle, running=False)
    if any(other.running for other in _sets.values()):
        raise problems.PapiIsRunningError
    event_set.running, event_set.counts = True, [0] * len(event_set.events)


def read(handle: int) -> list[int]:
    """Return the counts, each one step further on."""
    global _readings
    event_set = _of(handle, running=True)
    _readings += 1
    if _readings > int(os.environ.get("FAKE_PAPI_READINGS", _readings)):
        raise problems.PapiNotRunningError
    event_set.counts = [count + STEPS[event] for event, count in zip(event_set.events, event_set.counts, strict=True)]
    return list(event_set.counts)


def stop(handle: int) -> list[int]:
    """Stop counting and return the counts."""
    event_set = _of(handle, running=True)
    event_set.running = False
    return list(event_set.counts)


def cleanup_eventset(handle: int) -> None:
    """Remove all events."""
    _of(handle, running=False).events = []


def destroy_eventset(handle: int) -> None:
    """Forget an empty event set."""
    assert not _of(handle, running=False).events
    del _sets[handle]
