"""What ranks and their supervisor say to each other of worlds and of a handover between two.

=======================  ============================  =====================================================
said by                  to                            what
=======================  ============================  =====================================================
a rank                   the supervisor                `SessionOpened`
the supervisor           each rank of a world          `Welcome`
the supervisor           the predecessor's rank 0      `PlanRows`, `OfferHandover`, `WithdrawHandover`
the predecessor's rank 0 the supervisor                `PlanningBegun`, `RowsPlanned`, `HandoverAgreed`,
                                                       `HandoverDeferred`, `HandoverRefused`, `RowsHandedOver`
a rank of the successor  the supervisor                `FilesInCommon`, `ReadyAtLoop`, `RowsNotTaken`; its rank 0
                                                       `MemoryOutOfReach`, `RowsTaken`, `Computing`
the supervisor           ranks of the successor        `SkipLoop`, `TakeRows`, `BeginLoop`
the supervisor           each rank of the predecessor  `ComputeOn`, `Succeeded`
=======================  ============================  =====================================================

Frozen values; `encode` and `decode` are those of ``records``.
"""

from __future__ import annotations

from dataclasses import dataclass

from flexmpi.protocol.records import kinds_of


@dataclass(frozen=True)
class SharedRows:
    """Who has which rows of all objects with so many: rank ``p`` has ``offsets[p]`` to ``offsets[p + 1]``."""

    rows: int
    offsets: tuple[int, ...]


@dataclass(frozen=True)
class MatrixFacts:
    """What all ranks know of a sparse matrix: how often it was assigned, its non-zeros, the size of an index, and row costs."""

    name: str
    assigned: int
    nonzeros: int
    index_bytes: int
    has_costs: bool


@dataclass(frozen=True)
class SessionOpened:
    """A rank has opened its session, in a world of so many ranks by what this MPI library says."""

    size: int
    library: str


@dataclass(frozen=True)
class Welcome:
    """What a rank is told of its world.

    Attributes
    ----------
    world
        Its number in the job, from 0.
    places
        The node of each rank.
    weights
        The share of the rows that each rank is to have.
    blocks
        Where rows lie: ``node`` (in its files), or ``private`` (in the memory of ranks).
    change
        The number of the change for which the world is a successor; 0 for the first world.
    shared
        Who is to have which rows, as the predecessor has planned it; empty for the first world.
    before, places_before
        Who has them until then, and the nodes of these ranks.
    pids_before
        The processes of these ranks.
    constants, matrices
        The names of the objects that never change and can be taken already, and the sparse matrices among them.
    out_of_reach
        The predecessor's ranks of which it is known that their memory cannot be read.
    """

    world: int
    places: tuple[str, ...]
    weights: tuple[float, ...]
    blocks: str
    change: int = 0
    shared: tuple[SharedRows, ...] = ()
    before: tuple[SharedRows, ...] = ()
    places_before: tuple[str, ...] = ()
    pids_before: tuple[int, ...] = ()
    constants: tuple[str, ...] = ()
    matrices: tuple[MatrixFacts, ...] = ()
    out_of_reach: tuple[int, ...] = ()


@dataclass(frozen=True)
class PlanRows:
    """The predecessor is to say who of a successor has which rows, by the weights of its ranks.

    Attributes
    ----------
    out_of_reach
        The predecessor's ranks whose memory the successor cannot read.
    """

    change: int
    places: tuple[str, ...]
    weights: tuple[float, ...]
    out_of_reach: tuple[int, ...]


@dataclass(frozen=True)
class PlanningBegun:
    """The predecessor's ranks stand still at an agreement point, to plan who is to have which rows."""

    change: int


@dataclass(frozen=True)
class RowsPlanned:
    """Who of the successor is to have which rows, who of the predecessor has them, and what the successor can have already.

    Attributes
    ----------
    constants, matrices
        As in `Welcome`.
    stood_s, move_s, moved_bytes
        How long the ranks stood still for it, and what it took to move what never changes between nodes.
    """

    change: int
    shared: tuple[SharedRows, ...]
    before: tuple[SharedRows, ...]
    places_before: tuple[str, ...]
    constants: tuple[str, ...]
    matrices: tuple[MatrixFacts, ...]
    stood_s: float
    move_s: float
    moved_bytes: int


@dataclass(frozen=True)
class OfferHandover:
    """The successor waits at this loop, with what this checksum is of; the predecessor hands over as soon as it can.

    Attributes
    ----------
    at_iteration
        Not before this iteration.
    places, shared
        The nodes of the successor's ranks, and which rows these are to have.
    out_of_reach
        As in `PlanRows`.
    """

    change: int
    loop: int
    digest: int
    at_iteration: int
    places: tuple[str, ...]
    shared: tuple[SharedRows, ...]
    out_of_reach: tuple[int, ...]


