"""The policy `fair`: equal shares of the nodes that elastic jobs can have, within their ranges."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.seating import hand_out, seat_waiting


def fair(view: View) -> tuple[Decision, ...]:
    """Bring all jobs to equal shares; jobs that wait come first, as in `fill`.

    A job with more than its share leaves nodes only where a job with less can use them. Those are handed out when they are
    free, in a later decision.
    """
    seating = seat_waiting(view)
    kept = {job.key: seating.size(job) for job in view.jobs}
    shares = equal_shares(view.jobs, sum(kept.values()) + len(seating.free))
    leaving = {key: list(nodes) for key, nodes in seating.leaving.items()}
    wanting = [job for job in view.jobs if kept[job.key] < shares[job.key]]
    short = sum(shares[job.key] - kept[job.key] for job in wanting)
    short -= sum(any(node in job.suitable for job in wanting) for node in seating.free)
    for job in sorted(view.jobs, key=lambda job: shares[job.key] - kept[job.key]):
        useful = [
            node
            for node in job.removable
            if node not in leaving.get(job.key, ()) and any(node in other.suitable for other in wanting)
        ]
        count = min(kept[job.key] - shares[job.key], short, len(useful))
        if job.may_shrink and count > 0 and job.key not in leaving:
            leaving[job.key] = useful[:count]
            short -= count
    given_back = {decision.key for decision in seating.decisions()}
    evened = tuple(
        Decision(key=key, leave=tuple(nodes), why=f"its fair share is {shares[key]} nodes")
        for key, nodes in leaving.items()
        if key not in given_back
    )
    targets = {job.key: shares[job.key] for job in view.jobs if job.key not in leaving}
    return (*seating.decisions(), *evened, *hand_out(view, seating.free, targets, why="nodes up to its fair share"))


def equal_shares(jobs: Sequence[ElasticJob], nodes: int) -> Mapping[str, int]:
    """Share nodes equally among jobs, within their ranges: one at a time to the smallest, the present size breaking ties.

    Returns
    -------
    dict
        A size for each key, at least the job's minimum and at most its maximum; their sum is at most ``nodes`` unless the
        minima alone need more.
    """
    shares = {job.key: job.minimum_nodes for job in jobs}
    left = nodes - sum(shares.values())
    while left > 0 and (able := [job for job in jobs if shares[job.key] < job.maximum_nodes]):
        # Where a node is left over, who has it already keeps it: nothing moves for nothing.
        chosen = min(able, key=lambda job: (shares[job.key], -job.size))
        shares[chosen.key] += 1
        left -= 1
    return shares
