"""Moves data between the ranks of one world and checks every block against the global truth.

``python -m mpi4py redistribute.py CASE [SEED]``; rank 0 prints one line when all ranks are content. Not a test itself.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from every_kind import SPARSE, Objects, Truth
from mpi4py import MPI
from numpy.typing import NDArray

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays import crossmemory, process_memory, reservation, runs
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, ReplicatedArray, RowSpace, State
from flexmpi.runtime.arrays.distribution import Distribution, overlap_plan
from flexmpi.runtime.arrays.redistribution import broadcast_replicated, broadcast_state, move_object
from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.arrays.sharing import balanced_distribution
from flexmpi.runtime.job.places import Transition
from flexmpi.runtime.joining import ahead
from flexmpi.runtime.joining.ahead_parts import csr_part, dense_part

comm = MPI.COMM_WORLD
rank, size = comm.rank, comm.size


def blocks_of(obj: DistributedArray | DistributedCSR) -> list[NDArray[Any]]:
    return [obj.local] if isinstance(obj, DistributedArray) else [obj.indptr, obj.indices, obj.data]


def move_one(objects: Objects, obj: DistributedArray | DistributedCSR, old: Distribution, new: Distribution) -> None:
    """Move an object, checking the bytes reported and what becomes of the old blocks."""
    plan = overlap_plan(old, new, rank)
    before = blocks_of(obj)
    received_bytes = move_object(obj, comm, old, new, rank)
    possible = [objects.row_bytes(obj, rows) for _, rows in plan.receives]
    assert sum(map(min, possible)) <= received_bytes <= sum(map(max, possible)), (obj, received_bytes, possible)
    for block, after in zip(before, blocks_of(obj), strict=True):
        if old.interval(rank) == new.interval(rank):
            assert after is block, obj
        else:
            assert (block.flags.writeable, after.flags.writeable) == (False, True), obj


def random_distribution(rows: int, rng: np.random.Generator, *, ranks: int = size) -> Distribution:
    weights = rng.choice([0.0, 0.0, 1.0, 2.5], size=ranks)
    weights[rng.integers(ranks)] = 1.0
    return Distribution.by_weight(rows, weights)


def moves(seed: int) -> str:
    """Move all objects from one random distribution to the next; ranks without rows are declared anew, as newcomers."""
    rng = np.random.default_rng(seed)
    moved = 0
    for rows in (0, 1, size - 1, 10, 57):
        truth = Truth.random(rows, rng)
        present = random_distribution(rows, rng)
        objects = Objects(truth, present)
        objects.fill()
        for _ in range(12):
            new = random_distribution(rows, rng)
            if not present.interval(rank):
                objects = Objects(truth, None)
            for array in objects.dense:
                move_one(objects, array, present, new)
            for matrix in objects.sparse:
                move_one(objects, matrix, present, new)
            objects.space.distribution = present = new
            objects.check()
            moved += 1
    return f"{moved} moves"


def ahead_of_time(seed: int) -> str:
    """Move all objects in small pieces while their old blocks are in use; some of it is dropped or overtaken before its end."""
    ahead.PIECE_BYTES, ahead.COPY_BYTES, ahead.TAKE_IN_S = 40, 24, 0.0
    rng = np.random.default_rng(seed)
    taken = dropped = 0
    for rows in (0, 1, size - 1, 10, 57):
        truth = Truth.random(rows, rng)
        present = random_distribution(rows, rng)
        objects = Objects(truth, present)
        objects.fill()
        for _ in range(16):
            new = random_distribution(rows, rng)
            if not present.interval(rank):
                objects = Objects(truth, None)
            everything = [*objects.dense, *objects.sparse]
            move = started_ahead(everything, present, new, at_once=int(rng.integers(1, 4)))
            while not move.progress():
                objects.check()
            objects.check()
            end, assigning = (
                rng.choice(["kept", "kept", "given up", "assigned anew", "other shares"]),
                rng.integers(size),
            )
            if end == "given up":
                move.drop()
                objects.check()
                continue
            if end == "assigned anew" and present.interval(rank) and rank == assigning:
                objects.fill()
            if end == "other shares":
                new = random_distribution(rows, rng)
            move.drop_outdated()
            for obj in everything:
                if move.take(obj, present, new):
                    taken += 1
                else:
                    move_object(obj, comm, present, new, rank)
                    dropped += 1
            objects.space.distribution = present = new
            objects.check()
    assert taken > 100 and dropped > 100, (taken, dropped)
    return "moved ahead"


def started_ahead(
    objects: Sequence[DistributedArray | DistributedCSR], old: Distribution, new: Distribution, *, at_once: int
) -> ahead.MoveAhead:
    """Begin to move what all ranks can move."""
    parts = [
        csr_part(obj, comm, old, new) if isinstance(obj, DistributedCSR) else dense_part(obj, old, new, rank)
        for obj in objects
    ]
    possible = [comm.allreduce(part.possible, MPI.MIN) for part in parts]
    return ahead.MoveAhead(
        comm, [part for part, wanted in zip(parts, possible, strict=True) if wanted], at_once=at_once
    )


def split(seed: int) -> str:
    """Do the same where no message may be longer than five bytes, so that rows and elements are cut apart."""
    runs.MESSAGE_LIMIT_BYTES = 5
    return moves(seed)


def copied(seed: int) -> str:
    """Do the same where no address space is to be had, so that every block is memory of its own."""
    reservation.possible = lambda: False  # type: ignore[assignment]
    return moves(seed)


def both_copy(seed: int) -> str:
    """Do the same where both ends of every message copy a part of it; say so if the kernel does not let them."""
    crossmemory.SMALLEST_BYTES = 1
    said = moves(seed)
    return said if comm.allreduce(len(crossmemory._denied), MPI.MAX) == 0 else f"{said}, copies denied"


def denied(seed: int) -> str:
    """Do the same where ranks but one are denied the memory of others: for a kernel that does so, this has none."""
    crossmemory.SMALLEST_BYTES = 1
    if rank:
        process_memory._calls = lambda: (deny, deny)
    said = moves(seed)
    assert bool(crossmemory._denied) == bool(rank), "tried once at least"
    return said


def deny(*_: object) -> int:
    return -1


def half_cost(_: int) -> str:
    """Assign a row cost on one of the ranks only."""
    old, new = Distribution.from_counts([2] * size), Distribution.from_counts([2 * size] + [0] * (size - 1))
    matrix = DistributedCSR("A", (2 * size, 2), space=RowSpace(2 * size, old, rank))
    matrix.assign([0, 0, 0], [], [], row_cost=[1, 1] if rank == 0 else None)
    try:
        move_object(matrix, comm, old, new, rank)
    except UsageError as error:
        return str(error)
    raise AssertionError("a cost known for some rows only must be refused")


def balance(seed: int) -> str:
    """Compare the distribution the ranks find together with the one of somebody who knows all costs."""
    rng = np.random.default_rng(seed)
    for _ in range(30):
        rows = int(rng.integers(0, 40))
        old = random_distribution(rows, rng)
        weights = rng.choice([0.0, 1.0, 2.5], size=size)
        weights[rng.integers(size)] = 1.0
        truth = Truth.random(rows, rng)
        truth.costs *= rng.choice([0.0, 1e-30, 1e30])
        objects = Objects(truth, old)
        objects.fill()
        by_rows = DistributedCSR("rows", (rows, 2), space=objects.space, balance="rows")
        lengths = np.diff(truth.starts)
        for cost_object, expected in (
            (None, Distribution.by_weight(rows, weights)),
            (by_rows, Distribution.by_weight(rows, weights)),
            (objects.sparse[SPARSE.index("narrow")], Distribution.by_cost(lengths, weights)),
            (objects.sparse[SPARSE.index("declared")], Distribution.by_cost(truth.costs, weights)),
            (objects.sparse[SPARSE.index("assigned")], Distribution.by_cost(truth.costs, weights)),
        ):
            found = balanced_distribution(rows, weights, cost_object, comm, old)
            assert found == expected, (found, expected, cost_object)
    return "balanced"


def foreseen(seed: int) -> str:
    """Compare what a transition is foreseen to move with what it moves: rows by cost and by number, all kinds of objects."""
    rng = np.random.default_rng(seed)
    for rows in (0, 1, size, 10, 57):
        for cost in (None, *SPARSE):
            truth = Truth.random(rows, rng)
            # Ranks from some place on are newcomers; of the others some leave.
            present = comm.bcast(int(rng.integers(1, size + 1)))
            newcomers = tuple(sorted(rng.choice(size, size - present, replace=False).tolist()))
            members = [place for place in range(size) if place not in newcomers]
            weights = rng.choice([0.0, 1.0, 2.5], size=size)
            weights[[*newcomers, members[0]]] = 1.5
            old = random_distribution(rows, np.random.default_rng(seed), ranks=present)
            is_member = rank in members
            group = comm.Split(int(is_member), rank)
            registry = Registry()
            if is_member:
                registry.start([1.0] * present, members.index(rank))
            objects = Objects(truth, old if is_member else None, place=members.index(rank) if is_member else 0)
            # The first matrix whose non-zeros count is the one whose rows are looked at.
            names = sorted(SPARSE if cost else ("narrow", "mixed"), key=lambda name: name != cost)
            objects.sparse = [next(each for each in objects.sparse if each.name == name) for name in names]
            for matrix in objects.sparse if cost is None else ():
                matrix.balance = "rows"
            if is_member:
                objects.fill()
            registry._spaces[rows] = objects.space
            centres = ReplicatedArray("centres", (3, 2))
            for declared in (*objects.dense, *objects.sparse, centres):
                registry._objects[declared.name] = declared
            imagined = [Transition(tuple(weights), newcomers), Transition(tuple(weights[::-1] + 0.5), newcomers)]
            if not is_member:
                registry.adopt({rows: old})
            expected = registry.bytes_to_move(group, imagined)[0] if is_member else None
            moved = registry.redistribute(comm, weights, lambda: None, newcomers=newcomers)
            received = moved.received_bytes
            if newcomers:
                received += registry.replicate(comm, newcomers=newcomers, root=members[0])
            assert comm.bcast(expected, root=members[0]) == comm.allreduce(received), (rows, cost, expected, received)
            objects.check()
            group.Free()
    return "as foreseen"


def replicate(_: int) -> str:
    """Give rank 0's replicated data to the others; rank 1 was there before and keeps its state."""
    runs.MESSAGE_LIMIT_BYTES = 100
    truth = np.arange(7 * 9, dtype=np.float64).reshape(7, 9)
    for dtype in ("f8", "c16", "?", [("a", "f8"), ("b", "i1")]):
        array = ReplicatedArray("centres", (7, 9), dtype=dtype)
        block, expected = array.local, truth.astype(dtype)
        if rank == 0:
            block[...] = expected
        broadcast_replicated(array, comm)
        assert array.local is block
        assert (block == expected).all()
    broadcast_replicated(ReplicatedArray("nothing", (0, 3)), comm)
    first, second = State(value=rank), State(steps=[rank], stale=rank)
    mine = second.steps
    if rank == 0:
        first.added = "later"
        del second.stale
    broadcast_state([first, second], comm, newcomers=range(2, comm.size))
    if rank == 1:
        assert (repr(first), repr(second)) == ("State(value=1)", "State(steps=[1], stale=1)")
    else:
        assert (repr(first), repr(second)) == ("State(value=0, added='later')", "State(steps=[0])")
    assert (second.steps is mine) == (rank < 2)
    try:
        broadcast_state([State(value=(lambda: 0) if rank == 0 else 0)], comm, newcomers=range(1, comm.size))
    except UsageError as error:
        return str(error)
    raise AssertionError("a state that cannot be pickled must be refused on every rank")


