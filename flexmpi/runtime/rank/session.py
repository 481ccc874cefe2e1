"""The session: the only object of FlexMPI that an application meets.

Here is the programming interface alone; what happens at agreement points is in ``agreement``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from operator import index
from time import perf_counter
from types import TracebackType
from typing import Any, Literal, Self

from mpi4py import MPI
from numpy.typing import ArrayLike, DTypeLike

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, ReplicatedArray, State
from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.arrays.rows import valid_costs
from flexmpi.runtime.communication import link as links
from flexmpi.runtime.communication.calls import Clock
from flexmpi.runtime.communication.communicator import begin_timing, end_timing
from flexmpi.runtime.communication.group import Group
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.joining import membership
from flexmpi.runtime.rank import finalisation
from flexmpi.runtime.rank.agreement import Agreement
from flexmpi.runtime.rank.handover_agreement import HandoverAgreement
from flexmpi.runtime.rank.handover_opening import opened
from flexmpi.runtime.rank.inheritance import mpi_is_initialised, told
from flexmpi.runtime.rank.joining_agreement import JoiningAgreement
from flexmpi.runtime.rank.once import OnceForAll, TopOfProgram
from flexmpi.runtime.rank.untouched import is_untouched

_open = _closed = False


class Session(TopOfProgram):
    """The elastic side of one program; made by `session`, used as a context manager.

    The contract with the program:

    - The script runs from the top in every rank, in those that are started for a change too. What must survive an iteration
      lives in the session's objects. `starting` is false in such a rank until the first iteration of its loop, when its data has
      arrived; fill data under it.
    - Ranks, `comm` and rows stay the same within an iteration. Between two they may change where ranks join and leave. Then
      communicators made from `comm` end with it, and the old blocks are read-only, so that a stale reference fails loudly; what
      they show is undefined. Rows lie on ranks in the order of their numbers; so newcomers take theirs between the others,
      and rank 0 stays rank 0 until it leaves. Where a change is a handover all this stays the same as long as the rank lives, and
      `comm` has the ranks of ``MPI.COMM_WORLD``.
    - Several `iterate` loops one after the other work; a rank that is started later skips the finished ones. It runs what stands
      between them too, with its process set, and `comm` has only these ranks then.
    - A rank that leaves unwinds from `iterate` by a ``SystemExit``: ``with`` and ``finally`` blocks run.

    Under plain ``python`` or ``mpiexec`` the same program runs with the ranks it was given.
    """

    def __init__(self, *, interval: int | str | None = None) -> None:
        self._link = links.current()
        self._clock = Clock()
        self._registry = Registry()
        self._callbacks: list[Callable[[Session], object]] = []
        self._loops = 0
        self._last = MPI.PROC_NULL, 0
        self._iterating = self._stopped = False
        self._outside = "FLEXMPI_JOINING" in told and self._link is not None
        self._by_handover = self._can_wait = told.get("FLEXMPI_CHANGE") == "handover"
        self._once = OnceForAll(self._link, computes=not self._outside)
        chosen = Interval.parse(told.get("FLEXMPI_INTERVAL") or str("0.5s" if interval is None else interval))
        control = MPI.COMM_WORLD.Dup()
        mpi_is_initialised()
        if self._link is not None:
            library = MPI.Get_library_version().split("\n")[0].rstrip("\0")
            facts = {"mpi": library, "size": control.size, "untouched": is_untouched()}
            self._link.send("session", **facts, obstacle=None if self._by_handover else membership.obstacle())
            if not (self._outside or self._by_handover):
                control = self._assemble_founders(control)
        self._group = Group.of(control)
        self._agreement: Agreement | None = None
        if self._link is not None and self._by_handover:
            self._agreement = opened(
                self._link, self._registry, self._clock, chosen, group=self._group, once=self._once
            )
        elif not self._outside:
            speed = float(told.get("FLEXMPI_SPEED", "1"))
            self._registry.start(control.allgather(speed), control.rank)
        if self._link is not None and self._agreement is None:
            self._agreement = JoiningAgreement(self._link, self._registry, self._clock, chosen, self._group)
        if self._agreement is not None:
            self._agreement.reconfigured = self._run_callbacks
        # Last: where one of the steps before fails, nothing of mpi4py's stays changed.
        begin_timing(self._clock)
        finalisation.forbid()

    def _assemble_founders(self, control: MPI.Intracomm) -> MPI.Intracomm:
        if self._link is None or told["FLEXMPI_FOUNDERS"] == "1":
            return control
        where = self._link.wait_for("assemble")
        return membership.assemble(
            control, self._link, reconfiguration=0, position=where["position"], count=where["count"]
        )

    @property
    def _present(self) -> Group:
        return self._group if self._agreement is None else self._agreement.group

    @property
    def comm(self) -> MPI.Intracomm:
        """The present communicator, an ``mpi4py.MPI.Intracomm`` valid until the iteration ends."""
        return self._present.comm

    @property
    def rank(self) -> int:
        """This process's rank in `comm`, after the session its last; ``MPI.PROC_NULL``, which is negative, in one that leaves."""
        return self._last[0] if self.comm == MPI.COMM_NULL else self.comm.rank

    @property
    def size(self) -> int:
        """The number of ranks in `comm`, after the session the last; 0 in a rank that leaves."""
        return self._last[1] if self.comm == MPI.COMM_NULL else self.comm.size

    @property
    def starting(self) -> bool:
        """Whether this rank computes, so that it fills its part of what is declared; one on its way into a loop does not."""
        return not self._outside

    def array(
        self, name: str, shape: int | Sequence[int], dtype: DTypeLike = float, *, constant: bool = False
    ) -> DistributedArray:
        """Declare a dense array distributed by its first axis; zeros at the start.

        Parameters
        ----------
        name
            The same on every rank, and used once.
        shape
            Global shape; a number for a vector.
        dtype
            Any numpy dtype that holds no Python objects.
        constant
            The program does not change the data after its start, so it may move ahead of time.

        Returns
        -------
        DistributedArray
            With ``.local`` (this rank's block), ``.rows`` (the ``range`` of its global rows), ``.counts`` and ``.offsets``.

        Raises
        ------
        UsageError
            The name is taken, or the shape or dtype is not one.
        """
        self._registry.check_name(name)
        declared = DistributedArray(name, shape, space=self._space(name, shape), dtype=dtype, constant=constant)
        self._declare(name, declared)
        return declared

    def csr(
        self,
        name: str,
        shape: tuple[int, int],
        dtype: DTypeLike = float,
        *,
        balance: Literal["nonzeros", "rows"] = "nonzeros",
        row_cost: ArrayLike | None = None,
        constant: bool = False,
    ) -> DistributedCSR:
        """Declare a sparse matrix in CSR form, distributed by rows; fill it with ``.assign(indptr, indices, data)``.

        All objects with as many rows follow its distribution. With ``balance="nonzeros"`` the rows are shared anew when the
        first loop begins, by the non-zeros then known; with ``row_cost`` they are shared by that cost from the start.

        Parameters
        ----------
        name, shape, dtype, constant
            As for `array`; the shape is ``(rows, columns)``.
        balance
            Share rows by their non-zeros or by their number.
        row_cost
            A cost >= 0 for every global row, shape ``(rows,)``, in place of the non-zeros.

        Raises
        ------
        UsageError
            As for `array`.
        """
        self._registry.check_name(name)
        space = self._space(name, shape, row_cost=row_cost)
        declared = DistributedCSR(
            name, shape, space=space, dtype=dtype, balance=balance, row_cost=row_cost, constant=constant
        )
        self._declare(name, declared)
        return declared

    def replicated(self, name: str, shape: int | Sequence[int], dtype: DTypeLike = float) -> ReplicatedArray:
        """Declare an array that every rank holds whole, the same on all of them; ranks that join receive rank 0's."""
        self._registry.check_name(name)
        declared = ReplicatedArray(name, shape, dtype=dtype, is_taken=self._registry.is_taken)
        self._registry.add(name, declared)
        return declared

    def state(self, **values: Any) -> State:
        """Declare a few small Python values, the same on every rank; ranks that join receive rank 0's."""
        declared = State(**values)
        if not self._registry.is_taken:
            declared.await_values()
        self._registry.add_state(declared)
        return declared

    def _declare(self, name: str, declared: DistributedArray | DistributedCSR) -> None:
        self._registry.add(name, declared)
        if isinstance(self._agreement, HandoverAgreement):
            self._agreement.declared(declared)

    def iterate(self, maximum: int) -> Iterator[int]:
        """Yield the iteration numbers 0 to ``maximum - 1``; ranks join and leave between two of them.

        Parameters
        ----------
        maximum
            The number of iterations, the same on every rank.

        Raises
        ------
        UsageError
            A loop of this session is running already, or ``maximum`` is not a number of iterations.
        RankLeaves
            This rank leaves; a ``SystemExit`` that a program lets through.
        """
        if self._iterating:
            raise UsageError(
                "flex.iterate is already running in this session; loops follow each other, they do not nest"
            )
        iterations = _whole_number(maximum)
        self._iterating, self._stopped = True, False
        loop, self._loops = self._loops, self._loops + 1
        try:
            if self._agreement is None:
                yield from self._fixed_loop(iterations)
            else:
                yield from self._elastic_loop(self._agreement, loop, iterations)
        finally:
            self._iterating = False

    def _fixed_loop(self, maximum: int) -> Iterator[int]:
        finalisation.check()
        if self._registry.share_by_cost(self._group.control):
            self._run_callbacks()
        for iteration in range(maximum):
            yield iteration
            if self._stopped:
                return

    def _elastic_loop(self, agreement: Agreement, loop: int, maximum: int) -> Iterator[int]:
        going_on: int | None = 0
        if self._outside:
            going_on = agreement.wait_to_begin(loop, maximum)
            if going_on is None:
                return
            self._outside = False
            self._once.begin()
        else:
            agreement.begin_loop(loop, maximum)
        iteration = going_on or 0
        while iteration < maximum:
            if iteration >= agreement.next_at:
                going_on = agreement.agree(iteration)
                if going_on is None:
                    self._outside = True
                    return
                iteration = going_on
            end = min(maximum, agreement.next_at)
            # Calls are looked at in the first one only.
            for few in (range(iteration, iteration + 1), range(iteration + 1, end)):
                for iteration in few:
                    yield iteration
                    if self._stopped:
                        return
                    # Not in the iteration that began with an agreement on what moves.
                    if agreement.moving:
                        agreement.progress()
                self._clock.looking = False
            iteration = end

    def stop(self) -> None:
        """End the loop after this iteration; every rank calls it in the same one, as converging programs do."""
        if not self._iterating:
            raise UsageError("flex.stop() ends a flex.iterate loop, and none is running")
        self._stopped = True

    @contextmanager
    def io(self, *, size_bytes: int | None = None) -> Iterator[None]:
        """Time an I/O phase, and wait for its turn where a controller orders the I/O of several applications.

        Parameters
        ----------
        size_bytes
            How much this rank reads or writes, where it is known.
        """
        start = perf_counter()
        if self._link is not None:
            self._link.send("io_begin", size_bytes=size_bytes)
            self._link.await_reply("io_go")
        try:
            yield
        finally:
            if self._link is not None:
                self._link.send("io_end")
            self._clock.io_s += perf_counter() - start

    def on_resize(self, callback: Callable[[Session], object]) -> None:
        """Have ``callback(session)`` called on every remaining or new rank after rows or ranks have changed."""
        self._callbacks.append(callback)

    def _run_callbacks(self) -> None:
        for callback in self._callbacks:
            callback(self)

    def _space(self, name: str, shape: int | Sequence[int], *, row_cost: ArrayLike | None = None) -> Any:
        try:
            rows = int(shape[0] if isinstance(shape, Sequence) else shape)
        except (TypeError, ValueError, IndexError):
            raise UsageError(f"{name!r}: shape must be integers, one axis at least, got {shape!r}") from None
        if rows < 0:
            raise UsageError(f"{name!r}: shape must not be negative, got {shape!r}")
        return self._registry.space(
            rows, row_costs=None if row_cost is None else valid_costs(name, row_cost, rows=rows)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        global _open, _closed
        _open, _closed = False, True
        finalisation.allow()
        end_timing()
        if kind is None:
            finalisation.check()
        if kind is None and self.comm != MPI.COMM_NULL:
            self._last = self.comm.rank, self.comm.size
            if self._agreement is not None:
                self._agreement.end()
            else:
                self._present.disconnect()


def _whole_number(maximum: object) -> int:
    """Return what a program gave to ``flex.iterate``; UsageError if it is no number of iterations."""
    try:
        iterations = index(maximum)  # type: ignore[arg-type]
    except TypeError:
        raise UsageError(f"flex.iterate takes the number of iterations, an integer, got {maximum!r}") from None
    if iterations < 0:
        raise UsageError(f"flex.iterate takes the number of iterations, 0 or more, got {iterations}")
    return iterations


def session(*, interval: int | str | None = None) -> Session:
    """Open the session of this program; in a rank that was started as a newcomer it is the way into the application.

    Parameters
    ----------
    interval
        The sampling interval, where ``flexmpi run --interval`` does not say: iterations (``100``) or seconds (``"0.5s"``).

    Returns
    -------
    Session
        To be used in a ``with`` statement.

    Raises
    ------
    UsageError
        A session is open already, or under ``flexmpi run`` one has ended.
    """
    global _open
    if _open:
        raise UsageError("a session is open already; a program has one")
    if _closed and links.current() is not None:
        raise UsageError("under flexmpi run a program has one session, with one loop or several; this one has ended")
    opened = Session(interval=interval)
    _open = True
    return opened
