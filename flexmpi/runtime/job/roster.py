"""Who is who in one application: its process sets, the ranks in their order, and those that are parked.

Pure: plain data that the supervisor keeps up to date; no process is touched here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, NamedTuple

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.errors import CommandError
from flexmpi.runtime.job.places import interleaved


def leavers(nodes: Sequence[str], started: Sequence[Any], removals: Mapping[str, int]) -> tuple[int, ...]:
    """Choose the rank numbers that leave, for `Roster.leavers` and those who predict it.

    Parameters
    ----------
    nodes, started
        The node of each rank, and what tells which of two ranks was started later: its is greater.
    removals
        How many leave each node.
    """
    leaving: list[int] = []
    for node, count in removals.items():
        here = sorted((rank for rank, where in enumerate(nodes) if where == node), key=lambda rank: started[rank])
        leaving.extend(here[len(here) - count :])
    return tuple(sorted(leaving))


class RankId(NamedTuple):
    """A rank's identity for as long as it lives, whatever its number in the application is."""

    pset: int
    local_rank: int


@dataclass(frozen=True)
class ProcessSet:
    """The ranks of one application that one ``mpiexec`` started.

    Attributes
    ----------
    number
        Its number in the job.
    places
        The node of each rank; those of a node follow each other.
    """

    number: int
    places: tuple[str, ...]

    @property
    def size(self) -> int:
        """How many ranks it has."""
        return len(self.places)

    @property
    def node(self) -> str:
        """The node on which its ``mpiexec`` runs."""
        return self.places[0]

    @property
    def nodes(self) -> tuple[str, ...]:
        """Its nodes, each once, in the order of its ranks."""
        return tuple(dict.fromkeys(self.places))

    def numbers_on(self, node: str) -> list[int]:
        """Return its rank numbers on a node."""
        return [number for number, place in enumerate(self.places) if place == node]

    @property
    def ranks(self) -> list[RankId]:
        """Its ranks, members of the application or not."""
        return [RankId(self.number, local_rank) for local_rank in range(self.size)]


@dataclass(frozen=True)
class Waiting:
    """A rank outside the application, asleep: the loop it wants to join, and what it has declared."""

    loop: int
    digest: int
    objects: tuple[str, ...]


