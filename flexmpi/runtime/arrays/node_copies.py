"""What is the same on all ranks, on its way to a successor: the first rank's, and then in one file of each node.

Collective over one world but for `NodeCopies.lay`.
"""

from __future__ import annotations

import pickle
from collections.abc import Collection, Iterator, Sequence

import numpy as np

from flexmpi.runtime.arrays.dense import ReplicatedArray, State
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.nodes_files import NodesFiles
from flexmpi.runtime.arrays.parts import Stretch
from flexmpi.runtime.arrays.runs import Bytes, bytes_of
from flexmpi.runtime.arrays.sources import Holding, taking_plan


class NodeCopies:
    """Replicated arrays and states of one change, which are taken from the files of nodes.

    Parameters
    ----------
    files
        Those of this world's nodes.
    change
        The number of the change.
    """

    def __init__(self, files: NodesFiles, change: int) -> None:
        self._files = files
        self._change = change

    def lay(self, objects: Collection[object], state: bytes) -> None:
        """Lay down what all ranks have the same, as the first rank has it, which calls this."""
        for name, values in _copies(objects, state):
            self._files.bytes_of(self._stretch(name, values.nbytes, range(values.nbytes)))[:] = values

    def move(
        self,
        objects: Collection[object],
        state_bytes: int,
        *,
        places_before: Sequence[str],
        wanted: Layout,
        by_predecessor: bool,
    ) -> int:
        """Move copies to where they are wanted; return the bytes that this rank has taken in.

        Parameters
        ----------
        objects, state_bytes
            What all have, and the size of the state.
        places_before
            The node of each rank of the predecessor, whose first has laid them down.
        wanted, by_predecessor
            As for rows.
        """
        received_bytes = 0
        for name, size_bytes in _sizes(objects, state_bytes):
            plan = taking_plan(_held(size_bytes, places_before), wanted.whole(size_bytes))

            def lies(part: range, name: str = name, size_bytes: int = size_bytes) -> list[Stretch]:
                return [self._stretch(name, size_bytes, part)]

            received_bytes += self._files.move(plan.before if by_predecessor else plan.after, lies)
        return received_bytes

    def take(self, objects: Collection[object], state_bytes: int, *, mapped: bool, short_state: bytes = b"") -> None:
        """Have the copies that lie on this node; what this rank writes there is its own.

        Parameters
        ----------
        objects, state_bytes
            As for `move`.
        mapped
            Whether pages that nobody writes stay the node's one; else all is in this rank's memory.
        short_state
            The state, where it is short and lies in no file.
        """
        for each in objects:
            if isinstance(each, ReplicatedArray):
                values = self._copy(_name(each), each.nbytes).view(each.dtype).reshape(each.shape)
                each.adopt(values if mapped else values.copy())
        pickled = short_state or self._copy("state", state_bytes).tobytes()
        states = [each for each in objects if isinstance(each, State)]
        for state, taken in zip(states, pickle.loads(pickled) if states else [], strict=True):
            state.adopt(taken)

    def _copy(self, name: str, size_bytes: int) -> Bytes:
        return self._files.room(self._key(name), size_bytes, np.dtype(np.uint8)).copy()

    def _key(self, name: str) -> str:
        return f"{name}@{self._change}"

    def _stretch(self, name: str, size_bytes: int, part: range) -> Stretch:
        return Stretch(self._key(name), size_bytes, part.start, part.stop)


def _name(array: ReplicatedArray) -> str:
    return f"replicated:{array.name}"


def _held(size_bytes: int, places: Sequence[str]) -> list[Holding]:
    """Return where something lies that the first rank has laid down, and that the others have nothing of it."""
    first, *others = dict.fromkeys(places)
    return [Holding(first, range(size_bytes)), *(Holding(place, range(0)) for place in others)]


def _copies(objects: Collection[object], state: bytes) -> Iterator[tuple[str, Bytes]]:
    for each in objects:
        if isinstance(each, ReplicatedArray):
            yield _name(each), bytes_of(each.local)
    yield "state", np.frombuffer(state, dtype=np.uint8)


def _sizes(objects: Collection[object], state_bytes: int) -> Iterator[tuple[str, int]]:
    for each in objects:
        if isinstance(each, ReplicatedArray):
            yield _name(each), each.nbytes
    yield "state", state_bytes
