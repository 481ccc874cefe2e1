"""The lines FlexMPI prints about an application, in the form of the FlexMPI user manual.

Pure: figures in, text out. What was not measured is shown as ``n/a``, never as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from flexmpi.configuration import Node
from flexmpi.runtime.reconfiguration import Reconfiguration

MISSING = "n/a"


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

    @property
    def busy_s(self) -> list[float]:
        """How long each rank computed."""
        times = zip(self.real_s, self.communication_s, self.io_s, strict=True)
        return [max(0.0, real - communication - io) for real, communication, io in times]

    @property
    def size(self) -> int:
        """The number of ranks."""
        return len(self.real_s)

    def line(self) -> str:
        """Return the manual's ``Iter:`` line; times are those of rank 0."""
        return (
            f"Iter: {self.iteration} FLOPs: {MISSING} MFLOPs:: {MISSING} RTIME:: {self.real_s[0]:f} "
            f"PTIME:: {self.processor_s[0]:f} CTIME:: {self.communication_s[0]:f} IOTime:: {self.io_s[0]:f} "
            f"Size: {self.size}"
        )

    def report_line(self, host: str, counters: Sequence[str], *, in_seconds: bool) -> str:
        """Return the line of the monitoring service, as the manual's controller shows it.

        Real and processor time of rank 0 are whole microseconds, as in the manual, or seconds.
        """
        times = [self.real_s[0], self.processor_s[0]]
        rtime, ptime = (f"{time:f}" if in_seconds else f"{time * 1e6:.0f}" for time in times)
        shown = " ".join(f"{name} {MISSING}" for name in counters)
        return (
            f"[{host}] rtime {rtime} ptime {ptime} ctime {self.communication_s[0]:f} Mflops {MISSING} {shown} "
            f"Ratio={MISSING} iotime {self.io_s[0]:f} size {self.size}"
        )

    def rank_lines(self) -> list[str]:
        """Return a line for each rank, which the policy ``monitor`` prints."""
        columns = zip(self.load, self.real_s, self.processor_s, self.communication_s, self.io_s, strict=True)
        return [
            f"[{rank}] load {load:g} rtime {real:f} ptime {processor:f} ctime {communication:f} iotime {io:f}"
            for rank, (load, real, processor, communication, io) in enumerate(columns)
        ]

    def performance(self, host: str) -> str:
        """Return the answer to command 3."""
        return (
            f"** [{host}] rtime is {self.real_s[0]:f}, ptime {self.processor_s[0]:f}, ctime {self.communication_s[0]:f}, "
            f"iotime {self.io_s[0]:f}, flops {MISSING}, size {self.size}, iteration {self.iteration}"
        )


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
