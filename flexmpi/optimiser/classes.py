"""How many ranks on each class of nodes: the combinations that are worth a thought, by integer programs.

For a number of ranks in all there are combinations of which no other is both cheaper (in money, or in watts) and faster; they are
found one after the other, the cheapest first, each next one being the cheapest that is faster than the last (the
ε-constraint method: Haimes, Lasdon, Wismer, IEEE Trans. Systems, Man, and Cybernetics 1, 1971). Which of them is best depends
on how the program speeds up, and is for its models to say.

Pure: the programs are built and their answers read here; they are solved in `solver`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from flexmpi.optimiser.program import Column, Outcome, Program, Row, Status

STEP = 0.5
"""By so much a combination must be faster than the last to count as faster, in the smallest difference between two speeds."""

PREFERENCE = 1e-6
"""Of combinations that cost the same the faster one is taken; this weighs nothing against a real difference in cost."""


@dataclass(frozen=True)
class NodeClass:
    """Nodes that are alike.

    Attributes
    ----------
    nodes
        How many of them a job may have, those that it has included.
    cores
        The most ranks that one of them holds.
    speed
        Computing power of a rank there, above 0.
    rank_rate, node_rate
        What a rank and what a node costs a second, in any unit: money, or joules.
    required
        So many of them the job must have.
    """

    nodes: int
    cores: int
    speed: float
    rank_rate: float
    node_rate: float = 0.0
    required: int = 0


@dataclass(frozen=True)
class Search:
    """What combinations to look for.

    Attributes
    ----------
    classes
        The classes of nodes.
    minimum_nodes, maximum_nodes
        Bounds on the nodes of all classes.
    ranks
        The numbers of ranks in all to look at.
    """

    classes: tuple[NodeClass, ...]
    minimum_nodes: int
    maximum_nodes: int
    ranks: tuple[int, ...]


@dataclass(frozen=True)
class Combination:
    """Ranks and nodes of each class, in the order of `Search.classes`."""

    ranks: tuple[int, ...]
    nodes: tuple[int, ...]


def programs_of(search: Search) -> list[Program]:
    """Return an integer program for each number of ranks.

    The last row is the speed, whose lower bound is to be raised by `STEP` from one combination to the next.
    """
    return [_program(search, ranks) for ranks in search.ranks]


def combinations_of(search: Search, answers: Sequence[Sequence[Outcome]]) -> tuple[list[Combination], str]:
    """Return the combinations found, and why there may be more; empty if there are not.

    Parameters
    ----------
    search
        What was looked for.
    answers
        For each program the outcomes, one after the other; the last one tells why there are no more.
    """
    found, remark = [], ""
    count = len(search.classes)
    for outcomes in answers:
        for outcome in outcomes:
            if outcome.status in (Status.OPTIMAL, Status.FEASIBLE):
                whole = [round(value) for value in outcome.values]
                found.append(Combination(tuple(whole[:count]), tuple(whole[count : 2 * count])))
            elif outcome.status is Status.UNKNOWN:
                remark = outcome.remark or "the solver does not know"
    return found, remark


def _program(search: Search, ranks: int) -> Program:
    classes = search.classes
    count = len(classes)
    largest = sum(known.nodes * (known.cores * known.rank_rate + known.node_rate) for known in classes) or 1.0
    fastest = sum(known.nodes * known.cores * known.speed for known in search.classes)
    speeds = sorted({known.speed for known in search.classes})
    unit = min((high - low for low, high in pairwise(speeds)), default=speeds[0])
    # Fewest nodes, where that makes no difference otherwise.
    tidy = PREFERENCE / 10 / max(1, sum(known.nodes for known in classes))
    of_ranks = [
        Column(PREFERENCE * known.speed / fastest - known.rank_rate / largest, upper=float(known.nodes * known.cores))
        for known in classes
    ]
    of_nodes = [
        Column(-known.node_rate / largest - tidy, upper=float(known.nodes), lower=float(known.required))
        for known in classes
    ]
    fitting = [
        Row((place, count + place), (1.0, -float(known.cores)), upper=0.0) for place, known in enumerate(classes)
    ]
    used = [Row((place, count + place), (1.0, -1.0), lower=0.0) for place in range(count)]
    every_rank, every_node = tuple(range(count)), tuple(range(count, 2 * count))
    return Program(
        (*of_ranks, *of_nodes),
        (
            *fitting,
            *used,
            Row(every_rank, (1.0,) * count, lower=float(ranks), upper=float(ranks)),
            Row(every_node, (1.0,) * count, lower=float(search.minimum_nodes), upper=float(search.maximum_nodes)),
            Row(every_rank, tuple(known.speed / unit for known in classes), lower=0.0),
        ),
    )
