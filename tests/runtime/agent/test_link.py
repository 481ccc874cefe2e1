"""Real MPI jobs and an agent that the test plays: the counterpart over a real encrypted socket."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from flexmpi.protocol.auth import Identity
from flexmpi.protocol.messages import (
    Acknowledged,
    Balance,
    Done,
    Ended,
    Failed,
    Refused,
    Register,
    Registered,
    Rejected,
    Resize,
    Sample,
    Stop,
    Unknown,
    Withdraw,
)
from flexmpi.trust.contact import Card, publish
from flexmpi.trust.keys import CurveKeys
from tests.agents import ScriptedAgent, held
from tests.applications import PROGRAMS, Application, wait_until

COUNTING = (PROGRAMS / "counting.py", "--pause=0.002")


@pytest.fixture
def job(start: Callable[..., Application], folder: Path, tmp_path: Path) -> Callable[..., Application]:
    """Start a job of two ranks on the first of three nodes, that may have up to three."""
    corefile = tmp_path / "three.core"
    corefile.write_text("n1:4\nn2:2\nn3:2\n")

    def start_one(
        *options: object, program: tuple[object, ...] = COUNTING, environment: dict[str, str] | None = None
    ) -> Application:
        usual = (f"--corefile={corefile}", "--nodes=1-3", "-n2", "--interval=0.1s", f"--agent={folder}")
        return start(*usual, *options, *program, environment=environment)

    return start_one


def test_a_job_registers_as_what_it_is_and_tells_what_it_measures(agent, job):
    application = job()
    said = agent.until(Register)
    assert agent.identity_of(said) == Identity(os.geteuid(), os.getegid())
    assert (held(said.nodes), said.minimum_nodes, said.maximum_nodes) == ({"n1": 2}, 1, 3)
    assert (said.job_id, said.name, said.uid, said.processes_per_node) == (None, "counting.py", os.getuid(), 2)
    address = application.address()
    assert (said.udp.host, said.udp.port) == (address.host, address.port)
    agent.tell(Registered(epoch=0))
    first, second = agent.until(Sample), agent.until(Sample)
    assert held(first.nodes) == {"n1": 2}
    assert second.iteration > first.iteration and second.iterations > 0
    assert 0 < second.mean_busy_s <= second.slowest_real_s
    assert application.wait_for("agent")["registered"]
    application.send("5:")
    assert agent.until(Ended).status == 143


def test_a_job_grows_and_shrinks_as_the_agent_orders_and_says_what_it_cost(agent, job):
    application = job()
    agent.admit()
    done = agent.carried_out(agent.resize(add=("n2", "n3")))
    assert held(done.nodes) == {"n1": 2, "n2": 2, "n3": 2}
    assert done.cost.start_s > 0 and done.cost.stall_s > 0 and done.cost.join_s > 0
    event = application.wait_for("reconfiguration")
    assert (event["start_s"], event["stall_s"], event["bytes"]) == (
        done.cost.start_s,
        done.cost.stall_s,
        done.cost.moved_bytes,
    )
    done = agent.carried_out(agent.resize(leave=("n3",)))
    assert (held(done.nodes), done.cost.start_s) == ({"n1": 2, "n2": 2}, None)
    done = agent.carried_out(agent.resize(add=("n3",), leave=("n2",)))
    assert held(done.nodes) == {"n1": 2, "n3": 2}
    assert [application.wait_for("reconfiguration")["ranks_after"] for _ in range(2)] == [4, 4]
    agent.tell(Balance(id="balance", epoch=1, cause="test"))
    assert agent.until(Done).cost.balance_s >= 0
    agent.tell(Stop(id="stop", epoch=1, cause="test"))
    assert agent.until(Acknowledged).id == "stop"
    assert agent.until(Done).id == "stop"
    assert agent.until(Ended).status == 143
    assert application.finish()[0] == 143


def test_a_command_is_carried_out_once_however_often_it_comes(agent, job):
    application = job()
    agent.admit()
    command = agent.resize(add=("n2",))
    for _ in range(3):
        agent.tell(command)
    assert held(agent.carried_out(command).nodes) == {"n1": 2, "n2": 2}
    agent.tell(command)
    again = agent.until(Done)
    assert (again.id, held(again.nodes)) == (command.id, {"n1": 2, "n2": 2})
    assert application.wait_for("reconfiguration")["ranks_after"] == 4
    application.send("5:")
    agent.until(Ended)
    assert not [event for event in application.seen if event["event"] == "order" and event["outcome"] == "refused"]


def test_what_cannot_be_done_is_refused_with_the_reason_and_changes_nothing(agent, job):
    job("--nodes=1-2")
    agent.admit(epoch=5)

    def refusal(command: Resize) -> str:
        refused = agent.until(Refused)
        assert (refused.id, refused.epoch) == (command.id, 5)
        return refused.why

    assert refusal(agent.resize(epoch=4, add=("n2",))) == "epoch 4 is older than 5, the newest this job has seen"
    assert refusal(agent.resize(epoch=5, leave=("n1",))) == "n1 is the node this job cannot leave"
    assert refusal(agent.resize(epoch=5, leave=("n2",))) == "n2 is not a node of this job, which has n1"
    assert refusal(agent.resize(epoch=5, add=("n1",))) == "n1 has 2 ranks of this job already"
    unknown = "n9 is not a node that this job may have, expected one of n1, n2, n3"
    assert refusal(agent.resize(epoch=5, add=("n9",))) == unknown
    too_many = "the change would put ranks on 3 nodes, above the maximum of 2"
    assert refusal(agent.resize(epoch=5, add=("n2", "n3"))) == too_many
    assert held(agent.until(Sample).nodes) == {"n1": 2}


def test_a_program_of_fixed_size_refuses_to_change(agent, job):
    job(program=(PROGRAMS / "fixed_mpi.py",))
    agent.admit()
    agent.until(Sample)
    agent.resize(add=("n2",))
    assert agent.until(Refused).why.startswith("this application has a fixed size: ")


@pytest.fixture
def sleeping_newcomers(tmp_path: Path) -> tuple[object, ...]:
    """A program whose newcomers never get ready."""
    return (PROGRAMS / "newcomers.py", f"--until={tmp_path / 'never'}", "--newcomers=sleep,sleep")


def test_a_change_that_fails_is_told_with_the_reason_and_the_node_is_not_held(agent, job, sleeping_newcomers):
    job("--ready-timeout=2", program=sleeping_newcomers)
    agent.admit()
    command = agent.resize(add=("n2",))
    failed = agent.until(Failed)
    assert failed.id == command.id
    assert "new ranks were not ready within 2 s" in failed.why
    assert (held(failed.nodes), failed.cost) == ({"n1": 2}, None)


def test_a_change_that_is_taken_back_ends_at_once_and_makes_way_for_another(agent, job, sleeping_newcomers):
    job("--ready-timeout=300", program=sleeping_newcomers)
    agent.admit()
    command = agent.resize(add=("n2",))
    agent.until(Acknowledged, id=command.id)
    while held(agent.until(Sample).nodes) != {"n1": 2, "n2": 0}:
        pass  # its launcher is there, and the ranks sleep
    behind = agent.resize(add=("n3",))
    agent.until(Acknowledged, id=behind.id)
    agent.tell(Withdraw(id=behind.id, why="taken back: not its turn yet"))
    failed = agent.until(Failed)
    assert (failed.id, failed.why) == (behind.id, "taken back: not its turn yet")
    agent.tell(Withdraw(id=command.id, why="taken back: job 9 can start then"))
    failed = agent.until(Failed)
    assert (failed.id, failed.why) == (command.id, "taken back: job 9 can start then")
    assert (held(failed.nodes), failed.cost) == ({"n1": 2}, None)
    agent.tell(Balance(id="balance", epoch=1, cause="test"))
    agent.until(Done, id="balance")


def test_a_change_that_is_done_is_not_taken_back(agent, job):
    job()
    agent.admit()
    command = agent.resize(add=("n2",))
    agent.carried_out(command)
    agent.tell(Withdraw(id=command.id, why="taken back: too late"))
    assert held(agent.until(Done, id=command.id).nodes) == {"n1": 2, "n2": 2}


def test_an_agent_that_does_not_know_the_job_any_more_gets_a_new_registration(agent, job):
    job()
    first = agent.admit(epoch=2)
    agent.carried_out(agent.resize(epoch=3, add=("n2",)))
    agent.until(Sample)
    agent.tell(Unknown())
    again = agent.admit(epoch=3)
    assert (again.job_key, again.epoch, held(again.nodes)) == (first.job_key, 3, {"n1": 2, "n2": 2})
    assert again.unfinished == ()


def test_an_agent_that_is_restarted_at_the_same_port_is_found_again_without_a_word(folder, job):
    with ScriptedAgent(folder) as agent:
        application = job()
        key, port = agent.admit().job_key, agent.port
        agent.until(Sample)
    with ScriptedAgent(folder, port=port) as agent:
        again = agent.admit()
        assert again.job_key == key
        agent.until(Sample)
        application.send("5:")
        agent.until(Ended)
    assert "warning" not in application.finish()[2]


def test_an_agent_that_comes_back_at_another_port_with_another_key_is_found(folder, job):
    with ScriptedAgent(folder) as agent:
        application = job()
        key = agent.admit().job_key
        command = agent.resize(add=("n2",))
        agent.until(Acknowledged, id=command.id)
    application.wait_for("order", outcome="done")
    (folder / "agent.secret").unlink()
    with ScriptedAgent(folder) as agent:
        again = agent.admit(epoch=7)
        assert (again.job_key, held(again.nodes)) == (key, {"n1": 2, "n2": 2})
        assert agent.until(Done).id == command.id
        agent.carried_out(agent.resize(epoch=8, leave=("n2",)))


def test_an_agent_that_is_there_later_than_the_job_is_found(folder, job):
    application = job()
    event = application.wait_for("agent")
    assert not event["registered"]
    assert event["why"].startswith(f"no agent in {folder}: it has no agent.json")
    with ScriptedAgent(folder) as agent:
        agent.admit()
        assert application.wait_for("agent", registered=True)["address"] == f"tcp://127.0.0.1:{agent.port}"
        application.send("5:")
        agent.until(Ended)
    assert application.finish()[2].count("flexmpi: warning") == 1


def test_whoever_listens_without_the_agents_key_learns_nothing_and_the_job_runs_on(folder, job):
    with ScriptedAgent(folder, keys=CurveKeys.fresh()) as stranger:
        ScriptedAgent(folder).close()  # its key is the one in the folder
        publish(folder, Card(address=f"tcp://127.0.0.1:{stranger.port}", authority="local"))
        application = job("--listen=0")
        why = application.wait_for("agent", registered=False)["why"]
        assert why == (
            f"whoever listens at tcp://127.0.0.1:{stranger.port} does not prove that it has the key "
            f"{folder}/agent.public; the job runs without an agent"
        )
        assert application.change("6:n2:1")["outcome"] == "done"
        assert stranger.silent()


def test_a_job_that_the_agent_does_not_take_runs_on_and_says_so_once(agent, job):
    application = job()
    for _ in range(2):
        agent.until(Register)
        agent.tell(Rejected(why="only its owner may register it"))
    agent.admit()
    assert application.wait_for("agent", registered=True)
    application.send("5:")
    agent.until(Ended)
    said = f"flexmpi: warning: agent at tcp://127.0.0.1:{agent.port}: it does not take this job: only its owner may "
    assert application.finish()[2].count(said) == 1


def test_without_munge_a_job_runs_on_and_ends_in_time(agent, job, folder, tmp_path):
    nothing = tmp_path / "munge.socket"
    card = Card(address=f"tcp://127.0.0.1:{agent.port}", authority="munge", munge_socket=nothing)
    publish(folder, card)
    application = job()
    why = application.wait_for("agent", registered=False)["why"]
    assert why.startswith(f"agent at tcp://127.0.0.1:{agent.port}: no credential for it: ")
    assert application.change("6:n2:1")["outcome"] == "done"
    application.send("5:")
    assert application.finish()[0] == 143


def test_a_munge_that_hangs_holds_up_neither_the_job_nor_its_end(agent, job, folder, tmp_path):
    card = Card(address=f"tcp://127.0.0.1:{agent.port}", authority="munge")
    publish(folder, card)
    begun = tmp_path / "begun"
    hanging = tmp_path / "munge"
    hanging.write_text(f"#!/bin/sh\ntouch {begun}\nexec sleep 3600\n")
    hanging.chmod(0o755)
    application = job(environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    application.wait_for("sample")
    wait_until(begun.exists, what="munge runs")
    assert application.change("6:n2:1")["outcome"] == "done"
    application.send("5:")
    assert application.finish()[0] == 143


def test_a_job_that_ends_with_a_command_open_says_what_became_of_it(agent, job, sleeping_newcomers):
    application = job("--ready-timeout=60", program=sleeping_newcomers)
    agent.admit()
    command = agent.resize(add=("n2",))
    agent.until(Acknowledged, id=command.id)
    application.process.send_signal(signal.SIGTERM)
    failed = agent.until(Failed)
    assert (failed.id, failed.why) == (command.id, "the application ended first")
    ended = agent.until(Ended)
    assert (ended.status, ended.why) == (143, "ended by SIGTERM")


def test_a_job_ends_as_ever_when_its_agent_is_gone(job, folder):
    agent = ScriptedAgent(folder)
    try:
        application = job()
        agent.admit()
        agent.until(Sample)
    finally:
        agent.close()
    application.send("5:")
    assert application.finish()[0] == 143


def test_a_node_is_held_until_its_launcher_has_ended(agent, job):
    """Whatever is told in between: a node that was left is there without ranks until it is gone."""
    job()
    agent.admit()
    agent.carried_out(agent.resize(add=("n2", "n3")))
    before = len(agent.seen)
    agent.carried_out(agent.resize(leave=("n2", "n3")))
    told = [held(message.nodes) for message in agent.seen[before:] if isinstance(message, Sample | Done)]
    sizes = [sum(nodes.values()) for nodes in told]
    assert sizes == sorted(sizes, reverse=True)
    assert told[-1] == {"n1": 2}


def test_a_job_without_an_agent_loads_neither_zmq_nor_pydantic(start):
    application = start("--agent=none", "-n1", *COUNTING)
    application.wait_for("sample")
    mapped = Path(f"/proc/{application.process.pid}/maps").read_text()
    assert "zmq" not in mapped and "pydantic" not in mapped
    application.send("5:")
    assert application.finish()[0] == 143


def test_commands_of_a_user_are_told_to_the_agent_as_nodes_held(agent, job):
    application = job()
    agent.admit()
    assert application.change("6:n2:1:n3:2")["outcome"] == "done"
    while held(agent.until(Sample).nodes) != {"n1": 2, "n2": 1, "n3": 2}:
        pass
    agent.carried_out(agent.resize(leave=("n3",)))
    assert application.change("6:n2:-1")["outcome"] == "done"
    while held(agent.until(Sample).nodes) != {"n1": 2}:
        pass


def test_a_node_where_ranks_only_wait_is_given_back_when_the_agent_takes_it(agent, job):
    application = job()
    agent.admit()
    assert application.change("13:n2:1")["outcome"] == "done"
    while held(agent.until(Sample).nodes) != {"n1": 2, "n2": 0}:
        pass
    outcome = agent.carried_out(agent.resize(leave=("n2",)))
    assert held(outcome.nodes) == {"n1": 2}
