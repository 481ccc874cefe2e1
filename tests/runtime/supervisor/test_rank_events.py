"""What ranks say too late, or about what is over, does no harm."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.supervisor.hosting import Hosting
from flexmpi.runtime.supervisor.rank_events import RankEvents, Watched

PORT = {"kind": "port", "port": "a port", "expected": [1]}


def said(message: dict[str, object], *, current: Reconfiguration | None) -> list[tuple[object, ...]]:
    """Return who is told what when a rank says something while a reconfiguration is under way."""
    roster, told = Roster([]), list[tuple[object, ...]]()
    rank = roster.add(["node"]).ranks[0]

    def tell(ranks: list[RankId], kind: str, **fields: object) -> None:
        told.append((ranks, kind))

    job = SimpleNamespace(
        roster=roster, reconfigurer=SimpleNamespace(current=current), founders=[[rank], [RankId(9, 0)]], tell=tell
    )
    RankEvents(cast(Watched, job)).handle(rank, message)
    return told


@pytest.mark.parametrize("units", [[], [[RankId(7, 0)], [RankId(8, 0)]]])
def test_a_port_of_a_reconfiguration_that_is_over_is_told_to_nobody(units: list[list[RankId]]) -> None:
    later = Reconfiguration(6, "a test", {}, units=units)
    assert said({**PORT, "reconfiguration": 5}, current=later) == []
    assert said({**PORT, "reconfiguration": 5}, current=None) == []


def test_a_port_is_told_to_the_worlds_that_are_to_connect_to_it() -> None:
    current = Reconfiguration(6, "a test", {}, units=[[RankId(7, 0)], [RankId(8, 0)]])
    assert said({**PORT, "reconfiguration": 6}, current=current) == [([RankId(8, 0)], "port")]
    assert said({**PORT, "reconfiguration": 0}, current=current) == [([RankId(9, 0)], "port")], "those of the start"


class Successor:
    """A handover whose new ranks fail."""

    def __init__(self) -> None:
        self.does_without_predecessor = False
        self.lost: list[object] = []

    def concerns(self, ranks: object) -> bool:
        return True

    def apply(self, event: object) -> None:
        self.lost.append(event)


def test_the_end_of_a_process_set_that_a_node_could_not_host_is_understood() -> None:
    roster, ended = Roster([]), list[object]()
    roster.members = roster.add(["a"]).ranks
    pset, nobody = roster.add(["a", "b"]), SimpleNamespace(all=[], to_successor=lambda ranks: None)
    job = SimpleNamespace(
        roster=roster,
        reconfigurer=SimpleNamespace(current=None, handovers=nobody),
        application=SimpleNamespace(finished=False),
        log=SimpleNamespace(write=lambda event, **fields: ended.append(fields["cause"])),
        has_failed=False,
        io_phases=SimpleNamespace(end=lambda rank: None),
    )
    events = RankEvents(cast(Watched, job))
    hosting = Hosting(lambda *told, **fields: None, on_ended=lambda _, message: events.process_set_ended(message))
    hosting.host(pset, cast(Any, SimpleNamespace(folder=Path("/job/a"))))
    hosting.ready("b", pset.number, problem="no room for ranks: Too many open files")
    hosting.give_up(pset)
    hosting.gone("b", pset.number)
    assert ended == [
        "process set 1 (node a, b) could not start: b cannot host ranks: no room for ranks: Too many open files"
    ]
    assert pset.number not in roster.psets


@pytest.mark.parametrize(
    ("error", "traceback", "refused"),
    [
        ("ValueError: no input", "Traceback", 1),
        ("no licence: the server is busy", None, 1),
        (None, None, 0),
        ("MemoryError", "Traceback", 0),
        ("numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB", "Traceback", 0),
        ("OSError: [Errno 12] Cannot allocate memory", "Traceback", 0),
        ("mpi4py.MPI.Exception: MPI_ERR_OTHER: known error not in list", "Traceback", 0),
        (
            "flexmpi.errors.NodeMemoryError: x: this node has no memory file of 8 bytes: Too many open files",
            "Traceback",
            0,
        ),
        ("flexmpi.errors.MembershipError: the memory of rank 1 of before cannot be read any more", "Traceback", 0),
        ("flexmpi.errors.LinkError: the node launcher is gone", "Traceback", 0),
    ],
)
def test_only_an_error_of_the_program_itself_is_a_reason_to_start_no_more_successors(
    error: str | None, traceback: str | None, refused: int
) -> None:
    roster, refusals, left = Roster([]), list[str](), list[RankId]()
    member, rank = (roster.add(["node"]).ranks[0] for _ in range(2))
    roster.members = [member]
    successor = Successor()
    handovers = SimpleNamespace(all=[successor], to_successor=lambda ranks: successor)
    job = SimpleNamespace(
        roster=roster,
        reconfigurer=SimpleNamespace(current=None, handovers=handovers),
        refuse_successors=lambda why, traceback: refusals.append(why),
        kill_process_set=lambda number: None,
        log=SimpleNamespace(write=lambda event, **fields: None),
        has_failed=False,
        io_phases=SimpleNamespace(end=left.append),
    )
    failure = {"kind": "failure", "status": 1, "traceback": traceback, "summary": error}
    RankEvents(cast(Watched, job)).handle(rank, failure)
    assert len(refusals) == refused and len(successor.lost) == 1
    assert left == [rank]
