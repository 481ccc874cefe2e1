"""What is there once for all worlds of an application though each runs the program from its top: outputs, and what is exclusive.

The session's part for the program, and what an agreement has to do for it at a handover.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import IO, Any, BinaryIO, Literal, TextIO, TypeVar, overload

from flexmpi.errors import UsageError
from flexmpi.protocol.handover import FilesInCommon, RowsNotTaken, Welcome
from flexmpi.protocol.records import as_object
from flexmpi.runtime.communication.link import Link
from flexmpi.runtime.rank import written_files
from flexmpi.runtime.rank.exclusive import Exclusive, Exclusives
from flexmpi.runtime.rank.outputs import Noted, Outputs

Opened = TypeVar("Opened")
TextMode = Literal["w", "a", "wt", "at"]
BinaryMode = Literal["wb", "ab"]


class OnceForAll:
    """What one rank has of it.

    Parameters
    ----------
    link
        The rank's line to its launcher, if there is one.
    computes
        Whether its world computes.
    """

    def __init__(self, link: Link | None, *, computes: bool) -> None:
        self._link = link
        self.outputs = Outputs(self._note_output, computes=computes)
        self.exclusives = Exclusives(computes=computes)

    def _note_output(self, path: str, computes: bool) -> Noted:
        """Tell who of this application has opened an output of this path before; this world has now, if it computes."""
        if self._link is None:
            return Noted(first=True, by_another=False)
        self._link.send("output_opened", path=path, computes=computes)
        answer = self._link.await_reply("output_noted")
        assert answer is not None
        return Noted(answer["first"], answer["by_another"])

    def _say(self, record: FilesInCommon | RowsNotTaken) -> None:
        if self._link is not None:
            self._link.send(**as_object(record))

    # The predecessor.

    def hand_over(self) -> int:
        """Have all written and closed that a successor goes on with; return how much was exclusive."""
        closed = self.exclusives.lend()
        self.outputs.flush()
        return closed

    def take_back(self, why: str) -> None:
        """Have again what was handed over: the change was given up."""
        self.exclusives.take_back(why)

    def leave(self) -> None:
        """Let this world touch no more what a successor has."""
        self.outputs.end()

    # The successor.

    def tell_files_in_common(self, welcome: Welcome, *, rank: int) -> None:
        """Say which files this rank has opened for writing and a rank of the predecessor on its node has open for writing."""
        here, before = welcome.places[rank], zip(welcome.places_before, welcome.pids_before, strict=True)
        pids = [pid for place, pid in before if place == here]
        if files := written_files.own.in_common_with(pids, aside=self.outputs.identities()):
            self._say(FilesInCommon(welcome.change, files))

    def take(self, change: int) -> None:
        """Open what was closed for this world; where that fails this one is ended, and this does not return."""
        written_files.own.end()
        if why := self.exclusives.take():
            assert self._link is not None
            self._say(RowsNotTaken(change, why))
            while True:
                self._link.receive()

    def begin(self) -> None:
        """Go on with the outputs: this world computes."""
        written_files.own.end()
        self.outputs.begin()
        self.exclusives.computes = True


class TopOfProgram:
    """The part of a session for what a program opens at its top."""

    _once: OnceForAll
    _can_wait: bool

    @overload
    def output(
        self,
        path: str | os.PathLike[str],
        mode: TextMode = "w",
        *,
        buffering: int = -1,
        encoding: str | None = None,
        errors: str | None = None,
        newline: str | None = None,
    ) -> TextIO: ...

    @overload
    def output(self, path: str | os.PathLike[str], mode: BinaryMode, *, buffering: int = -1) -> BinaryIO: ...

    @overload
    def output(
        self, path: str | os.PathLike[str], mode: str, *, buffering: int = -1, **text: str | None
    ) -> IO[Any]: ...

    def output(
        self, path: str | os.PathLike[str], mode: str = "w", *, buffering: int = -1, **text: str | None
    ) -> IO[Any]:
        """Open a file that goes on when another world takes over; an ordinary file, as ``open(path, "w")`` returns.

        The first time that an application opens a path, with mode "w", the file is made anew; after that, in its later worlds
        too, it is appended to. So what is written before the loop, such as the header of a table, is there once: what a
        successor writes before its first iteration is dropped where its predecessors have opened the file, for they have
        written it. Where none has, such as the file of a rank that is new, it is written when the successor begins to compute,
        and only then is the file made anew: if the change is dropped, what it held before stays (or an empty file, where there
        was none). What a predecessor writes when its successor has taken over is dropped. Lines of two worlds are never mixed.

        Each rank opens files of its own, usually rank 0 alone. Where ranks can change nodes the path is one of a file system
        that the nodes share.

        Parameters
        ----------
        path
            Of the file.
        mode
            "w", or "a" to append to what earlier applications have written; with "b" for bytes.
        buffering, encoding, errors, newline
            As for ``open``.

        Raises
        ------
        UsageError
            The mode is another one.
        OSError
            The file cannot be opened.
        """
        with written_files.own.unwatched():
            return self._once.outputs.open(path, mode, buffering=buffering, **text)

    def exclusive(
        self, open_it: Callable[[], Opened], *, close: Callable[[Opened], object] | None = None
    ) -> Exclusive[Opened]:
        """Open what only one may have open, such as an HDF5 file or a port, in a ``with`` statement around the loop.

        In the first world ``open_it`` is called when the ``with`` block begins. In a successor it is called before the first
        iteration, when the predecessor has closed its own; if it raises there the change is dropped, and the predecessor
        opens its own again. So ``open_it`` opens what is there and makes nothing anew.

        Parameters
        ----------
        open_it
            Opens it and returns it, or None in a rank that needs none; called without arguments.
        close
            Closes it; where it is not given its ``close`` method does.

        Returns
        -------
        Exclusive
            With ``.value``, what ``open_it`` has returned; to be asked for anew in each iteration.

        Raises
        ------
        UsageError
            The ranks of this application join one that goes on (``flexmpi run --change join``), whose ranks close nothing.

        Examples
        --------
        ::

            with flex.exclusive(lambda: h5py.File("results.h5", "a")) as results:
                for iteration in flex.iterate(1000):
                    results.value["error"][iteration] = error
        """
        if not (self._can_wait or self._once.exclusives.computes):
            raise UsageError(
                "flex.exclusive: a rank that joins others cannot open it; needs flexmpi run --change handover"
            )
        return Exclusive(self._once.exclusives, open_it, close)
