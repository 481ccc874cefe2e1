"""The lines FlexMPI prints about an application, in the form of the FlexMPI user manual.

Pure: figures in, text out. What was not measured is shown as ``n/a``, never as 0.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import TypeVar

from flexmpi.configuration import Node
from flexmpi.runtime.energy import EnergyReading
from flexmpi.runtime.reconfiguration import Reconfiguration

MISSING = "n/a"

Figure = TypeVar("Figure", int, float)

ALL_OPERATIONS = "PAPI_FP_OPS"
OPERATIONS_BY_PRECISION = ("PAPI_SP_OPS", "PAPI_DP_OPS")
"""Floating point operations are what PAPI calls so; nothing else, such as instructions, stands in for them."""


@dataclass(frozen=True)
class IntervalReport:
    """What all ranks measured in one sampling interval; one entry for each rank, in seconds.

    Attributes
    ----------
    iteration
        The iterations completed so far in this loop.
    iterations
        How many of them lie in the interval.
    next_at
        The iteration of the next agreement point.
    load
        What each rank computed with: rows, or a share of the cost.
    weights
        By which the load is shared.
    operations
        For each class of MPI calls, and each rank, three figures: calls and their bytes in the interval's first iteration, and
        seconds in the whole interval.
    counters
        How often each hardware event that is followed has happened, on each rank; None on a rank that does not count it.
    whole_rows
        The load is in rows.
    """

    iteration: int
    iterations: int
    next_at: int
    load: Sequence[float]
    weights: Sequence[float]
    real_s: Sequence[float]
    processor_s: Sequence[float]
    communication_s: Sequence[float]
    io_s: Sequence[float]
    operations: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    counters: Mapping[str, Sequence[int | None]] = field(default_factory=dict)
    whole_rows: bool = True

    @property
    def flops_events(self) -> tuple[str, ...]:
        """The events by which floating point operations are counted: one for all of them, or those of each precision."""
        if ALL_OPERATIONS in self.counters:
            return (ALL_OPERATIONS,)
        return tuple(event for event in OPERATIONS_BY_PRECISION if event in self.counters)

    @property
    def flops(self) -> list[int | None]:
        """The floating point operations of each rank; None where they are not counted."""
        columns = [self.counters[event] for event in self.flops_events]
        return [_sum(of_rank) for of_rank in zip(*columns, strict=True)] or [None] * self.size

    def mflops(self, flops: int | None) -> float | None:
        """Return millions of operations a second of rank 0's real time, as FlexMPI counts them; None where there are none."""
        return None if flops is None or self.real_s[0] <= 0 else flops / self.real_s[0] / 1e6

    @property
    def totals(self) -> dict[str, int | None]:
        """Each hardware event, over all ranks; None where a rank does not count it."""
        return {event: _sum(of_ranks) for event, of_ranks in self.counters.items()}

    @property
    def busy_s(self) -> list[float]:
        """How long each rank computed."""
        times = zip(self.real_s, self.communication_s, self.io_s, strict=True)
        return [max(0.0, real - communication - io) for real, communication, io in times]

    def busy_cores(self, ranks: Iterable[int]) -> float:
        """Return how many cores' worth of processor time some ranks spent."""
        return sum(self.processor_s[rank] for rank in ranks) / max(fmean(self.real_s), 1e-9)

    @property
    def size(self) -> int:
        """The number of ranks."""
        return len(self.real_s)

    def line(self) -> str:
        """Return the manual's ``Iter:`` line; its figures are those of rank 0."""
        flops = self.flops[0]
        return (
            f"Iter: {self.iteration} FLOPs: {_shown(flops)} MFLOPs:: {_shown(self.mflops(flops), 'f')} "
            f"RTIME:: {self.real_s[0]:f} "
            f"PTIME:: {self.processor_s[0]:f} CTIME:: {self.communication_s[0]:f} IOTime:: {self.io_s[0]:f} "
            f"Size: {self.size}"
        )

    def report_line(self, host: str, counters: Sequence[str], *, in_seconds: bool) -> str:
        """Return the line of the monitoring service, as the manual's controller shows it.

        Real and processor time of rank 0 are whole microseconds, as in the manual, or seconds. What is counted is that of all
        ranks; the ratio is that of the last counter to the first.
        """
        times = [self.real_s[0], self.processor_s[0]]
        rtime, ptime = (f"{time:f}" if in_seconds else f"{time * 1e6:.0f}" for time in times)
        totals = [self.totals.get(name) for name in counters]
        shown = " ".join(f"{name} {_shown(total)}" for name, total in zip(counters, totals, strict=True))
        return (
            f"[{host}] rtime {rtime} ptime {ptime} ctime {self.communication_s[0]:f} "
            f"Mflops {_shown(self.mflops(_sum(self.flops)), '.0f')} {shown} "
            f"Ratio={_shown(_ratio(totals), 'f')} iotime {self.io_s[0]:f} size {self.size}"
        )

    def rank_lines(self) -> list[str]:
        """Return a line for each rank, which the policy ``monitor`` prints."""
        columns = zip(self.load, self.real_s, self.processor_s, self.communication_s, self.io_s, strict=True)
        return [
            f"[{rank}] load {load:g} rtime {real:f} ptime {processor:f} ctime {communication:f} iotime {io:f}"
            + "".join(f" {event} {_shown(of_ranks[rank])}" for event, of_ranks in self.counters.items())
            for rank, (load, real, processor, communication, io) in enumerate(columns)
        ]

    def performance(self, host: str, energy: Sequence[EnergyReading] = ()) -> str:
        """Return the answer to command 3: rank 0's times, and what all ranks counted; ``energy`` of each machine."""
        counted = "".join(f"{event} {_shown(total)}, " for event, total in self.totals.items())
        return (
            f"** [{host}] rtime is {self.real_s[0]:f}, ptime {self.processor_s[0]:f}, ctime {self.communication_s[0]:f}, "
            f"iotime {self.io_s[0]:f}, flops {_shown(_sum(self.flops))}, size {self.size}, iteration {self.iteration}, "
            f"{counted}energy {_energy(energy)}{_meters(energy)}"
        )