@dataclass(frozen=True)
class WithdrawHandover:
    """A change is given up: neither is it to be planned any more, nor does its offer hold."""

    change: int


@dataclass(frozen=True)
class HandoverAgreed:
    """The predecessor's ranks stand still at an agreement point."""

    change: int


@dataclass(frozen=True)
class HandoverDeferred:
    """The predecessor is in another loop, or has declared something else, than the successor."""

    change: int


@dataclass(frozen=True)
class HandoverRefused:
    """The predecessor cannot hand over; it computes on."""

    change: int
    why: str


@dataclass(frozen=True)
class RowsHandedOver:
    """All that the predecessor holds can be taken.

    Attributes
    ----------
    iteration, interval
        With which iteration the successor begins, and how many there are to the next agreement point.
    stood_s
        How long the predecessor's first rank has stood still, from its agreement point on.
    move_s, moved_bytes
        What it took to move rows to nodes that the successor has, by the slowest rank and of all.
    before, places_before
        Who has which rows, and on which nodes these ranks are.
    ahead
        The names of the objects that never change and are what they were when the rows were planned: who has them keeps them.
    matrices
        All sparse matrices.
    state_bytes
        The size of the state, where it lies in a file of the first rank's node.
    state
        The state itself where it is short, in base 64.
    counters
        The hardware events that are counted.
    exclusive
        Whether some of these ranks have closed what only one may have open.
    """

    change: int
    iteration: int
    interval: int
    stood_s: float
    move_s: float
    moved_bytes: int
    before: tuple[SharedRows, ...]
    places_before: tuple[str, ...]
    ahead: tuple[str, ...]
    matrices: tuple[MatrixFacts, ...]
    state_bytes: int
    state: str
    counters: tuple[str, ...]
    exclusive: bool


@dataclass(frozen=True)
class WrittenFile:
    """A file that is open for writing; the line of the program that opened it (``FILE:NUMBER``), where Python has done that."""

    path: str
    line: str


@dataclass(frozen=True)
class FilesInCommon:
    """Files that a rank of the successor has opened for writing, and a rank of the predecessor has open for writing."""

    change: int
    files: tuple[WrittenFile, ...]


@dataclass(frozen=True)
class MemoryOutOfReach:
    """A successor cannot read the memory of these ranks of its predecessor, and waits to be welcomed again."""

    change: int
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class ReadyAtLoop:
    """A rank of the successor sleeps at a loop, having declared these objects, whose rows it is to have so."""

    loop: int
    digest: int
    objects: tuple[str, ...]
    shared: tuple[SharedRows, ...]


@dataclass(frozen=True)
class SkipLoop:
    """The application is in a later loop."""

    loop: int


@dataclass(frozen=True)
class TakeRows:
    """The word to go."""

    handed_over: RowsHandedOver


@dataclass(frozen=True)
class RowsTaken:
    """All ranks of the successor have their rows; seconds of the slowest, bytes of all."""

    change: int
    map_s: float
    move_s: float
    bytes_node: int
    bytes_network: int


@dataclass(frozen=True)
class RowsNotTaken:
    """A rank of the successor cannot take its rows, or cannot open what its predecessor has closed for it."""

    change: int
    why: str


@dataclass(frozen=True)
class BeginLoop:
    """All ranks of the successor have their rows: they compute from now on."""

    change: int


@dataclass(frozen=True)
class Computing:
    """The successor's ranks begin their first iteration; its first rank, so long after it has said that they have their rows."""

    change: int
    begin_s: float


@dataclass(frozen=True)
class ComputeOn:
    """The change was given up: the predecessor goes on with what it holds."""

    change: int
    why: str


@dataclass(frozen=True)
class Succeeded:
    """The successor computes: the predecessor's ranks end."""

    change: int


OF_RANKS = kinds_of(
    SessionOpened, MemoryOutOfReach, ReadyAtLoop, PlanningBegun, RowsPlanned, HandoverAgreed, HandoverDeferred,
    HandoverRefused, RowsHandedOver, RowsTaken, RowsNotTaken, FilesInCommon, Computing,
)  # fmt: skip
TO_RANKS = kinds_of(
    Welcome, PlanRows, OfferHandover, WithdrawHandover, SkipLoop, TakeRows, BeginLoop, ComputeOn, Succeeded
)
