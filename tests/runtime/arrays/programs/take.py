"""Has worlds of any shape lay down their rows on nodes, and others take them, and checks every block against the global truth.

``python -m mpi4py take.py FOLDER SEED [WAY]``; the ranks of one world play those of both. Not a test itself.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from urllib.parse import quote

import numpy as np
from every_kind import Objects, Truth
from mpi4py import MPI

from flexmpi.runtime.arrays import process_memory
from flexmpi.runtime.arrays.dense import ReplicatedArray, State
from flexmpi.runtime.arrays.distribution import Distribution
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.node_rows import NodeRows
from flexmpi.runtime.arrays.parts import Rows
from flexmpi.runtime.arrays.private_rows import PrivateRows
from flexmpi.runtime.arrays.redistribution import pickled
from flexmpi.runtime.arrays.world_rows import Passing, WorldRows

NODES = "abcd"
ROUNDS = 25
everybody = MPI.COMM_WORLD


def random_layout(rows: int, rng: np.random.Generator) -> Layout:
    """Return ranks on nodes, those of a node together, with some rows each or none."""
    ranks = int(rng.integers(1, everybody.size + 1))
    order = rng.permutation(list(NODES))
    places = tuple(order[number] for number in sorted(rng.integers(len(NODES), size=ranks)))
    weights = rng.choice([0.0, 1.0, 2.5], size=ranks)
    weights[rng.integers(ranks)] = 1.0
    return Layout(places, {rows: Distribution.by_weight(rows, weights)})


class World:
    """One rank's part in a world, whose nodes' files are in a folder."""

    def __init__(self, way: type[WorldRows], layout: Layout, folder: Path, truth: Truth, *, is_taken: bool) -> None:
        (self.rows,) = layout.shared
        self.layout, self.folder = layout, folder
        size = len(layout.places)
        comm = everybody.Split(0 if everybody.rank < size else MPI.UNDEFINED)
        self.is_here = comm != MPI.COMM_NULL
        if not self.is_here:
            return
        self.comm = comm
        self.their_rows = way(comm, layout.places, self.open_file)
        shared = layout.shared[self.rows]
        of_space = {"place": comm.rank, "make_room": self.their_rows.room, "is_taken": is_taken}
        self.objects = Objects(truth, shared, **of_space)
        self.copies = [ReplicatedArray("table", (3, 5), is_taken=is_taken), State()]
        self.all = [*self.objects.dense, *self.objects.sparse]
        self.constant = self.all[::2]
        self.others = self.all[1::2]

    def open_file(self, key: str, size_bytes: int) -> int:
        assert len(key) < 200
        node = self.folder / self.layout.places[self.comm.rank]
        node.mkdir(exist_ok=True)
        descriptor = os.open(node / quote(key, safe=""), os.O_RDWR | os.O_CREAT)
        assert os.fstat(descriptor).st_size in (0, size_bytes)
        os.ftruncate(descriptor, size_bytes)
        return descriptor


def check_copies(world: World) -> None:
    table, state = world.copies
    assert isinstance(table, ReplicatedArray) and isinstance(state, State)
    assert (table.local == np.arange(15).reshape(3, 5)).all() and state.values == [1, 2]
    everybody_else = table.local.copy()
    table.local[0, 0] = world.comm.rank
    world.comm.Barrier()
    assert table.local[0, 0] == world.comm.rank and (table.local.flat[1:] == everybody_else.flat[1:]).all()


def offer_ahead(old: World, after: Layout, out_of_reach: tuple[int, ...]) -> int:
    return old.their_rows.offer(old.constant, old.layout, after, Passing(1, ahead=True, out_of_reach=out_of_reach))


def take(new: World, objects: list[Rows], before: Layout, passing: Passing) -> int:
    moved = new.their_rows.bring(objects, before, new.layout, passing)
    for obj in objects:
        new.their_rows.take(obj, obj.rows, writeable=not passing.ahead)
    return moved


def take_ahead(old: World, new: World) -> tuple[int, tuple[int, ...]]:
    """Take what never changes, and return the bytes that moved and the ranks of before that cannot be read."""
    moved = offer_ahead(old, new.layout, ()) if old.is_here else 0
    facts = everybody.bcast(old.their_rows.known.all_facts(old.constant) if old.is_here else None)
    unreadable = ()
    if new.is_here:
        new.their_rows.known.learn(facts)
        unreadable = new.their_rows.unreadable(Passing(1, ahead=True))
    unreadable = everybody.bcast(unreadable)
    if unreadable and old.is_here:
        offer_ahead(old, new.layout, unreadable)
    everybody.Barrier()  # as the new ones are told when all have offered
    if new.is_here:
        moved += take(new, new.constant, old.layout, Passing(1, ahead=True, out_of_reach=unreadable))
        assert not any(each.local.flags.writeable and each.local.nbytes for each in new.constant[:1])
    return moved, unreadable


def hand_over(way: type[WorldRows], folder: Path, rng: np.random.Generator) -> tuple[int, ...]:
    """Hand over once, and return the ranks whose memory could not be read."""
    rows = int(rng.integers(0, 30))
    before, after = random_layout(rows, rng), random_layout(rows, rng)
    while not set(before.places) & set(after.places):
        after = random_layout(rows, rng)
    truth = Truth.random(rows, rng)
    old = World(way, before, folder, truth, is_taken=True)
    if old.is_here:
        old.objects.fill()
        table, state_of_old = old.copies
        table.local[:] = np.arange(15).reshape(3, 5)
        state_of_old.values = [1, 2]
        old.their_rows.lay(old.objects.sparse)
        old.objects.check()
    new = World(way, after, folder, truth, is_taken=False)
    moved, unreadable = take_ahead(old, new)
    passing = Passing(1, ahead=False, out_of_reach=unreadable)
    facts, state = (), b""
    if old.is_here:
        facts, state = old.their_rows.known.all_facts(old.all), pickled([state_of_old])[0]
        copies = old.their_rows.copies(1)
        if old.comm.rank == 0:
            copies.lay(old.copies, state)
        moved += old.their_rows.offer(old.others, before, after, passing)
        moved += copies.move(old.copies, len(state), places_before=before.places, wanted=after, by_predecessor=True)
    facts, size = everybody.bcast((facts, len(state)))
    if new.is_here:
        new.their_rows.known.learn(facts)
        moved += take(new, new.others, before, passing)
        copies = new.their_rows.copies(1)
        moved += copies.move(new.copies, size, places_before=before.places, wanted=after, by_predecessor=False)
        copies.take(new.copies, size, mapped=way.copies_are_mapped)
        for obj in new.constant:
            obj.open_to_writing()
        new.objects.check()
        check_copies(new)
    everybody.Barrier()
    if old.is_here:
        old.objects.check()  # what it holds is as it was
    total = everybody.allreduce(moved)
    assert total == 0 or set(before.places) | set(after.places) != {before.places[0]}, "nothing moves on one node"
    if way is PrivateRows and not total and not unreadable:
        laid = [each.name for each in folder.glob("*/*") if each.name.startswith(("array", "csr"))]
        assert not laid, "what stays on a node is read from memory"
    if new.is_here:
        kept = new.their_rows.kept(new.all, after)
        assert all(0 <= start <= stop for start, stop in kept.values()) and len(kept) == len(set(kept))
    return unreadable


def refuse(*arguments: object) -> int:
    """Refuse to copy, as the kernel does."""
    return -1


def main(folder: Path, seed: int, way: str) -> None:
    rng = np.random.default_rng(seed)
    if way == "refused" and everybody.rank % 2:
        process_memory._calls = lambda: (refuse, refuse)  # type: ignore[assignment]
    unread = 0
    for number in range(ROUNDS):
        part = folder / str(number)
        if everybody.rank == 0:
            part.mkdir()
        everybody.Barrier()
        unread += bool(hand_over(NodeRows if way == "node" else PrivateRows, part, rng))
    if everybody.rank == 0:
        print(f"{ROUNDS} handovers" + (f", memory refused in {unread}" if unread else ""))


main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3])
