"""What a handover has cost, by what its ranks tell. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from flexmpi.protocol.handover import RowsHandedOver, RowsPlanned, RowsTaken


def figures_of(
    planned: RowsPlanned, there: RowsHandedOver, taken: RowsTaken, *, take_s: float, begin_s: float
) -> dict[str, float]:
    """Return the bytes that moved, and how long the application stood still and what for.

    No two machines' clocks are compared. The way of one message is left out, and that of another counted twice.

    Parameters
    ----------
    planned, there
        What the predecessor has said of its plan, and of what it handed over.
    taken, take_s, begin_s
        What the successor has said, how long it took to take, and from then until its first iteration.
    """
    network = planned.moved_bytes + there.moved_bytes + taken.bytes_network
    steps = {"plan_s": planned.stood_s, "hand_over_s": there.stood_s, "take_s": take_s, "begin_s": begin_s}
    return {
        "bytes": network,
        "bytes_node": taken.bytes_node,
        "bytes_network": network,
        "join_s": 0.0,
        "balance_s": 0.0,
        "move_s": planned.move_s + there.move_s + taken.move_s + taken.map_s,
        "part_s": 0.0,
        **steps,
        "stall_s": sum(steps.values()),
    }


def added(earlier: Mapping[str, float], figures: Mapping[str, float]) -> dict[str, float]:
    """Return the figures of a change that has taken one more handover."""
    return {**earlier, **{name: figure + earlier.get(name, 0) for name, figure in figures.items()}}
