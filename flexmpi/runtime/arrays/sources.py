"""Where a successor takes its rows from: who has which, and which must travel.

Pure. A source is a list of holdings: rows that lie at a place, where whoever is there can take them. The files of live nodes are
one kind, the private memory of live ranks, beside such files, another; copies and checkpoints are to be others. Rows that are at
their place already need not move.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Holding:
    """Rows that lie, or are to lie, at a place: the files of a node."""

    place: str
    rows: range


@dataclass(frozen=True)
class Move:
    """Rows that travel from one place to another."""

    source: str
    target: str
    rows: range


@dataclass(frozen=True)
class TakingPlan:
    """How rows get from a source to a successor.

    Attributes
    ----------
    before
        What the predecessor moves, before it is gone: from places where the successor has nobody to places where it has.
    after
        What the successor moves then, between its own places.
    """

    before: tuple[Move, ...]
    after: tuple[Move, ...]


class MissingRows(ValueError):
    """No holding has some of the rows that are wanted."""


def taking_plan(held: Sequence[Holding], wanted: Sequence[Holding]) -> TakingPlan:
    """Plan how rows get to where they are wanted.

    Parameters
    ----------
    held
        What there is; the same rows may lie at several places.
    wanted
        What is to lie at each place of the successor.

    Raises
    ------
    MissingRows
        Nobody holds some of the wanted rows, or the successor has no place in common with those who do.
    """
    places = {each.place for each in wanted}
    staying = [each for each in held if each.place in places]
    going = [each for each in held if each.place not in places]
    before: list[Move] = []
    # Rows that lie at one of the successor's places, wherever that is, need not be moved twice.
    covered = [each.rows for each in staying]
    for each in wanted:
        for rows in _without([each.rows], covered):
            for source, part in _found(rows, going):
                before += [Move(source, target, piece) for target, piece in _settled(part, wanted, staying)]
        # Where a copy of some rows is wanted at several places, one is enough.
        covered.append(each.rows)
    there = [*staying, *(Holding(move.target, move.rows) for move in before)]
    after: list[Move] = []
    for each in wanted:
        here = [other.rows for other in there if other.place == each.place]
        for rows in _without([each.rows], [*here, *(move.rows for move in after if move.target == each.place)]):
            after += [Move(source, each.place, part) for source, part in _found(rows, there)]
    return TakingPlan(tuple(before), tuple(after))


@dataclass(frozen=True)
class Piece:
    """Bytes that are taken at once: from the memory with this number, or from the node's file where that is None."""

    memory: int | None
    start: int
    stop: int


def pieces_from(memories: Sequence[range], wanted: range) -> list[Piece]:
    """Say where each of some bytes is taken from, in their order: from the first memory that has it, else from the file."""
    found: list[Piece] = []
    missing = [wanted]
    for number, held in enumerate(memories):
        if _overlap(wanted, held):
            found += [Piece(number, part.start, part.stop) for each in missing if (part := _overlap(each, held))]
            missing = _without(missing, [held])
    found += [Piece(None, each.start, each.stop) for each in missing if each]
    return sorted(found, key=lambda piece: piece.start)


def _overlap(one: range, other: range) -> range:
    start, stop = max(one.start, other.start), min(one.stop, other.stop)
    return range(start, max(start, stop))


def _settled(rows: range, wanted: Sequence[Holding], staying: Sequence[Holding]) -> Iterable[tuple[str, range]]:
    """Say where rows of a place that goes are put, once: where they are wanted if the predecessor is there, else beside it."""
    present = {each.place for each in staying}
    missing = [rows]
    for each in wanted:
        if each.place in present:
            yield from ((each.place, part) for piece in missing if (part := _overlap(piece, each.rows)))
            missing = _without(missing, [each.rows])
    for number, each in enumerate(wanted):
        if parts := [part for piece in missing if (part := _overlap(piece, each.rows))]:
            near = sorted((abs(other - number), other) for other, one in enumerate(wanted) if one.place in present)
            if not near:
                raise MissingRows(f"rows {rows.start} to {rows.stop} lie on nodes of which the successor has none")
            yield from ((wanted[near[0][1]].place, part) for part in parts)
            missing = _without(missing, [each.rows])


def _found(rows: range, holdings: Sequence[Holding]) -> list[tuple[str, range]]:
    """Say where each of some rows lies; of several places the first."""
    found: list[tuple[str, range]] = []
    missing = [rows]
    for each in holdings:
        found += [(each.place, part) for piece in missing if (part := _overlap(piece, each.rows))]
        missing = _without(missing, [each.rows])
    if missing:
        raise MissingRows(f"nobody holds the rows {missing[0].start} to {missing[0].stop}")
    return sorted(found, key=lambda pair: pair[1].start)


def _without(rows: Iterable[range], taken: Iterable[range]) -> list[range]:
    """Return what is left of some rows, in pieces."""
    left = [each for each in rows if each]
    for other in taken:
        if other:
            left = [
                piece
                for each in left
                for piece in (
                    range(each.start, min(each.stop, other.start)),
                    range(max(each.start, other.stop), each.stop),
                )
                if piece
            ]
    return left
