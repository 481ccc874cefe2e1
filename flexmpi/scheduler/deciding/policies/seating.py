"""Nodes for jobs that wait: what is kept free for them, and what elastic jobs give back so that they start. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View, WaitingJob


@dataclass
class Seating:
    """What is left after the waiting jobs have been thought of.

    Attributes
    ----------
    free
        Free nodes that nobody waits for, in their order.
    leaving
        What each job gives back, and for whom.
    kept_for
        The nodes kept for each waiting job that can start with them, and with what is given back.
    reserved
        Nodes that are free, or on their way out of elastic jobs, and kept for those that wait.
    """

    free: list[str]
    leaving: dict[str, list[str]] = field(default_factory=dict)
    beneficiaries: dict[str, list[int]] = field(default_factory=dict)
    kept_for: dict[int, list[str]] = field(default_factory=dict)
    reserved: set[str] = field(default_factory=set)

    def size(self, job: ElasticJob) -> int:
        """Return how many nodes a job keeps."""
        return job.size - len(self.leaving.get(job.key, ()))

    def decisions(self) -> tuple[Decision, ...]:
        """Return what is given back, a decision a job."""
        return tuple(
            Decision(key=key, leave=tuple(nodes), why=for_whom(self.beneficiaries[key]))
            for key, nodes in self.leaving.items()
        )


def seat_waiting(view: View) -> Seating:
    """Keep free nodes for the jobs that wait, and have elastic jobs give back what lets one start.

    Each waiting job, in the order in which they start, takes the free nodes it could run on, those that the manager keeps for
    jobs that wait, and those that are on their way out of elastic jobs. Where that is not enough, elastic jobs shrink, the one
    with the largest relative size first and never below its minimum; but only if the job can start then. If it cannot, it keeps
    what is free, and no job shrinks for those behind it that want the same nodes: they would have to overtake it.
    """
    seating = Seating(free=list(view.free))
    coming = {*view.planned, *(node for job in view.jobs for node in (*job.leaving, *job.departing))}
    blocked: set[str] = set()
    for waiting in view.waiting:
        kept = _fewest(waiting, waiting.best_first((*sorted(coming), *seating.free)))
        lacks = not waiting.can_start_on(kept)
        given = _giving(view.jobs, seating, waiting, kept) if lacks and _may_shrink_for(waiting, blocked) else {}
        for key, nodes in given.items():
            seating.leaving.setdefault(key, []).extend(nodes)
            seating.beneficiaries.setdefault(key, []).append(waiting.job_id)
        if lacks and not given:
            blocked |= waiting.suitable
        else:
            seating.kept_for[waiting.job_id] = kept
        coming -= set(kept)
        seating.reserved.update(kept)
        seating.free = [node for node in seating.free if node not in kept]
    return seating


def could_start(view: View) -> Mapping[int, tuple[str, ...]]:
    """Return the waiting jobs for which all that they need is idle and kept, by number, with the nodes."""
    idle, kept_for = {*view.free, *view.planned}, seat_waiting(view).kept_for
    return {
        waiting.job_id: tuple(nodes)
        for waiting in view.waiting
        if (nodes := kept_for.get(waiting.job_id)) and waiting.can_start_on(nodes) and idle.issuperset(nodes)
    }


def _may_shrink_for(waiting: WaitingJob, blocked: set[str]) -> bool:
    return waiting.is_settled and waiting.suitable.isdisjoint(blocked)


def _fewest(waiting: WaitingJob, nodes: Sequence[str]) -> list[str]:
    """Return as many of some nodes, the first first, as a waiting job can start on; where they are not enough, those it uses."""
    enough = (count for count in range(waiting.nodes, len(nodes) + 1) if waiting.can_start_on(nodes[:count]))
    absent = len(waiting.required.difference(nodes))
    return list(nodes[: next(enough, waiting.nodes - absent if absent else len(nodes))])


def _giving(
    jobs: Sequence[ElasticJob], seating: Seating, waiting: WaitingJob, kept: Sequence[str]
) -> Mapping[str, list[str]]:
    """Choose the nodes that elastic jobs give back for one waiting job beside those kept for it; none where it lacks more."""
    offered = {
        job.key: waiting.best_first(node for node in job.removable if node not in seating.leaving.get(job.key, ()))
        for job in jobs
        if job.may_shrink
    }
    sizes = {job.key: seating.size(job) for job in jobs}
    given: dict[str, list[str]] = {}
    together = list(kept)
    while not waiting.can_start_on(together):
        able = [job for job in jobs if offered.get(job.key) and sizes[job.key] > job.minimum_nodes]
        must = waiting.required.difference(together)
        able = [job for job in able if not must or offered[job.key][0] in must]
        if not able:
            return {}
        giver = max(able, key=lambda job: _relative(job, sizes[job.key]))
        node = offered[giver.key].pop(0)
        given.setdefault(giver.key, []).append(node)
        together.append(node)
        sizes[giver.key] -= 1
    return given


def _relative(job: ElasticJob, size: int) -> float:
    span = job.maximum_nodes - job.minimum_nodes
    return (size - job.minimum_nodes) / span if span > 0 else 1.0


def for_whom(job_ids: Sequence[int]) -> str:
    """Say why nodes are given back: these jobs can start then."""
    return f"job{'s' if len(job_ids) > 1 else ''} {', '.join(map(str, job_ids))} can start then"


def hand_out(view: View, free: Sequence[str], targets: Mapping[str, int], *, why: str) -> tuple[Decision, ...]:
    """Give free nodes to jobs up to their target sizes, one node at a time to the smallest relative size.

    Parameters
    ----------
    free
        Nodes that nobody waits for; only settled ones are given out.
    targets
        The size each job may reach, by key; jobs that are not in it get nothing.
    """
    sizes = Counter({job.key: job.size for job in view.jobs})
    left = [node for node in free if node in view.settled]
    given: dict[str, list[str]] = {}

    def node_for(job: ElasticJob) -> str | None:
        extra = len(given.get(job.key, ()))
        full = sizes[job.key] >= min(targets.get(job.key, 0), job.maximum_nodes)
        if not job.may_grow or full or (job.extra_allowed is not None and extra >= job.extra_allowed):
            return None
        return next((node for node in left if node in job.suitable), None)

    while able := [(job, node) for job in view.jobs if (node := node_for(job)) is not None]:
        taker, node = min(able, key=lambda pair: _relative(pair[0], sizes[pair[0].key]))
        given.setdefault(taker.key, []).append(node)
        sizes[taker.key] += 1
        left.remove(node)
    return tuple(Decision(key=key, add=tuple(nodes), why=why) for key, nodes in given.items())
