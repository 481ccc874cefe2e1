"""Which jobs of a resource manager are companions of another, and which nodes they hold together. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from flexmpi.cluster.state import Job, Snapshot
from flexmpi.slurm.companion import parent_of


def companions(snapshot: Snapshot) -> Mapping[int, tuple[Job, ...]]:
    """Return the jobs that hold a node for another, or wait for one, by the number of the other: its owner's own, named so."""
    found: dict[int, tuple[Job, ...]] = {}
    for job in snapshot.jobs:
        named = parent_of(job.name)
        parent = None if named is None else snapshot.job_of.get(named)
        if parent is not None and parent.uid == job.uid and not job.is_ended:
            found[parent.job_id] = (*found.get(parent.job_id, ()), job)
    return found


def nodes_of(job: Job, its_companions: Collection[Job]) -> tuple[str, ...]:
    """Return the nodes that a job and its companions have, or are sure to get: those they wait for by name too."""
    wanted = (node for companion in its_companions for node in (companion.nodes or companion.required_nodes))
    return tuple(dict.fromkeys((*job.nodes, *wanted)))
