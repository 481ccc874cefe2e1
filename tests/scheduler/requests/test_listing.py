from __future__ import annotations

from flexmpi.cluster.state import Node, NodeState, Snapshot
from flexmpi.scheduler.deciding.supply import Territory
from flexmpi.scheduler.jobs.ledger import Ledger, Timing
from flexmpi.scheduler.requests.listing import node_list


def reasons(snapshot: Snapshot) -> dict[str, str | None]:
    return {row.node: row.why for row in node_list(snapshot, Ledger(Timing(), epoch=1), territory=Territory()).nodes}


def test_of_a_node_in_no_partition_it_is_said_that_no_job_can_have_it() -> None:
    idle = frozenset({NodeState.IDLE})
    nodes = (Node(name="a", cores=4, states=idle, partitions=("main",)), Node(name="b", cores=4, states=idle))
    seen = Snapshot(taken_at=0.0, nodes=nodes, jobs=())
    assert reasons(seen) == {"a": None, "b": "in no partition: no job can have it"}
    hidden = Snapshot(taken_at=0.0, nodes=nodes, jobs=(), hidden=frozenset({"partitions"}))
    assert reasons(hidden) == {"a": None, "b": None}
