"""Says in a sentence what is wrong with a reconfiguration, for a person. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from flexmpi.protocol.handover import WrittenFile
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
    shown = ", ".join(roster.name(rank) for rank in late[:3]) + (f" and {len(late) - 3} more" if len(late) > 3 else "")
    cause = LIKELY_CAUSES[PHASES[slowest] if slowest >= 0 else None]
    if stopped:
        cause = "stopped by a signal or a debugger"
    return f"reconfiguration {wanted.number} hangs for {limit_s:g} s at {shown}; likely cause: {cause}"


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
