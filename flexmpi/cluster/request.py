"""What a job asks for of its nodes beside their number, and the generic resources that nodes have. Plain frozen data."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True)
class Gres:
    """So many of a generic resource.

    Attributes
    ----------
    kind
        Of those of this name: ``a100`` of ``gpu``; None where it does not matter or there is one kind only.
    """

    name: str
    kind: str | None = None
    count: int = 1


@dataclass(frozen=True, kw_only=True)
class Request:
    """What a job asks for.

    Attributes
    ----------
    tasks, cpus
        On all its nodes together.
    cpus_per_task
        0 where tasks share CPUs.
    cpus_per_node
        On each node at least.
    tasks_per_node
        On a node at most; None without a bound.
    one_thread_a_core
        Whether it uses one hardware thread of a core and leaves the others idle.
    memory_per_node_mb, memory_per_cpu_mb
        None where it does not say.
    gres_per_node, gres_per_task, gres_per_job
        Of generic resources: on each node, for each task, on all its nodes together.
    """

    tasks: int = 1
    cpus: int = 1
    cpus_per_task: int = 1
    cpus_per_node: int = 1
    tasks_per_node: int | None = None
    one_thread_a_core: bool = False
    memory_per_node_mb: int | None = None
    memory_per_cpu_mb: int | None = None
    gres_per_node: tuple[Gres, ...] = ()
    gres_per_task: tuple[Gres, ...] = ()
    gres_per_job: tuple[Gres, ...] = ()

    def of_one_task(self) -> Request:
        """Return what one task on one more node asks for: of resources that are for the whole job, one at least."""
        some = (replace(each, count=1) for each in self.gres_per_job)
        return Request(
            one_thread_a_core=self.one_thread_a_core,
            memory_per_node_mb=self.memory_per_node_mb,
            memory_per_cpu_mb=self.memory_per_cpu_mb,
            gres_per_node=(*self.gres_per_node, *self.gres_per_task, *some),
        )


def count_of(wanted: Gres, among: Iterable[Gres]) -> int:
    """Return how many there are of a generic resource: of its kind, or of every kind where none is named."""
    return sum(each.count for each in among if each.name == wanted.name and wanted.kind in (None, each.kind))