def memory(_: int) -> str:
    """Move one 64 MB object between two ranks and back; no rank may hold more than its old and its new block of it."""
    return memory_of(lambda obj, old, new: move_object(obj, comm, old, new, rank))


def memory_ahead(_: int) -> str:
    """Do the same ahead, the first time from arrays that were assigned to the matrix."""

    def move(obj: DistributedArray | DistributedCSR, old: Distribution, new: Distribution) -> None:
        begun = started_ahead([obj], old, new, at_once=1)
        while not begun.progress():
            pass
        assert begun.take(obj, old, new)

    return memory_of(move)


def memory_of(move: Callable[[DistributedArray | DistributedCSR, Distribution, Distribution], object]) -> str:
    """Check the memory that a way to move an object takes."""
    rows, columns, allowance = 1 << 13, 1 << 10, 12 << 20
    for obj_kind in ("dense", "csr"):
        old, new = Distribution.by_weight(rows, [3, 1]), Distribution.by_weight(rows, [1, 3])
        space = RowSpace(rows, old, rank)
        here = (len(old.interval(rank)), len(new.interval(rank)))
        before = resident_bytes("VmRSS")
        obj: DistributedArray | DistributedCSR
        if obj_kind == "dense":
            obj, row_bytes = DistributedArray("A", (rows, columns), space=space), 8 * columns
            obj.local[:] = 1
        else:
            obj, row_bytes = DistributedCSR("A", (rows, columns), space=space), 12 * columns + 8
            count = here[0] * columns
            obj.assign(np.arange(0, count + 1, columns), np.ones(count, dtype=np.int32), np.ones(count))
        for source, target, (less, more) in ((old, new, here), (new, old, here[::-1])):
            Path("/proc/self/clear_refs").write_text("5")
            move(obj, source, target)
            space.distribution = target
            peak, after = resident_bytes("VmHWM") - before, resident_bytes("VmRSS") - before
            assert peak <= (less + more) * row_bytes + allowance, (obj_kind, peak, (less + more) * row_bytes)
            assert after <= more * row_bytes + allowance, (obj_kind, after, more * row_bytes)
        del obj
    return "within old block + new block"


