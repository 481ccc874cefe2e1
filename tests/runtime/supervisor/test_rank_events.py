"""What ranks say too late, or about what is over, does no harm."""

from __future__ import annotations

from types import SimpleNamespace
from typing import cast

import pytest

from flexmpi.runtime.job.reconfiguration import Reconfiguration
from flexmpi.runtime.job.roster import RankId, Roster
from flexmpi.runtime.supervisor.rank_events import RankEvents, Watched

PORT = {"kind": "port", "port": "a port", "expected": [1]}


def said(message: dict[str, object], *, current: Reconfiguration | None) -> list[tuple[object, ...]]:
    """Return who is told what when a rank says something while a reconfiguration is under way."""
    roster, told = Roster([]), list[tuple[object, ...]]()
    rank = roster.add("node", 1).ranks[0]

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
