"""What ranks tell the supervisor, and what follows from it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection
from dataclasses import asdict
from functools import partial
from typing import Protocol

from flexmpi.protocol.frames import Message
from flexmpi.protocol.handover import OF_RANKS, Welcome
from flexmpi.protocol.records import as_object, from_object
from flexmpi.runtime.job.application import Application
from flexmpi.runtime.job.handover_events import (
    PredecessorLost,
    SuccessorLost,
)
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.options import JobOptions
from flexmpi.runtime.job.reconfiguration import Stage
from flexmpi.runtime.job.roster import ProcessSet, RankId, Roster, Waiting
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.supervisor.handing_over import HandingOver
from flexmpi.runtime.supervisor.io_phases import IOPhases
from flexmpi.runtime.supervisor.meters import Meters
from flexmpi.runtime.supervisor.policy_in_force import PolicyInForce
from flexmpi.runtime.supervisor.reconfigurer import Reconfigurer
from flexmpi.runtime.supervisor.world_end import BEFORE_THE_END, RankEnds, how_it_failed, is_the_programs

LOST_LIMIT_S = 3.0
"""How soon a process set must have ended after one of its ranks has; a process set without one of its ranks is of no use."""

FIGURES = ("iteration", "bytes", "join_s", "balance_s", "move_s", "part_s", "stall_s")


class Watched(Protocol):
    """What the supervisor offers to the messages of its ranks."""

    options: JobOptions
    roster: Roster
    application: Application
    reconfigurer: Reconfigurer
    policy: PolicyInForce
    meters: Meters
    io_phases: IOPhases
    log: EventLog
    founders: list[list[RankId]]
    has_failed: bool

    def tell(self, ranks: Collection[RankId], kind: str, **fields: object) -> None:
        """Send a message to ranks."""

    def kill_process_set(self, number: int) -> None:
        """End a process set at once."""

    def fail(self, why: str, *, status: int = 1, traceback: str | None = None) -> None:
        """End the job with an error."""

    def warn(self, what: str) -> None:
        """Print a warning."""

    def refuse_successors(self, why: str, *, traceback: str) -> None:
        """Take no order any more that needs a successor: the program fails in one."""

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something done after a while, if the job lives so long."""

    def finish(self) -> None:
        """The application has ended its session."""

    def terminated(self) -> None:
        """The ranks have agreed to end."""

    def show(self, *lines: str) -> None:
        """Print in the application's output."""

    def interval_ended(self, latest: IntervalReport) -> None:
        """Take note of what was measured in a sampling interval."""