def resident_bytes(name: str) -> int:
    """Return a figure of this process's memory: what it has now (VmRSS) or had at most (VmHWM)."""
    status = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in status if line.startswith(f"{name}:"))


def large(_: int) -> str:
    """Move a block of more than 2**31 elements from rank 0 to rank 1."""
    rows, columns = 4, 2**29 + 1
    elements = rows * columns
    old, new = Distribution.from_counts([rows, 0]), Distribution.from_counts([0, rows])
    array = DistributedArray("A", (rows, columns), space=RowSpace(rows, old, rank), dtype=np.int8)
    # Some elements all over and those where a 32-bit count or a message could end; few, for memory is slow to get
    # and the pages of zeros between them cost none on the sender.
    ends = [end + off for end in (2**30, 2**31) for off in (-1, 0, 1)]
    marks = np.array(sorted({*range(0, elements, 39_999_983), *ends, elements - 1}))
    if rank == 0:
        array.local.reshape(-1)[marks] = marks % 101 + 1
    received_bytes = move_object(array, comm, old, new, rank)
    assert received_bytes == (elements if rank == 1 else 0)
    assert array.local.shape == (rows if rank == 1 else 0, columns)
    if rank == 1:
        assert (array.local.reshape(-1)[marks] == marks % 101 + 1).all()
        assert sum(map(np.count_nonzero, array.local)) == len(marks)
    return f"moved {elements} elements"


SHARING = (replicate, half_cost, balance, foreseen)
MOVING = (moves, split, copied, both_copy, denied, large, memory, memory_ahead, ahead_of_time)
CASES = {each.__name__: each for each in (*SHARING, *MOVING)}

if __name__ == "__main__":
    said = CASES[sys.argv[1]](int(sys.argv[2]) if len(sys.argv) > 2 else 0)
    comm.Barrier()
    if rank == 0:
        print(said, flush=True)
