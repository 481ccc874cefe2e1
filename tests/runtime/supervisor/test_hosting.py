"""Process sets on several nodes: all nodes are ready before one is run, and it has ended when nothing is left on any."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from flexmpi.runtime.job.roster import ProcessSet
from flexmpi.runtime.supervisor.hosting import Hosting

PSET = ProcessSet(7, ("a", "b", "b", "c"))
HEAD: Any = SimpleNamespace(folder=Path("/job/a"))
END = {"pset": 7, "status": 0}


class Nodes:
    """What node launchers are told, and what the supervisor hears of ends."""

    def __init__(self) -> None:
        self.told: list[tuple[str, str, dict[str, Any]]] = []
        self.ended: list[dict[str, Any]] = []
        self.hosting = Hosting(self.send, on_ended=lambda pset, message: self.ended.append(message))

    def send(self, node: str, kind: str, **fields: Any) -> None:
        self.told.append((node, kind, fields))

    def kinds(self, kind: str) -> set[str]:
        return {node for node, each, _ in self.told if each == kind}


@pytest.fixture
def nodes() -> Nodes:
    nodes = Nodes()
    nodes.hosting.host(PSET, HEAD)
    return nodes


def test_the_other_nodes_are_told_which_ranks_they_host_and_are_waited_for(nodes: Nodes) -> None:
    told = {node: (kind, fields["here"], fields["label"]) for node, kind, fields in nodes.told}
    assert told == {"b": ("host", [1, 2], "/job/a/pset-7"), "c": ("host", [3], "/job/a/pset-7")}
    assert not nodes.hosting.is_ready(PSET)
    nodes.hosting.ready("c", 7)
    assert not nodes.hosting.is_ready(PSET)
    nodes.hosting.ready("b", 7)
    assert nodes.hosting.is_ready(PSET) and nodes.hosting.problem(PSET) is None


def test_it_has_ended_when_nothing_is_left_on_any_node(nodes: Nodes) -> None:
    nodes.hosting.head_ended(END)
    assert nodes.kinds("unhost") == {"b", "c"}
    nodes.hosting.gone("b", 7)
    assert nodes.ended == []
    nodes.hosting.gone("c", 7)
    assert nodes.ended == [END]


def test_where_a_node_is_lost_the_rest_is_ended_and_the_node_not_waited_for(nodes: Nodes) -> None:
    nodes.hosting.lost("b")
    assert ("a", "kill", {"pset": 7}) in nodes.told
    nodes.hosting.head_ended(END)
    nodes.hosting.gone("c", 7)
    assert nodes.ended == [END]


def test_where_the_node_that_runs_it_is_lost_the_others_are_ended(nodes: Nodes) -> None:
    nodes.hosting.lost("a")
    assert nodes.kinds("unhost") == {"b", "c"} and nodes.hosting.problem(PSET) is not None
    assert nodes.hosting.is_ready(PSET), "nobody waits for it any more"


def test_one_that_a_node_cannot_host_is_not_started_and_nothing_of_it_stays(nodes: Nodes) -> None:
    nodes.hosting.ready("c", 7, problem="no room")
    assert nodes.hosting.is_ready(PSET), "nobody waits for the other node"
    assert nodes.hosting.problem(PSET) == "c cannot host ranks: no room"
    nodes.hosting.give_up(PSET)
    assert nodes.kinds("unhost") == {"b", "c"}
    nodes.hosting.gone("b", 7)
    nodes.hosting.gone("c", 7)
    assert [end["error"] for end in nodes.ended] == ["c cannot host ranks: no room"]


def test_one_whose_node_is_lost_before_it_is_started_is_not_started(nodes: Nodes) -> None:
    nodes.hosting.ready("c", 7)
    nodes.hosting.lost("b")
    assert nodes.hosting.is_ready(PSET) and nodes.hosting.problem(PSET) == "the node launcher of b is gone"


def test_one_that_lives_on_one_node_needs_nobody_else() -> None:
    nodes, alone = Nodes(), ProcessSet(1, ("a", "a"))
    nodes.hosting.host(alone, HEAD)
    assert nodes.told == [] and nodes.hosting.is_ready(alone)
    nodes.hosting.head_ended({"pset": 1, "status": 3})
    assert nodes.ended == [{"pset": 1, "status": 3}]
