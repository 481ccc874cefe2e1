"""One job's talk with the agent, whatever either says and whatever happens between them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from flexmpi.protocol.messages import (
    Acknowledged,
    Done,
    Ended,
    Failed,
    FromAgent,
    FromSupervisor,
    Refused,
    Register,
    Registered,
    Rejected,
    Resize,
    Sample,
    Stop,
    Unknown,
)
from flexmpi.runtime.agent.conversation import (
    Act,
    AnyCommand,
    CarryOut,
    Problem,
    State,
)
from tests.runtime.agent.talks import ONE, SAMPLE, Talk, order, said

messages = st.one_of(
    st.builds(Registered, epoch=st.integers(0, 5)),
    st.just(Unknown()),
    st.just(Rejected(why="no")),
    st.builds(order, st.sampled_from("abcdef"), epoch=st.integers(0, 5)),
    st.builds(Stop, id=st.sampled_from("stuv"), epoch=st.integers(0, 5), cause=st.just("test")),
)


class Anything(RuleBasedStateMachine):
    """A job and an agent between which everything may get lost, and that may both be restarted or late."""

    @initialize()
    def begin(self) -> None:
        self.talk = Talk()
        self.begun: dict[str, AnyCommand] = {}
        self.outcomes: dict[str, type[FromSupervisor]] = {}
        self.ended = False

    def look(self, acts: list[Act]) -> None:
        """See that what is said fits what has happened."""
        job = self.talk.job
        for message in said(acts):
            assert not isinstance(message, Sample | Ended) or not self.ended
            if isinstance(message, Register):
                assert set(message.unfinished) == set(self.begun) - set(self.outcomes)
                assert message.epoch == job.fence.newest
            if isinstance(message, Acknowledged):
                assert message.id in self.begun
            if isinstance(message, Done | Failed):
                assert self.outcomes[message.id] is type(message)
            if isinstance(message, Refused):
                assert message.id not in self.begun
        for act in acts:
            if isinstance(act, CarryOut):
                assert act.command.id not in self.begun, "carried out twice"
                assert act.command.epoch == job.fence.newest

    @rule(message=messages, does=st.booleans())
    def agent_says(self, message: FromAgent, does: bool) -> None:
        acts = self.talk.hear(message)
        self.look(acts)
        for act in acts:
            if isinstance(act, CarryOut) and does:
                self.begun[act.command.id] = act.command
                self.look(self.talk.job.taken(act.command))
            elif isinstance(act, CarryOut):
                self.look(self.talk.job.refused(act.command, "cannot"))

    @rule(data=st.binary(max_size=30))
    def somebody_says_anything(self, data: bytes) -> None:
        assert all(isinstance(act, Problem) for act in self.talk.job.received(data, ONE))

    @rule(fails=st.booleans(), pick=st.integers(0, 9))
    def a_command_is_over(self, fails: bool, pick: int) -> None:
        left = [command for name, command in self.begun.items() if name not in self.outcomes]
        if left and not self.ended:
            command = left[pick % len(left)]
            self.outcomes[command.id] = Failed if fails else Done
            job = self.talk.job
            self.look(job.failed(command, ONE, why="no") if fails else job.done(command, ONE, cost=None))

    @rule(happens=st.sampled_from(["connected", "tick", "proved", "unproved", "sampled"]))
    def something_happens(self, happens: str) -> None:
        job = self.talk.job
        doing: dict[str, Callable[[], list[Act]]] = {
            "connected": job.connected,
            "tick": job.tick,
            "proved": lambda: job.proved("credential", ONE),
            "unproved": lambda: job.unproved("why"),
            "sampled": lambda: job.sampled(SAMPLE),
        }
        self.look(doing[happens]())

    @rule()
    def the_connection_is_lost(self) -> None:
        self.talk.job.disconnected()

    @rule(seconds=st.floats(0, 100))
    def time_passes(self, seconds: float) -> None:
        self.talk.now += seconds

    @rule(data=st.data())
    def the_job_ends(self, data: Any) -> None:
        if data.draw(st.integers(0, 19)) == 0:
            open_ones = {name: command for name, command in self.begun.items() if name not in self.outcomes}
            was_known = self.talk.job.state is State.KNOWN
            self.outcomes |= {name: Done if isinstance(it, Stop) else Failed for name, it in open_ones.items()}
            acts = self.talk.job.ended(status=0, why=None)
            self.look(acts)
            assert isinstance(said(acts)[-1], Ended) if was_known else acts == []
            self.ended = True

    @invariant()
    def nothing_that_was_begun_is_forgotten(self) -> None:
        if not self.ended:
            assert set(self.talk.job.unfinished) == set(self.begun) - set(self.outcomes)


Anything.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None, derandomize=True)
test_anything_may_happen_in_any_order = Anything.TestCase


@given(st.lists(messages, max_size=20))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_every_command_is_answered_once_a_job_is_known(heard: list[FromAgent]) -> None:
    talk = Talk().known()
    for message in heard:
        answers = said(talk.hear(message))
        if isinstance(message, Resize | Stop) and talk.job.state is State.KNOWN:
            begun = message.id not in [answer.id for answer in answers]  # type: ignore[union-attr]
            assert not begun or len(said(talk.job.taken(message))) == 1
