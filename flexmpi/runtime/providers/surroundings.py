"""Where a job finds itself: in a Slurm job, in one of the agent's own virtual nodes, or in none; and the nodes it may have."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flexmpi.cluster.platform import Node
from flexmpi.configuration import parse_platform, platform_nodes
from flexmpi.errors import ConfigurationError
from flexmpi.runtime.job.options import Identity
from flexmpi.runtime.providers.allocation import read_allocation
from flexmpi.slurm.own_job import Allocation

PLATFORM = "FLEXMPI_JOB_PLATFORM"
NODES = "FLEXMPI_JOB_NODES"


@dataclass(frozen=True)
class Surroundings:
    """The nodes of a job, and what has given them to it.

    Attributes
    ----------
    nodes
        Those it may ever have, its own first.
    own
        How many of them it has been given; None where no manager gives any.
    allocation
        Its Slurm job.
    """

    nodes: tuple[Node, ...]
    own: int | None = None
    allocation: Allocation | None = None
    identity: Identity = field(default_factory=Identity)

    @property
    def starting(self) -> tuple[Node, ...]:
        """Those it may start on."""
        return self.nodes[: self.own]

    @property
    def granted(self) -> tuple[str, ...] | None:
        """The names of those that the job has been given, where it cannot ask for others itself."""
        if self.own is None or self.allocation is not None:
            return None
        return tuple(node.name for node in self.starting)


def find_surroundings(
    provider: str, *, corefile: Path | None, nodefile: Path | None, environment: Mapping[str, str]
) -> Surroundings:
    """Look where this process runs.

    Parameters
    ----------
    provider
        ``slurm``, ``local``, or ``auto``: whichever manager this process is in a job of, unless a file names the nodes.
    corefile, nodefile
        Those that were named.

    Raises
    ------
    ConfigurationError
        A file or variable is not what it should be, or Slurm is asked for and does not answer.
    """
    looks = provider == "auto" and corefile is None and nodefile is None
    if provider == "slurm" or (looks and "SLURM_JOB_ID" in environment):
        allocation = read_allocation(environment)
        identity = Identity.read(environment, prefix="SLURM")
        return Surroundings(allocation.platform(), len(allocation.nodes), allocation, identity)
    if looks and PLATFORM in environment:
        return _in_local_job(environment)
    return Surroundings(platform_nodes(corefile, nodefile))


def _in_local_job(environment: Mapping[str, str]) -> Surroundings:
    nodes = parse_platform(environment[PLATFORM], name=PLATFORM)
    known = {node.name: node for node in nodes}
    names = [name for name in environment.get(NODES, "").split(",") if name]
    if not names or not known.keys() >= set(names):
        raise ConfigurationError(f"{NODES} must name nodes of {PLATFORM}, got {environment.get(NODES)!r}")
    own = tuple(known[name] for name in dict.fromkeys(names))
    others = tuple(node for node in nodes if node not in own)
    return Surroundings((*own, *others), len(own), identity=Identity.read(environment, prefix="FLEXMPI"))
