"""The policy `fill`: no idle node while an elastic job could use it, and no job waits for what one could give back."""

from __future__ import annotations

from flexmpi.scheduler.deciding.elastic import Decision, View
from flexmpi.scheduler.deciding.policies.seating import hand_out, seat_waiting


def fill(view: View) -> tuple[Decision, ...]:
    """Give idle nodes that nobody waits for to elastic jobs, the smallest relative size first.

    A job that waits and would start with them makes elastic jobs shrink, down to their minimum, and only if that lets it
    start.
    """
    seating = seat_waiting(view)
    targets = {job.key: job.maximum_nodes for job in view.jobs if job.key not in seating.leaving}
    grown = hand_out(view, seating.free, targets, why="idle nodes that nobody waits for")
    return (*seating.decisions(), *grown)
