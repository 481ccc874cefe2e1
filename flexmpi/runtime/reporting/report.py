"""The lines FlexMPI prints about an application, in the form of the FlexMPI user manual.

Pure: figures in, text out. What was not measured is shown as ``n/a``, never as 0.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from flexmpi.cluster.platform import Node
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport, sum_of
from flexmpi.runtime.job.reconfiguration import Reconfiguration

MISSING = "n/a"


def interval_line(latest: IntervalReport) -> str:
    """Return the manual's ``Iter:`` line; its figures are those of rank 0."""
    flops = latest.flops[0]
    return (
        f"Iter: {latest.iteration} FLOPs: {_shown(flops)} MFLOPs:: {_shown(latest.mflops(flops), 'f')} "
        f"RTIME:: {latest.real_s[0]:f} "
        f"PTIME:: {latest.processor_s[0]:f} CTIME:: {latest.communication_s[0]:f} IOTime:: {latest.io_s[0]:f} "
        f"Size: {latest.size}"
    )


def monitoring_line(latest: IntervalReport, host: str, counters: Sequence[str], *, in_seconds: bool) -> str:
    """Return the line of the monitoring service, as the manual's controller shows it.

    Real and processor time of rank 0 are whole microseconds, as in the manual, or seconds. What is counted is that of all
    ranks; the ratio is that of the last counter to the first.
    """
    times = [latest.real_s[0], latest.processor_s[0]]
    rtime, ptime = (f"{time:f}" if in_seconds else f"{time * 1e6:.0f}" for time in times)
    totals = [latest.totals.get(name) for name in counters]
    shown = " ".join(f"{name} {_shown(total)}" for name, total in zip(counters, totals, strict=True))
    return (
        f"[{host}] rtime {rtime} ptime {ptime} ctime {latest.communication_s[0]:f} "
        f"Mflops {_shown(latest.mflops(sum_of(latest.flops)), '.0f')} {shown} "
        f"Ratio={_shown(_ratio(totals), 'f')} iotime {latest.io_s[0]:f} size {latest.size}"
    )


def rank_lines(latest: IntervalReport) -> list[str]:
    """Return a line for each rank, which the policy ``monitor`` prints."""
    columns = zip(latest.load, latest.real_s, latest.processor_s, latest.communication_s, latest.io_s, strict=True)
    return [
        f"[{rank}] load {load:g} rtime {real:f} ptime {processor:f} ctime {communication:f} iotime {io:f}"
        + "".join(f" {event} {_shown(of_ranks[rank])}" for event, of_ranks in latest.counters.items())
        for rank, (load, real, processor, communication, io) in enumerate(columns)
    ]


def performance_line(latest: IntervalReport, host: str, energy: Sequence[EnergyReading] = ()) -> str:
    """Return the answer to command 3: rank 0's times, and what all ranks counted; ``energy`` of each machine."""
    counted = "".join(f"{event} {_shown(total)}, " for event, total in latest.totals.items())
    return (
        f"** [{host}] rtime is {latest.real_s[0]:f}, ptime {latest.processor_s[0]:f}, ctime {latest.communication_s[0]:f}, "
        f"iotime {latest.io_s[0]:f}, flops {_shown(sum_of(latest.flops))}, size {latest.size}, iteration {latest.iteration}, "
        f"{counted}energy {_energy(energy)}{_meters(energy)}"
    )


def energy_line(reading: EnergyReading) -> str:
    """Return what one machine has spent, by the meter that says so."""
    meters = ", ".join(f"{source} {_shown(joules, 'f')}" for source, joules in reading.joules.items())
    return f"[{','.join(reading.nodes)}] energy {_energy([reading])}" + (f": {meters}" if meters else "")


def _energy(readings: Sequence[EnergyReading]) -> str:
    """Return the joules of all machines, and the seconds of the longest period; they are read one after the other."""
    total = sum_of(reading.total_j for reading in readings)
    seconds = [reading.seconds for reading in readings if reading.seconds is not None]
    return MISSING if total is None else f"{total:f} J in {max(seconds):f} s"


def _meters(readings: Sequence[EnergyReading]) -> str:
    """Return whose meters a total is of: `` (rapl)``; nothing where there is none."""
    if sum_of(reading.total_j for reading in readings) is None:
        return ""
    kinds = {source.partition(":")[0] for reading in readings for source in reading.joules}
    return f" ({', '.join(sorted(kinds))})"


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
