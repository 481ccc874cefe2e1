"""The power cap, under every policy: nothing grows beyond it, and jobs shrink until all nodes draw no more. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.policies.seating import seat_waiting


def under_cap(decisions: Sequence[Decision], view: View) -> tuple[Decision, ...]:
    """Return the decisions without the growth that the cap has no room for, and with what must be left to keep to it.

    A node counts until it has been left, so growth waits for that. Free nodes that are kept for jobs that wait count as if
    those had started.
    """
    if view.power.cap_w is None:
        return tuple(decisions)
    leaving = {decision.key: list(decision.leave) for decision in decisions if decision.leave}
    reserved = seat_waiting(view).reserved
    forced = _force(view, leaving, reserved)
    left_w = view.power.left_w({node for job in view.jobs for node in (*draws_now(job), *reserved)})
    kept: list[Decision] = []
    for decision in decisions:
        add = []
        for node in decision.add if decision.key not in forced else ():
            node_w = view.power.dynamic_w([node])
            if view.power.may_be_given(node) and node_w <= left_w:
                left_w -= node_w
                add.append(node)
        if add or decision.leave:
            kept.append(replace(decision, add=tuple(add), leave=tuple(leaving.get(decision.key, ()))))
    given_back = {decision.key for decision in kept}
    why = f"all nodes together may draw {view.power.cap_w:g} W ({view.power.source_of(view.power.watts)})"
    more = [Decision(key=key, leave=tuple(leaving[key]), why=why) for key in forced if key not in given_back]
    return (*kept, *more)


def growth_left_w(view: View) -> float:
    """Return how many watts the cap leaves for growth now; infinite without a cap."""
    return view.power.left_w({node for job in view.jobs for node in draws_now(job)})


def draws_now(job: ElasticJob) -> tuple[str, ...]:
    """Return the nodes that count as a job's until it has left them, those that it has been given a moment ago among them."""
    return (*job.held, *job.arriving, *job.joining, *job.departing)


def _force(view: View, leaving: dict[str, list[str]], reserved: set[str]) -> set[str]:
    """Have jobs leave further nodes until the cap is kept to, the largest relative size first; return which."""
    left = {node for nodes in leaving.values() for node in nodes}
    left_w = view.power.left_w(({node for job in view.jobs for node in job.keeps} - left) | reserved)
    forced: set[str] = set()
    while left_w < 0:
        able = [job for job in view.jobs if job.may_shrink and _next_to_leave(job, view, leaving) is not None]
        if not able:
            break
        giver = max(able, key=lambda job: _relative(job, leaving))
        node = _next_to_leave(giver, view, leaving)
        assert node is not None
        leaving.setdefault(giver.key, []).append(node)
        forced.add(giver.key)
        left_w += view.power.dynamic_w([node])
    return forced


def _next_to_leave(job: ElasticJob, view: View, leaving: dict[str, list[str]]) -> str | None:
    gone = leaving.get(job.key, [])
    if job.size - len(gone) <= job.minimum_nodes:
        return None
    able = (node for node in job.removable if node not in gone and view.power.dynamic_w([node]) > 0)
    return next(able, None)


def _relative(job: ElasticJob, leaving: dict[str, list[str]]) -> float:
    span = job.maximum_nodes - job.minimum_nodes
    return (job.size - len(leaving.get(job.key, ())) - job.minimum_nodes) / span if span > 0 else 1.0
