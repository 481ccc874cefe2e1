"""Says in a sentence what is wrong with a reconfiguration, for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flexmpi.protocol.handover import WrittenFile
from flexmpi.runtime.job.handover_events import Timer
from flexmpi.runtime.job.reconfiguration import Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId, Roster

PHASES = ("agreed", "joined", "linked", "ahead", "moving", "moved", "parted")
"""What a rank reports on its way through a reconfiguration, in this order; ranks that join begin with the second."""

LIKELY_CAUSES = {
    None: "it has not reached the agreement point: does every rank run the same iterations?",
    "agreed": "MPI_Comm_accept and MPI_Comm_connect do not come together: can these nodes reach each other?",
    "joined": "the data move did not begin",
    "linked": "constant data is still on its way",
    "ahead": "it has not reached the agreement point",
    "moving": "the data move did not end",
    "moved": "MPI_Comm_disconnect waits for a message to or from a rank that leaves that was never received: "
    "complete every Isend and Irecv before the iteration ends",
    "parted": "it waits for the other ranks that remain",
}

LATE = {
    Timer.PLAN: "the application's ranks did not plan who is to have which rows",
    Timer.HAND_OVER: "the application's ranks did not hand over their rows",
    Timer.TAKE: "the new ranks did not take over the rows",
    Timer.END: "the new ranks did not end",
}
"""What has not come about in a handover when the time of a timer is up."""

STOPPED = "stopped by a signal or a debugger"


def hang_message(wanted: Reconfiguration, roster: Roster, *, stopped: Sequence[RankId] = (), limit_s: float) -> str:
    """Say which ranks a hanging reconfiguration waits for, and what is the likely cause.

    Parameters
    ----------
    stopped
        Ranks whose process is stopped: then they are the cause.
    limit_s
        How long nothing has happened.
    """
    reached = dict.fromkeys(roster.members, -1) | dict.fromkeys(wanted.newcomers, 0)
    reached.update((rank, PHASES.index(phase)) for rank, phase in wanted.phases.items())
    slowest = min(reached.values())
    late = stopped or [rank for rank, phase in reached.items() if phase == slowest]
    cause = STOPPED if stopped else LIKELY_CAUSES[PHASES[slowest] if slowest >= 0 else None]
    return f"reconfiguration {wanted.number} hangs for {limit_s:g} s at {_names(late, roster)}; likely cause: {cause}"


def late_message(number: int, timer: Timer, *, roster: Roster, stopped: Sequence[RankId] = (), limit_s: float) -> str:
    """Say what has not come about in a handover within its limit, and which ranks are stopped, if any: they are the cause."""
    late = f"{LATE[timer]} within {limit_s:g} s (--stall-timeout)"
    if not stopped:
        return f"reconfiguration {number}: {late}"
    are = "is" if len(stopped) == 1 else "are"
    return f"reconfiguration {number}: {_names(stopped, roster)} {are} {STOPPED}: {late}"


def _names(ranks: Sequence[RankId], roster: Roster) -> str:
    """Name a few of these ranks, and say how many more there are."""
    return ", ".join(map(roster.name, ranks[:3])) + (f" and {len(ranks) - 3} more" if len(ranks) > 3 else "")


def not_ready_message(missing: int, size: int, *, planned: bool, limit_s: float) -> str:
    """Say how many ranks of a successor have not come to its loop in time, or have not even opened their session."""
    return (
        f"{missing} of {size} new ranks were not ready within {limit_s:g} s "
        f"(they have not {'reached flex.iterate' if planned else 'opened their session'})"
    )


def difference(newcomer: Sequence[str], application: Sequence[str]) -> str:
    """Say how the declarations of a newcomer differ from the application's."""
    for theirs, ours in zip(newcomer, application, strict=False):
        if theirs != ours:
            return f"a new rank declared {theirs}, the application {ours}; every rank must declare the same objects"
    return (
        f"a new rank declared {len(newcomer)} objects, the application {len(application)}; "
        "every rank must declare the same objects before the loop"
    )


def files_in_common(files: Iterable[WrittenFile], *, warned: set[str]) -> list[str]:
    """Return what to say of files that two worlds have open for writing, once of each; those are added to ``warned``."""
    new = {file.path: file for file in files if file.path not in warned}
    warned.update(new)
    return [
        f"{f'{file.line}: ' if file.line else ''}{path} is opened for writing in a successor while its predecessor has it "
        "open for writing; use flex.output or flex.exclusive"
        for path, file in new.items()
    ]


def in_context(why: str, current: Reconfiguration | None) -> str:
    """Add to the reason of a job's end what its ranks were doing together, if that may be the true reason."""
    if not why or current is None or current.stage is not Stage.AGREED or f"reconfiguration {current.number}" in why:
        return why
    loss = f": {current.loss}" if current.lost and current.loss not in why else ""
    return f"{why}, in reconfiguration {current.number} ({current.summary()}){loss}"