def energy_line(reading: EnergyReading) -> str:
    """Return what one machine has spent, by the meter that says so."""
    meters = ", ".join(f"{source} {_shown(joules, 'f')}" for source, joules in reading.joules.items())
    return f"[{','.join(reading.nodes)}] energy {_energy([reading])}" + (f": {meters}" if meters else "")


def _energy(readings: Sequence[EnergyReading]) -> str:
    """Return the joules of all machines, and the seconds of the longest period; they are read one after the other."""
    total = _sum(reading.total_j for reading in readings)
    seconds = [reading.seconds for reading in readings if reading.seconds is not None]
    return MISSING if total is None else f"{total:f} J in {max(seconds):f} s"


def _meters(readings: Sequence[EnergyReading]) -> str:
    """Return whose meters a total is of: `` (rapl)``; nothing where there is none."""
    if _sum(reading.total_j for reading in readings) is None:
        return ""
    kinds = {source.partition(":")[0] for reading in readings for source in reading.joules}
    return f" ({', '.join(sorted(kinds))})"


def _sum(figures: Iterable[Figure | None]) -> Figure | None:
    """Return a sum; None where a part of it is missing, or there is none."""
    parts = list(figures)
    known = [part for part in parts if part is not None]
    return sum(known) if known and len(known) == len(parts) else None


def _ratio(totals: Sequence[int | None]) -> float | None:
    if len(totals) != 2:
        return None
    first, last = totals
    return None if first is None or last is None or first == 0 else last / first


def _shown(figure: float | None, form: str = "") -> str:
    return MISSING if figure is None else format(figure, form)


def received_lines(sender: str, text: str, number: int) -> list[str]:
    """Return what is printed when a command arrives."""
    return [f"Received packet from {sender} Data: {text}", f"Command number is {number}"]


def refused_line(sender: str, why: str) -> str:
    """Return what is printed when a command is not carried out; who sent it with ``nping`` does not see the reply's text."""
    return f"Refused packet from {sender}: {why}"


def sent_line(size_bytes: int) -> str:
    """Return what is printed when a command has been answered."""
    return f"Sent {size_bytes} bytes as response"


def create_lines(changes: Sequence[tuple[str, int]]) -> list[str]:
    """Return what is printed of a change of ranks before it happens."""
    return [f"Command: Create {change} processes in compute node: {name}" for name, change in changes if change]


def spawn_lines(done: Reconfiguration, numbers: Mapping[int, str], *, elapsed_s: float) -> list[str]:
    """Return what is printed after ranks have joined.

    Parameters
    ----------
    done
        The reconfiguration, with its figures.
    numbers
        The node of each new rank number.
    elapsed_s
        Since the application's start.
    """
    if not numbers:
        return []
    figures = done.figures
    hosts = ",".join(f"{node}:{change}" for node, change in done.changes.items() if change > 0)
    return [
        f"Spawn {len(numbers)} at {elapsed_s:f}",
        f"Host list: {hosts}",
        *(
            f"[{number}] Process spawned in {node} at {figures['iteration']} | "
            f"Data received in {figures['move_s']:f} secs."
            for number, node in numbers.items()
        ),
        f"Spawn cost:: process_creation= {done.start_s or 0.0:f} data_redistribution= {figures['move_s']:f} "
        f"LoadBalance_computation= {figures['balance_s']:f}",
    ]


def ready_lines(done: Reconfiguration) -> list[str]:
    """Return what is printed when ranks wait, ready to join, or wait no more."""
    return [f"Ready: {count} at {node}" for node, count in done.ready.items()]


def removal_lines(done: Reconfiguration, numbers: Mapping[int, str], *, elapsed_s: float) -> list[str]:
    """Return what is printed after ranks have left; ``numbers`` gives the node of each rank number that left."""
    if not numbers:
        return []
    return [
        f"Remove {len(numbers)} at {elapsed_s:f}",
        *(f"Process [{number}] removed from {node}" for number, node in sorted(numbers.items(), reverse=True)),
        f"Removal cost:: process_destruction= {done.figures['part_s']:f} "
        f"data_redistribution= {done.figures['move_s']:f} LoadBalance_computation= {done.figures['balance_s']:f}",
    ]


def balance_lines(done: Reconfiguration) -> list[str]:
    """Return what is printed after the load was balanced."""
    if not done.balance:
        return []
    return [
        f"LoadBalance cost:: data_redistribution= {done.figures['move_s']:f} "
        f"LoadBalance_computation= {done.figures['balance_s']:f}"
    ]


def host_lines(nodes: Sequence[Node]) -> list[str]:
    """Return what is printed of the nodes at the start."""
    return [f"Host {node.name} maxprocs is {node.cores}. ID is {number}" for number, node in enumerate(nodes)]
