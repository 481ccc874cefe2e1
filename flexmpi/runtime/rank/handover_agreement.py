"""Agreement points of an application whose ranks change by handover: its world hands over to another, or takes over from one.

A predecessor's ranks lay down what they hold and sleep until a successor computes, or they are to compute on. A successor's sleep
at their loop until there is something to take. All sleep on their launchers' sockets, never in MPI.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Collection
from time import perf_counter

import numpy as np

from flexmpi.errors import MembershipError, RankLeaves
from flexmpi.protocol.handover import (
    TO_RANKS,
    BeginLoop,
    ComputeOn,
    Computing,
    HandoverAgreed,
    HandoverDeferred,
    HandoverRefused,
    OfferHandover,
    PlanningBegun,
    PlanRows,
    ReadyAtLoop,
    RowsHandedOver,
    RowsPlanned,
    RowsTaken,
    SkipLoop,
    Succeeded,
    TakeRows,
    Welcome,
    WithdrawHandover,
)
from flexmpi.protocol.records import from_object
from flexmpi.runtime.arrays import redistribution
from flexmpi.runtime.arrays.dense import DistributedCSR, State
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.parts import Rows, with_rows
from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.arrays.world_rows import Passing, WorldRows
from flexmpi.runtime.communication.calls import Clock
from flexmpi.runtime.communication.files import NodeFilesLine
from flexmpi.runtime.communication.group import Group
from flexmpi.runtime.communication.link import Link, Message
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.rank.agreement import Agreement
from flexmpi.runtime.rank.decisions import HandingOver
from flexmpi.runtime.rank.inheritance import mark_output
from flexmpi.runtime.rank.once import OnceForAll
from flexmpi.runtime.rank.spoken import hear, say


class HandoverAgreement(Agreement):
    """One rank's part in the agreement points, where a change is a handover.

    Parameters
    ----------
    group
        The ranks of this world.
    welcome
        What the supervisor has said of it.
    rows, files
        Where this world's rows lie, and the line to the launcher, which holds the node's files.
    once
        What the program has at its top and is there once for all worlds.
    """

    def __init__(
        self,
        link: Link,
        registry: Registry,
        clock: Clock,
        interval: Interval,
        *,
        group: Group,
        welcome: Welcome,
        rows: WorldRows,
        files: NodeFilesLine,
        once: OnceForAll,
    ) -> None:
        super().__init__(link, registry, clock, interval)
        self._group = group
        self._welcome = welcome
        self._rows = rows
        self._files = files
        self._once = once
        self._came_at = self._taken_at = 0.0
        rows.known.learn(welcome.matrices)
        self._plan: PlanRows | None = None
        self._planned_in = -1
        self._offer: OfferHandover | None = None
        self._lie_there: frozenset[str] = frozenset(welcome.constants)
        self._planned = self._refused = 0

    @property
    def group(self) -> Group:
        """The ranks this one computes with, for as long as it lives."""
        return self._group

    @property
    def moving(self) -> bool:
        """Whether rows move beside the computation: never in that of a world that computes."""
        return False

    def progress(self) -> None:
        """Do nothing."""

    def _before_end(self, change: object, *, terminate: bool) -> None:
        """Do nothing: a successor that waits is ended by the supervisor."""

    def _leave(self) -> None:
        raise RankLeaves

    def agree(self, iteration: int) -> int | None:
        """Note when this rank stops to compute; see `Agreement.agree`."""
        self._came_at = perf_counter()
        return super().agree(iteration)

    # What the program declares.

    def declared(self, obj: Rows) -> None:
        """Have constant data as soon as it is declared, if the predecessor has laid it down; collective in a successor."""
        if not self._registry.is_taken and obj.constant and obj.name in self._lie_there:
            welcome = self._welcome
            before = Layout.of(welcome.places_before, welcome.before)
            self._rows.bring([obj], before, self._layout(), self._passing(welcome, ahead=True))
            self._rows.take(obj, obj.rows, writeable=False)

    def _share_rows(self) -> bool:
        registry, control, shared = self._registry, self.group.control, False
        self._lay()
        for space in registry.take_unshared():
            held, balanced = self._layout(), registry.balanced(space, registry.weights, control)
            if balanced != space.distribution:
                wanted = Layout(held.places, {**held.shared, space.rows: balanced})
                if not self._rows.offers_last:
                    self._refuse(self._planned, "rows were shared anew, by a matrix that a later loop has")
                self._rows.share(registry.members(space), held, wanted)
                space.distribution, shared = balanced, True
        # All that the program has filled in before its loop is there when the supervisor hears of it.
        control.Barrier()
        return shared

    def _lay(self) -> None:
        """See to sparse matrices that have been assigned since; nobody needs what they were, unless it was offered."""
        superseded = self._rows.lay(self._matrices())
        if self._rows.is_first_of_node:
            self._files.forget(key for name, key in superseded if name not in self._lie_there)

    def _layout(self) -> Layout:
        """Return where the rows of this world are."""
        return Layout(self._welcome.places, self._registry.distributions())

    @staticmethod
    def _passing(told: PlanRows | OfferHandover | Welcome, *, ahead: bool) -> Passing:
        return Passing(told.change, ahead, told.out_of_reach)

    def _matrices(self) -> list[DistributedCSR]:
        return [each for each in self._registry.objects if isinstance(each, DistributedCSR)]

    def _constants(self) -> list[Rows]:
        return [each for each in with_rows(self._registry.objects) if each.constant]

    def _yet_to_move(self, ahead: Collection[str]) -> list[Rows]:
        """Return the objects with rows, but those whose rows were there ahead of the others."""
        return [each for each in with_rows(self._registry.objects) if not (each.constant and each.name in ahead)]

    # The predecessor.

    def _note(self, message: Message) -> None:
        if message["kind"] not in TO_RANKS:
            return
        match from_object(message, TO_RANKS):
            case PlanRows() as plan if plan.change != self._refused:
                self._plan = plan
            case OfferHandover() as offer if offer.change != self._refused:
                self._offer = offer
            case WithdrawHandover(change) if self._plan is not None and self._plan.change == change:
                self._plan = None
                say(self._link, HandoverRefused(change, "it was withdrawn"))
            case WithdrawHandover(change) if self._offer is not None and self._offer.change == change:
                self._offer = None
                say(self._link, HandoverRefused(change, "it was withdrawn"))

    def _propose(self, iteration: int, *, interval: int, terminate: bool) -> tuple[int, object]:
        offer, plan = self._offer, self._plan
        if terminate:
            return interval, None
        if plan is not None:
            self._plan = None
            return interval, plan
        if offer is None:
            return interval, None
        if iteration < offer.at_iteration:
            return min(interval, offer.at_iteration - iteration), None
        self._offer = None
        if self._is_elsewhere(loop=offer.loop, digest=offer.digest):
            say(self._link, HandoverDeferred(offer.change))
            return interval, None
        states = [each for each in self._registry.objects if isinstance(each, State)]
        state, problem = redistribution.pickled(states)
        if problem:
            say(self._link, HandoverRefused(offer.change, problem))
            return interval, None
        return interval, HandingOver(offer, state)

    def _carry_out(self, change: object, iteration: int) -> int | None:
        assert isinstance(change, PlanRows | HandingOver)
        try:
            if isinstance(change, PlanRows):
                self._plan_rows(change)
            else:
                self._hand_over(change, iteration)
        except MembershipError as error:
            # On every rank: all go on with what they hold.
            self._rows.take_back()
            self._refuse(change.change if isinstance(change, PlanRows) else change.offer.change, str(error))
        return iteration

    def _still_ahead(self) -> tuple[str, ...]:
        """Return the names of what was offered ahead and has not been filled since, so that it is the same; collective."""
        if self._planned_in != self._loop:
            return ()
        stale = {each.name for each in self._rows.known.out_of_date(self._matrices())}
        return tuple(sorted(self._lie_there - stale))

    def _refuse(self, number: int, why: str) -> None:
        """Say that there will be no handover in a change, if one may be under way."""
        if self._leads and number:
            self._refused, self._offer = number, None
            say(self._link, HandoverRefused(number, why))

    def _plan_rows(self, order: PlanRows) -> None:
        """Say who of a successor is to have which rows, and move what never changes where it will be looked for."""
        if self._leads:
            say(self._link, PlanningBegun(order.change))
        control, held = self.group.control, self._layout()
        self._lay()
        shared = {space.rows: self._registry.balanced(space, order.weights, control) for space in self._registry.spaces}
        wanted, constants, start = Layout(order.places, shared), self._constants(), perf_counter()
        self._planned = order.change
        # What was offered for a change that did not come about is in the way of what is offered now; nor may it go later.
        self._give_back(held, wait=True)
        control.Barrier()
        moved = self._rows.offer(constants, held, wanted, self._passing(order, ahead=True))
        control.Barrier()
        self._lie_there, self._planned_in = frozenset(each.name for each in constants), self._loop
        (move_s,), (moved_bytes,) = self._slowest_and_all([perf_counter() - start], [moved])
        if self._leads:
            planned = RowsPlanned(
                order.change,
                shared=wanted.as_records(),
                before=held.as_records(),
                places_before=held.places,
                constants=tuple(self._lie_there),
                matrices=self._rows.known.all_facts(constants),
                stood_s=perf_counter() - self._came_at,
                move_s=move_s,
                moved_bytes=moved_bytes,
            )
            say(self._link, planned)

    def _hand_over(self, handing: HandingOver, iteration: int) -> None:
        """Lay down all that is held, and sleep until a successor has it, or this world is to compute on."""
        offer, start = handing.offer, perf_counter()
        if self._leads:
            say(self._link, HandoverAgreed(offer.change))
        objects, copies = self._registry.objects, self._rows.copies(offer.change)
        ahead = self._still_ahead()
        self._lay()
        long_state = handing.long_state
        self._rows.on_all(lambda: copies.lay(objects, long_state) if self._leads else None)
        held, wanted = self._layout(), Layout.of(offer.places, offer.shared)
        moved = self._rows.offer(self._yet_to_move(ahead), held, wanted, self._passing(offer, ahead=False))
        moved += copies.move(objects, len(long_state), places_before=held.places, wanted=wanted, by_predecessor=True)
        move_s = perf_counter() - start
        (move_s,), (moved_bytes, closed) = self._slowest_and_all([move_s], [moved, self._once.hand_over()])
        if self._leads:
            handed_over = RowsHandedOver(
                offer.change,
                iteration=iteration,
                interval=self._length,
                stood_s=perf_counter() - self._came_at,
                move_s=move_s,
                moved_bytes=moved_bytes,
                before=held.as_records(),
                places_before=held.places,
                ahead=ahead,
                matrices=self._rows.known.all_facts(objects),
                state_bytes=len(long_state),
                state=base64.b64encode(handing.short_state).decode(),
                counters=self._sampler.events,
                exclusive=closed > 0,
            )
            say(self._link, handed_over)
        match hear(self._link, ComputeOn, Succeeded):
            case ComputeOn(_, why):
                self._lie_there = frozenset()
                self._rows.take_back()
                self._once.take_back(why)
                self._give_back(held)
            case Succeeded():
                self._once.leave()
                for each in with_rows(objects):
                    each.open_to_writing(False)
                raise RankLeaves

    def _slowest_and_all(self, seconds: list[float], bytes_: list[int]) -> tuple[list[float], list[int]]:
        """Return, to the first rank, the slowest rank's times and everybody's bytes, when all ranks have come so far."""
        control, mine = self.group.control, np.array([*seconds, *bytes_])
        everybody = np.empty((control.size, len(mine))) if self._leads else None
        control.Gather(mine, everybody)
        if everybody is None:
            return seconds, bytes_
        times, sizes = np.split(everybody, [len(seconds)], axis=1)
        return times.max(axis=0).tolist(), [int(total) for total in sizes.sum(axis=0)]

    # The successor.

    def wait_to_begin(self, loop: int, maximum: int) -> int | None:
        """Sleep until there is something to take over, and take it; see `Agreement.wait_to_begin`."""
        self._maximum = maximum
        registry, layout = self._registry, self._layout()
        # Now, beside the computation, and not when all wait for it.
        self._rows.prepare(self._yet_to_move(self._lie_there))
        self._once.tell_files_in_common(self._welcome, rank=self.group.control.rank)
        objects = tuple(map(_as_text, registry.descriptors()))
        say(self._link, ReadyAtLoop(loop, registry.digest(), objects, layout.as_records()))
        while True:
            match hear(self._link, SkipLoop, TakeRows):
                case SkipLoop(later) if later > loop:
                    return None
                case TakeRows(handed_over):
                    self._take(handed_over, layout)
                    self._begin_with(
                        loop=loop,
                        iteration=handed_over.iteration,
                        interval=handed_over.interval,
                        counters=handed_over.counters,
                    )
                    self.reconfigured()
                    if self._leads:
                        say(self._link, Computing(handed_over.change, perf_counter() - self._taken_at))
                    return handed_over.iteration

    def _take(self, there: RowsHandedOver, wanted: Layout) -> None:
        """Take all that this rank is to have; when this returns its world computes, and the predecessor touches nothing more."""
        rows, start = self._rows, perf_counter()
        rows.known.learn(there.matrices)
        held, objects = Layout.of(there.places_before, there.before), self._registry.objects
        copies = rows.copies(there.change)
        yet_to_move = self._yet_to_move(there.ahead)
        network = rows.bring(yet_to_move, held, wanted, self._passing(self._welcome, ahead=False))
        network += copies.move(
            objects, there.state_bytes, places_before=there.places_before, wanted=wanted, by_predecessor=False
        )
        moved = perf_counter()
        taken = sum(rows.take(each, each.rows) for each in yet_to_move)
        copies.take(
            objects, there.state_bytes, short_state=base64.b64decode(there.state), mapped=rows.copies_are_mapped
        )
        self._once.take(there.change)
        times, (bytes_network, bytes_all) = self._slowest_and_all(
            [moved - start, perf_counter() - moved], [network, taken]
        )
        self._taken_at = perf_counter()
        if self._leads:
            move_s, map_s = times
            bytes_node = max(0, bytes_all - bytes_network)
            say(self._link, RowsTaken(there.change, map_s, move_s, bytes_node, bytes_network))
        hear(self._link, BeginLoop)
        mark_output()
        self._once.begin()
        for each in self._constants():
            each.open_to_writing()
        self._registry.take_over()
        self._lie_there = frozenset()
        self._give_back(wanted)

    def _give_back(self, held: Layout, *, wait: bool = False) -> None:
        """Give back the memory of the node's files that no rank of this world needs, and maybe wait for it; not collective."""
        if self._rows.is_first_of_node:
            self._files.keep_only(self._rows.kept(self._registry.objects, held), wait=wait)


def _as_text(described: dict[str, object]) -> str:
    return json.dumps(described)