@dataclass
class Roster:
    """The ranks and process sets of one application.

    Attributes
    ----------
    nodes
        The nodes it may use.
    psets
        Process sets that live, by number.
    members
        The application's ranks in their order: ``members[r]`` is rank ``r``.
    waiting
        Ranks that live outside the application: newcomers and parked ranks.
    spoiled
        Parked ranks whose last attempt to join failed half-way; they are not asked again.
    prepared
        Process sets that are to stay though they have no member, for they wait until they are wanted.
    retired
        Ranks that were members and are not any more.
    pids
        Process ids, as far as known.
    """

    nodes: tuple[Node, ...]
    psets: dict[int, ProcessSet] = field(default_factory=dict)
    members: list[RankId] = field(default_factory=list)
    waiting: dict[RankId, Waiting] = field(default_factory=dict)
    spoiled: set[RankId] = field(default_factory=set)
    prepared: set[int] = field(default_factory=set)
    retired: set[RankId] = field(default_factory=set)
    pids: dict[RankId, int] = field(default_factory=dict)
    _started: int = 0
    _ended: dict[int, ProcessSet] = field(default_factory=dict)

    def add(self, places: Sequence[str]) -> ProcessSet:
        """Take in a process set that is being started; its ranks are to be at these places, nodes by their names."""
        pset = ProcessSet(self._started, tuple(places))
        self._started += 1
        self.psets[pset.number] = pset
        return pset

    def remove(self, number: int) -> ProcessSet:
        """Take out a process set that has ended."""
        pset = self.psets.pop(number)
        self._ended[number] = pset
        self.prepared.discard(number)
        for rank in pset.ranks:
            self.waiting.pop(rank, None)
            self.pids.pop(rank, None)
            self.spoiled.discard(rank)
            self.retired.discard(rank)
        return pset

    def node_of(self, rank: RankId) -> str:
        """Return the name of the node a rank lives on; its process set may just have ended."""
        pset = self.psets.get(rank.pset) or self._ended[rank.pset]
        return pset.places[rank.local_rank]

    def stays(self, number: int, *, leaving: Collection[int]) -> bool:
        """Whether a process set has a member that is not among these rank numbers."""
        return any(rank.pset == number for member, rank in enumerate(self.members) if member not in leaving)

    def unknown(self, names: Iterable[str]) -> list[str]:
        """Return those of these names that mean no node."""

        def means_nothing(name: str) -> bool:
            try:
                return not find_nodes(self.nodes, name)
            except CommandError:
                return True

        return [name for name in names if means_nothing(name)]

    def learn(self, nodes: Iterable[Node]) -> None:
        """Take in more nodes that the application may use; those it has stay as they are."""
        names = {node.name for node in self.nodes}
        self.nodes = (*self.nodes, *(node for node in nodes if node.name not in names))

    def speed_of(self, node: str) -> float:
        """Return a node's relative computing power; where the corefile has none, the mean of those it has (or 1)."""
        known = [each.speed for each in self.nodes if each.speed is not None]
        stated = next((each.speed for each in self.nodes if each.name == node), None)
        return stated if stated is not None else fmean(known) if known else 1.0

    def occupied(self) -> dict[str, int]:
        """Return the number of member ranks on each node that has any; those whose process set has ended are nowhere."""
        return dict(Counter(self.node_of(rank) for rank in self.members if rank.pset in self.psets))

    def leavers(self, removals: Mapping[str, int]) -> tuple[int, ...]:
        """Choose the rank numbers that leave: on each node the last that were started, whatever their numbers are."""
        nodes = [self.node_of(rank) for rank in self.members]
        return leavers(nodes, self.members, removals)

    def parking(self, leaving: Collection[int]) -> tuple[int, ...]:
        """Return those of the leaving rank numbers whose process set still has a member afterwards."""
        staying = {rank.pset for number, rank in enumerate(self.members) if number not in leaving}
        return tuple(number for number in sorted(leaving) if self.members[number].pset in staying)

    def reusable(self, node: str, count: int) -> list[RankId]:
        """Return at most ``count`` parked ranks of a node that can join again."""
        members = set(self.members)
        parked = [rank for rank in self.waiting if rank not in members and rank not in self.spoiled]
        return [rank for rank in sorted(parked) if self.node_of(rank) == node][:count]

    def parting(self) -> list[RankId]:
        """Return the ranks that are being parked: they have left the application and do not sleep yet."""
        used = {rank.pset for rank in self.members}
        return [rank for rank in sorted(self.retired) if rank.pset in used and rank not in self.waiting]

    def change(self, leaving: Collection[int], newcomers: Sequence[RankId], places: Sequence[int]) -> None:
        """Renumber the members after a reconfiguration: those who stay in their order, newcomers where their places are.

        Parameters
        ----------
        leaving
            Rank numbers that leave.
        newcomers, places
            Who has joined, and their places among all ranks of the transition, leavers included.
        """
        gone = {self.members[number] for number in leaving}
        self.retired.update(gone)
        self.members = [rank for rank in interleaved(self.members, newcomers, places) if rank not in gone]
        self.retired.difference_update(self.members)
        # Who has joined is kept by its members; nobody waits on a node that all have left.
        self.prepared.difference_update(rank.pset for rank in self.members)
        left = {self.node_of(rank) for rank in gone} - self.occupied().keys()
        self.prepared = {number for number in self.prepared if left.isdisjoint(self.psets[number].nodes)}
        for rank in self.members:
            self.waiting.pop(rank, None)

    def succeed(self, ranks: Sequence[RankId]) -> None:
        """Let other ranks be the members: those of a successor that computes from now on."""
        self.retired.update(self.members)
        self.members = list(ranks)
        self.retired.difference_update(ranks)
        self.prepared.difference_update(rank.pset for rank in ranks)

    def dismiss(self, node: str, *, most: int) -> None:
        """Keep no more prepared process sets of a node, of those with the last started first, than have ``most`` ranks."""
        here = self.prepared_on(node)
        while here and sum(pset.size for pset in here) > most:
            self.prepared.discard(here.pop().number)

    def prepared_on(self, node: str) -> list[ProcessSet]:
        """Return the prepared process sets of a node, in the order of their start."""
        return [self.psets[number] for number in sorted(self.prepared) if node in self.psets[number].nodes]

    def unwanted(self) -> list[ProcessSet]:
        """Return the process sets that have no member and are not prepared for any."""
        return [pset for pset in self.idle() if pset.number not in self.prepared]

    def idle(self) -> list[ProcessSet]:
        """Return the process sets without any member of the application."""
        used = {rank.pset for rank in self.members}
        return [pset for pset in self.psets.values() if pset.number not in used]

    def name(self, rank: RankId) -> str:
        """Say who a rank is, for a message to a person."""
        outside = "a rank that had left" if rank in self.retired else "a new rank"
        number = f"rank {self.members.index(rank)}" if rank in self.members else outside
        pid = f", pid {self.pids[rank]}" if rank in self.pids else ""
        where = f"node {self.node_of(rank)}" if rank.pset in self.psets else "a node that is gone"
        return f"{number} ({where}, process set {rank.pset}{pid})"

    def of_units(self, units: Sequence[Sequence[RankId]], positions: Iterable[int] | None) -> list[RankId]:
        """Return the ranks of the units (separately started worlds) at these positions; of all units for None."""
        chosen = range(len(units)) if positions is None else positions
        return [rank for position in chosen for rank in units[position]]
