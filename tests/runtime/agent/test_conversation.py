"""One job's talk with the agent, step by step and by chance, with no socket and no clock."""

from __future__ import annotations

import pytest

from flexmpi.protocol.messages import (
    Acknowledged,
    Balance,
    Done,
    Ended,
    Failed,
    FromAgent,
    Refused,
    Register,
    Registered,
    Rejected,
    Stop,
    Unknown,
    Withdraw,
)
from flexmpi.runtime.agent.conversation import (
    ANSWER_LIMIT_S,
    ENDED_FIRST,
    FIRST_PAUSE_S,
    LONGEST_PAUSE_S,
    PATIENCE_S,
    QUIET_S,
    REMEMBERED,
    CarryOut,
    Joined,
    Problem,
    Prove,
    State,
    TakeBack,
)
from tests.runtime.agent.talks import COST, FACTS, ONE, SAMPLE, TWO, Talk, order, said

# Registering


def test_a_job_proves_itself_registers_and_is_known() -> None:
    talk = Talk()
    assert talk.job.connected() == [Prove()]
    (sent,) = said(talk.job.proved("credential", TWO))
    assert sent == Register(**vars(FACTS), nodes=TWO, epoch=0, unfinished=(), credential="credential")
    assert talk.hear(Registered(epoch=5)) == [Joined()]
    assert talk.job.fence.newest == 5


def test_a_job_registers_again_with_what_it_has_seen_and_not_finished() -> None:
    talk = Talk().known()
    talk.begun(order(epoch=4))
    assert talk.hear(Unknown()) == [Prove()]
    (again,) = said(talk.job.proved("new", TWO))
    assert (again.epoch, again.unfinished, again.credential) == (4, ("1",), "new")
    assert talk.hear(Registered(epoch=4)) == []  # it is known already: nothing that a person should know


@pytest.mark.parametrize("message", [Unknown(), Registered(epoch=3)])
def test_an_answer_to_something_earlier_changes_nothing_while_a_job_registers(message: FromAgent) -> None:
    talk = Talk()
    talk.job.connected()
    assert talk.hear(message) == []
    assert talk.job.state is State.PROVING


def test_a_registration_that_is_not_answered_is_made_again_and_said_when_patience_ends() -> None:
    talk = Talk()
    talk.job.connected()
    talk.job.proved("credential", ONE)
    talk.now += ANSWER_LIMIT_S - 1
    assert talk.job.tick() == []
    talk.now += 1
    assert talk.job.tick() == [Prove()]
    talk.job.proved("credential", ONE)
    talk.now += max(ANSWER_LIMIT_S, PATIENCE_S)
    problem, prove = talk.job.tick()
    assert problem == Problem("it does not answer; the job runs on without it") and prove == Prove()


def test_nobody_is_told_of_an_agent_that_is_restarted_soon() -> None:
    talk = Talk().known()
    talk.now += 1000 * QUIET_S
    talk.job.disconnected()
    talk.now += PATIENCE_S - 1
    assert talk.job.tick() == []
    talk.now += 1
    assert [type(act) for act in talk.job.tick()] == [Problem]


def test_a_refused_job_tries_again_later_and_later() -> None:
    talk = Talk()
    talk.job.connected()
    pause_s = FIRST_PAUSE_S
    for _ in range(10):
        talk.job.proved("credential", ONE)
        assert talk.hear(Rejected(why="not yours")) == [Problem("it does not take this job: not yours")]
        talk.now += pause_s - 0.1
        assert talk.job.tick() == []
        talk.now += 0.1
        assert talk.job.tick() == [Prove()]
        pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
    talk.job.proved("credential", ONE)
    assert talk.hear(Registered(epoch=0)) == [Joined()]


def test_without_a_credential_a_job_tries_again_later() -> None:
    talk = Talk()
    talk.job.connected()
    assert talk.job.unproved("munged is down") == [Problem("no credential for it: munged is down")]
    assert talk.job.proved("late", ONE) == []
    talk.now += FIRST_PAUSE_S
    assert talk.job.tick() == [Prove()]


def test_a_quiet_job_registers_again_so_that_it_is_not_taken_for_dead() -> None:
    talk = Talk().known()
    talk.now += QUIET_S - 1
    assert said(talk.job.sampled(SAMPLE)) == [SAMPLE]
    talk.now += QUIET_S - 1
    assert talk.job.tick() == []
    talk.now += 1
    assert talk.job.tick() == [Prove()]


def test_a_message_that_is_not_taken_is_told_and_nothing_else_happens() -> None:
    talk = Talk().known()
    assert talk.hear(Rejected(why="what?")) == [Problem("it does not take a message: what?")]
    (problem,) = talk.job.received(b"{}", ONE)
    assert isinstance(problem, Problem) and "is missing" in problem.what
    assert talk.job.state is State.KNOWN


def test_samples_are_for_who_is_there() -> None:
    talk = Talk()
    assert talk.job.sampled(SAMPLE) == []
    talk.known()
    assert said(talk.job.sampled(SAMPLE)) == [SAMPLE]
    talk.job.disconnected()
    assert talk.job.sampled(SAMPLE) == []