class RankEvents:
    """Keeps roster, application and reconfiguration up to date by what ranks say.

    Parameters
    ----------
    job
        The supervisor.

    Attributes
    ----------
    opened
        The ranks that have opened their session.
    """

    def __init__(self, job: Watched) -> None:
        self._job = job
        self.opened: set[RankId] = set()
        self._ends = RankEnds()
        self._missed: set[RankId] = set()

    def handle(self, rank: RankId, message: Message) -> None:
        """Understand one message; a kind that is not known is of a newer rank and does no harm, nor does one of the dead."""
        if rank.pset not in self._job.roster.psets:
            return
        if message["kind"] in OF_RANKS:
            for handing_over in self._handovers:
                handing_over.heard(rank, from_object(message, OF_RANKS))
        elif (handler := getattr(self, f"_on_{message['kind']}", None)) is not None:
            handler(rank, message)

    @property
    def _handovers(self) -> list[HandingOver]:
        handovers = self._job.reconfigurer.handovers
        return [] if handovers is None else handovers.all

    def _to_successor(self, ranks: Collection[RankId]) -> HandingOver | None:
        handovers = self._job.reconfigurer.handovers
        return None if handovers is None else handovers.to_successor(ranks)

    def _on_hello(self, rank: RankId, message: Message) -> None:
        self._job.roster.pids[rank] = message["pid"]
        self._missed.discard(rank)

    def _on_session(self, rank: RankId, message: Message) -> None:
        self.opened.add(rank)
        pset = self._job.roster.psets[rank.pset]
        if message["size"] != pset.size:
            # Each of these ranks takes itself for a world of its own, and would do all the work.
            self._job.kill_process_set(pset.number)
            where = (
                f"{self._job.roster.name(rank)} is one of {pset.size} ranks, but its MPI world has {message['size']}"
            )
            self.process_set_lost(
                pset, f"{where}: this mpiexec is not that of the MPI library it uses ({message['mpi']})"
            )
        elif self._belongs(rank) and message["obstacle"] is not None:
            self._job.application.obstacle = message["obstacle"]
        elif self._job.reconfigurer.handovers is not None:
            self._welcome(rank, pset)

    def _welcome(self, rank: RankId, pset: ProcessSet) -> None:
        """Tell a rank what its world is: at once where it is the first one, else when its rows are planned."""
        roster = self._job.roster
        if (handing_over := self._to_successor([rank])) is not None:
            handing_over.opened(rank)
        elif self._belongs(rank):
            weights = tuple(roster.speed_of(place) for place in pset.places)
            welcome = Welcome(pset.number, pset.places, weights, self._job.options.blocks)
            self._job.tell([rank], **as_object(welcome))

    def _on_loop(self, rank: RankId, message: Message) -> None:
        application = self._job.application
        if application.loop != message["loop"]:
            self._job.meters.begin_loop()
        self._job.meters.tell()
        application.loop, application.digest = message["loop"], message["digest"]
        application.maximum = message["maximum"]
        application.objects = _as_text(message["objects"])
        self._job.log.write("loop", loop=message["loop"], maximum=message["maximum"])
        for handing_over in self._handovers:
            handing_over.loop_began()

    def _on_sample(self, rank: RankId, message: Message) -> None:
        latest = IntervalReport(**{name: message[name] for name in IntervalReport.__annotations__})
        self._job.log.write("sample", loop=message["loop"], **asdict(latest))
        self._job.interval_ended(latest)

    def _on_imagined(self, rank: RankId, message: Message) -> None:
        self._job.policy.imagined(message)

    def _on_uncounted(self, rank: RankId, message: Message) -> None:
        self._job.meters.uncounted(self._job.roster.name(rank), message["refused"])

    def _on_loaded(self, rank: RankId, message: Message) -> None:
        if rank in self._job.roster.members:
            number, node = self._job.roster.members.index(rank), self._job.roster.node_of(rank)
            self._job.show(f"[{number}] Process spawned in {node} | Data loaded in {message['seconds']:f} secs.")

    def _on_io_begin(self, rank: RankId, message: Message) -> None:
        self._job.io_phases.begin(rank, message["size_bytes"])

    def _on_io_end(self, rank: RankId, message: Message) -> None:
        self._job.io_phases.end(rank)

    def _on_output_opened(self, rank: RankId, message: Message) -> None:
        """Tell who has opened a file; a world that may be dropped has not, and asks again when it computes."""
        outputs, path = self._job.application.outputs, message["path"]
        by = outputs.get(path)
        if message["computes"]:
            outputs.setdefault(path, rank.pset)
        self._job.tell([rank], "output_noted", first=by is None, by_another=by not in (None, rank.pset))

    def _on_waiting(self, rank: RankId, message: Message) -> None:
        declared = Waiting(message["loop"], message["digest"], _as_text(message["objects"]))
        self._job.roster.waiting[rank] = declared
        self._note_parted(rank)
        if self._job.application.finished:
            self._job.tell([rank], "release")

    def _on_assembled(self, rank: RankId, message: Message) -> None:
        if (current := self._job.reconfigurer.current) is not None and current.number == message["reconfiguration"]:
            current.assembled.add(rank)

    def _on_prepared(self, rank: RankId, message: Message) -> None:
        if (current := self._job.reconfigurer.current) is not None and current.number == message["reconfiguration"]:
            current.prepared.add(rank)

    def _on_port(self, rank: RankId, message: Message) -> None:
        """Pass a port on to those who are to connect to it, each of whom sleeps until it comes."""
        number, current = message["reconfiguration"], self._job.reconfigurer.current
        if number and (current is None or current.number != number):
            return  # Of a rank that comes too late.
        units = self._job.founders if current is None or not number else current.units
        awaited = self._job.roster.of_units(units, message["expected"])
        told = {name: message[name] for name in ("reconfiguration", "port", "expected")}
        self._job.tell(awaited, "port", **told, acceptor=rank)

    def _on_here(self, rank: RankId, message: Message) -> None:
        """Tell who opened a port that newcomers are about to connect to it."""
        self._job.tell([RankId(*message["acceptor"])], "here", reconfiguration=message["reconfiguration"])

    def _on_welcome(self, rank: RankId, message: Message) -> None:
        """Tell newcomers that rank 0 lets them in now."""
        self._tell_newcomers("welcome", message["reconfiguration"])

    def _on_unlink(self, rank: RankId, message: Message) -> None:
        """Tell newcomers that they are not to join after all."""
        self._tell_newcomers("unlink", message["reconfiguration"])

    def _tell_newcomers(self, kind: str, number: int) -> None:
        if (current := self._job.reconfigurer.current) is not None and current.number == number:
            self._job.tell(current.newcomers, kind, reconfiguration=number)

    def _on_phase(self, rank: RankId, message: Message) -> None:
        current = self._job.reconfigurer.current
        if current is not None and current.number == message["reconfiguration"] and not current.over:
            if current.stage is Stage.OFFERED:
                current.step(Stage.AGREED)
            current.phases[rank] = message["phase"]
            current.progress_at = time.monotonic()

    def _on_done(self, rank: RankId, message: Message) -> None:
        if (current := self._job.reconfigurer.current) is not None and current.number == message["reconfiguration"]:
            current.figures = {name: message[name] for name in FIGURES}

    def _on_failed(self, rank: RankId, message: Message) -> None:
        if (current := self._job.reconfigurer.current) is not None and current.number == message["reconfiguration"]:
            current.why = message["why"]

    def _on_deferred(self, rank: RankId, message: Message) -> None:
        if (current := self._job.reconfigurer.current) is not None and current.number == message["reconfiguration"]:
            current.deferred = True

    def _on_terminating(self, rank: RankId, message: Message) -> None:
        self._job.terminated()

    def _on_finished(self, rank: RankId, message: Message) -> None:
        if rank in self._job.roster.members:
            self._job.finish()

    def _on_failure(self, rank: RankId, message: Message) -> None:
        """A member's exception ends the job; a newcomer's, before it has joined, is its own affair and drops it."""
        name, text = self._job.roster.name(rank), message["traceback"]
        if self._belongs(rank):
            why = f"{name} raised an exception" if text else ""
            self._job.fail(why, status=message["status"], traceback=text)
            return
        how = how_it_failed(message)
        self._job.log.write("outsider_failed", rank=name, how=how, traceback=text)
        if is_the_programs(message) and self._to_successor([rank]) is not None:
            self._job.refuse_successors(f"{name} {how}", traceback=text or "")
        self._job.kill_process_set(rank.pset)
        self.process_set_lost(self._job.roster.psets[rank.pset], f"{name} {how}")

    def _on_bye(self, rank: RankId, message: Message) -> None:
        self._ends.said_bye.add(rank)
        self._note_parted(rank)

    def _note_parted(self, rank: RankId) -> None:
        """A rank that leaves reports no more phases, but that it is asleep, or ends."""
        if (current := self._job.reconfigurer.current) is not None:
            current.parted(rank)

    def _on_lost(self, rank: RankId, message: Message) -> None:
        self._job.io_phases.end(rank)
        self._ends.lost(rank)
        self._missed.add(rank)
        self._job.later(LOST_LIMIT_S, partial(self._end_without, rank))

    def _on_ended(self, rank: RankId, message: Message) -> None:
        self._ends.told(rank, message["status"])

    def _end_without(self, rank: RankId) -> None:
        """End a process set that has lost a rank and goes on, in vain, without it."""
        if (pset := self._job.roster.psets.get(rank.pset)) is not None and rank in self._missed:
            self._job.kill_process_set(rank.pset)
            cause = (
                self._ends.told_cause(pset, self._job.roster.name)
                or f"{self._job.roster.name(rank)} has gone without a word"
            )
            self.process_set_lost(pset, cause, status=self._ends.exit_status(pset.number, 1))

    def process_set_ended(self, message: Message) -> None:
        """A process set has ended, as its launcher reports; nothing of it is left."""
        if (pset := self._job.roster.psets.get(message["pset"])) is not None:
            self._see_end(pset, message)
        for handing_over in self._handovers:
            handing_over.gone(message["pset"])

    def _see_end(self, pset: ProcessSet, message: Message) -> None:
        """Note the end of a process set: well, or by a signal or a status of its own."""
        said_bye, ended = self._ends.said_bye.issuperset(pset.ranks), self._ends.first(pset.number)
        # A script that has done its work may skip the interpreter's exit by os._exit(0), for which mpiexec may kill others.
        finished = self._job.application.finished
        if (message["status"] == 0 and (said_bye or finished)) or (finished and ended is not None and ended[1] == 0):
            current = self._job.reconfigurer.current
            # A set that leaves may have ended before rank 0 is heard to say that all has been done.
            leaving = () if current is None or current.over else current.leaving
            if self._job.roster.stays(pset.number, leaving=leaving):
                self._job.finish()
            self._lose(pset, f"{self._job.roster.name(pset.ranks[0])} ended")
            self._take_out(pset)
        else:
            cause = self._ends.cause(pset, message, self._job.roster.name)
            self.process_set_lost(pset, cause, status=self._ends.exit_status(pset.number, message["status"]))

    def process_set_lost(self, pset: ProcessSet, cause: str, *, status: int = 1) -> None:
        """A process set has ended against expectation: a newcomer's is dropped, a member's ends the job."""
        is_member = any(self._belongs(rank) for rank in pset.ranks)
        handing_over = next((each for each in self._handovers if each.does_without_predecessor), None)
        if is_member and handing_over is not None:
            handing_over.predecessor_status = status
            handing_over.apply(PredecessorLost(cause))
        elif is_member:
            self._job.fail(cause, status=status)
        has_left = not is_member and not self._job.roster.retired.isdisjoint(pset.ranks)
        if not self._lose(pset, cause) and has_left and not self._job.has_failed:
            self._job.warn(f"{cause}; the application goes on")
        self._job.log.write("pset_lost", pset=pset.number, node=",".join(pset.nodes), member=is_member, cause=cause)
        self._take_out(pset)

    def _take_out(self, pset: ProcessSet) -> None:
        """Have nobody wait for a process set any more; what else comes of its ranks is not heard."""
        for rank in pset.ranks:
            self._job.io_phases.end(rank)
        self._job.roster.remove(pset.number)

    def _belongs(self, rank: RankId) -> bool:
        """Whether the application cannot go on without a rank: of its process sets, or in the middle of joining."""
        roster, current = self._job.roster, self._job.reconfigurer.current
        if not roster.members or any(rank.pset == member.pset for member in roster.members):
            return True
        return current is not None and current.stage is Stage.AGREED and rank in current.phases

    def _lose(self, pset: ProcessSet, cause: str) -> bool:
        """Note which newcomers of the reconfiguration under way are gone, if any are."""
        if (successor := self._to_successor(pset.ranks)) is not None:
            successor.apply(SuccessorLost(f"{cause.removesuffix(BEFORE_THE_END)} before it took over"))
            return True
        current = self._job.reconfigurer.current
        if current is None or current.over:
            return False
        gone = [rank for rank in current.newcomers if rank in pset.ranks]
        current.lost.update(dict.fromkeys(gone, cause))
        if gone and current.stage is Stage.AGREED:
            # Rank 0 need not wait for those who will not come.
            self._job.tell(self._job.roster.members[:1], "withdraw", reconfiguration=current.number)
        return bool(gone)


def _as_text(objects: list[dict[str, object]]) -> tuple[str, ...]:
    return tuple(json.dumps(described) for described in objects)
