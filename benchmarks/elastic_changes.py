"""Carries out expansions and shrinks of an elastic job in turns, and says what each cost the program."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.timelines import Timeline
from benchmarks.worlds import ElasticJob

QUIET_SAMPLES = 4
"""So many intervals the program is left alone between two changes."""
STEPS = ("plan_s", "hand_over_s", "take_s", "begin_s")
INTERVAL = 20
"""Iterations; as many as it takes to be settled after a change."""


@dataclass(frozen=True)
class Costs:
    """What expansions or shrinks cost, each the same number of times; in s.

    Attributes
    ----------
    felt
        The longest iteration around the change, less a normal one.
    lost
        By how much iterations took longer than normal ones, from the order on: work that was not done.
    took
        From the order to the record of the change.
    recorded
        What the record says that the program stood still.
    stood
        What the program's own clock says of that, where there were two worlds.
    steps
        What the record says of each step of a handover: the old ranks plan, at an agreement point before, and hand over; the new
        ones take, and begin.
    """

    felt: list[float]
    lost: list[float]
    took: list[float]
    recorded: list[float]
    stood: list[float]
    steps: dict[str, list[float]]

    def every(self, first: int) -> Costs:
        """Return those of every second change from one on."""
        return Costs(
            self.felt[first::2],
            self.lost[first::2],
            self.took[first::2],
            self.recorded[first::2],
            self.stood[first::2],
            {name: each[first::2] for name, each in self.steps.items()},
        )


def measure(
    megabytes: float,
    few: int,
    many: int,
    turns: int,
    *,
    way: str,
    warm_up: int = 1,
    node: str = "node1",
    python: Path = Path(sys.executable),
) -> tuple[Costs, Costs]:
    """Have a job with an array of some size change between two numbers of ranks, and return what either way cost.

    Parameters
    ----------
    turns
        How often either is measured.
    way
        ``join`` or ``handover``.
    warm_up
        How often either is done before: the first changes get the machine its memory.
    node
        Where ranks come and go; the job starts on ``node1``.
    python
        The interpreter of the environment whose MPI library is used.
    """
    orders, records = [], []
    options = (f"--interval={INTERVAL}", f"--change={way}")
    with ElasticJob("changing", "--megabytes", megabytes, ranks=few, options=options, python=python) as job:
        job.wait_for("sample")
        for _ in range(warm_up + turns):
            for sign in "+-":
                for _ in range(QUIET_SAMPLES):
                    job.wait_for("sample")
                orders.append(time.monotonic())
                records.append((job.change(f"6:{node}:{sign}{many - few}"), time.monotonic()))
        for _ in range(QUIET_SAMPLES):
            job.wait_for("sample")
        job.stop()
        timeline = Timeline.of(job.finish(), orders)
    costs = Costs(
        timeline.felt_s,
        timeline.lost_s,
        [done - ordered for (_, done), ordered in zip(records, orders, strict=True)],
        [record["stall_s"] for record, _ in records],
        list(timeline.standstills),
        {name: [record[name] for record, _ in records] for name in STEPS if way == "handover"},
    )
    return costs.every(2 * warm_up), costs.every(2 * warm_up + 1)