# Commands


def test_a_command_is_carried_out_once_and_answered_by_how_it_is() -> None:
    talk = Talk().known()
    command = talk.begun(order())
    assert said(talk.hear(command)) == [Acknowledged(id="1")]
    assert said(talk.job.done(command, ONE, cost=COST)) == [Done(id="1", cost=COST, nodes=ONE)]
    assert said(talk.hear(command)) == [Done(id="1", cost=COST, nodes=TWO)]  # with the nodes held by then
    assert talk.job.unfinished == {}


def test_a_failure_and_a_refusal_are_repeated_too() -> None:
    talk = Talk().known()
    command = talk.begun(order())
    assert said(talk.job.failed(command, ONE, why="no")) == [Failed(id="1", why="no", nodes=ONE)]
    assert said(talk.hear(command)) == [Failed(id="1", why="no", nodes=TWO)]
    second = order("2", epoch=3)
    assert talk.hear(second) == [CarryOut(second)]
    assert said(talk.job.refused(second, "cannot")) == [Refused(id="2", why="cannot", epoch=3)]
    assert said(talk.hear(second)) == [Refused(id="2", why="cannot", epoch=3)]


def test_a_command_of_an_older_plan_is_refused_and_one_that_comes_again_is_known_whatever_its_epoch() -> None:
    talk = Talk().known(epoch=5)
    why = "epoch 4 is older than 5, the newest this job has seen"
    assert said(talk.hear(order("old", epoch=4))) == [Refused(id="old", why=why, epoch=5)]
    talk.begun(order("new", epoch=6))
    talk.begun(Balance(id="newer", epoch=9, cause="test"))
    assert said(talk.hear(order("new", epoch=6))) == [Acknowledged(id="new")]


def test_what_becomes_of_a_command_while_the_agent_is_away_is_told_when_it_is_back() -> None:
    talk = Talk().known()
    command = talk.begun(order())
    talk.job.disconnected()
    assert talk.job.done(command, ONE, cost=COST) == []
    talk.job.connected()
    (again,) = said(talk.job.proved("credential", TWO))
    assert again.unfinished == ()
    joined, told = talk.hear(Registered(epoch=1))
    assert (joined, said([told])) == (Joined(), [Done(id="1", cost=COST, nodes=TWO)])
    assert talk.hear(Registered(epoch=1)) == []


def test_a_command_that_comes_while_a_job_registers_is_answered_when_it_is_known() -> None:
    talk = Talk().known()
    talk.hear(Unknown())
    command = order()
    assert talk.hear(command) == [CarryOut(command)]
    assert talk.job.taken(command) == []
    talk.job.proved("credential", ONE)
    assert said(talk.hear(Registered(epoch=0))) == [Acknowledged(id="1")]


def test_a_command_is_taken_back_while_it_is_under_way_and_answered_as_ever_when_it_is_over() -> None:
    talk = Talk().known()
    command = talk.begun(order())
    withdrawal = Withdraw(id=command.id, why="needed")
    assert talk.hear(withdrawal) == [TakeBack(command, "needed")]
    assert talk.hear(withdrawal) == [TakeBack(command, "needed")]
    (failed,) = said(talk.job.failed(command, ONE, why="needed"))
    assert said(talk.hear(withdrawal)) == [failed.model_copy(update={"nodes": TWO})]


def test_a_command_that_comes_after_its_withdrawal_is_refused() -> None:
    talk = Talk().known(epoch=3)
    refused = Refused(id="1", why="needed", epoch=3)
    assert said(talk.hear(Withdraw(id="1", why="needed"))) == [refused]
    assert said(talk.hear(order(epoch=4))) == [refused]


def test_a_thousand_commands_are_remembered_and_those_under_way_always() -> None:
    talk = Talk().known()
    open_one = talk.begun(order("open"))
    for number in range(REMEMBERED + 5):
        talk.job.done(talk.begun(order(f"{number}")), ONE, cost=None)
    assert said(talk.hear(open_one)) == [Acknowledged(id="open")]
    assert said(talk.hear(order("4"))) == []
    assert said(talk.hear(order("5"))) == [Done(id="5", nodes=TWO)]


# The end


def test_the_end_says_what_became_of_each_command() -> None:
    talk = Talk().known()
    talk.begun(order("grow"))
    talk.begun(Stop(id="stop", epoch=1, cause="test"))
    assert said(talk.job.ended(status=143, why=None)) == [
        Failed(id="grow", why=ENDED_FIRST),
        Done(id="stop"),
        Ended(status=143),
    ]
    assert talk.job.ended(status=0, why=None) == []
    assert talk.hear(order("late")) == []
    assert talk.job.connected() == []
    assert talk.job.tick() == []


def test_the_end_waits_for_nobody_who_is_not_there() -> None:
    talk = Talk().known()
    talk.begun(order())
    talk.job.disconnected()
    assert talk.job.ended(status=0, why="x") == []


def test_a_step_that_is_not_in_the_table_raises() -> None:
    talk = Talk()
    talk.job.state = State.ENDED
    with pytest.raises(ValueError, match="cannot go from ended to proving"):
        talk.job._step(State.PROVING)
