"""The commands that change something: what is asked of the agent, what is printed of its answers, and the exit status."""

from __future__ import annotations

import json

import pytest

from flexmpi.cli import changes
from flexmpi.cli.resize import how_many_or_which
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.messages import Cost, Done, Failed, NodeRanks, Rejected
from flexmpi.protocol.replies import Accepted, HistoryList, HistoryRow, Settings
from flexmpi.protocol.requests import (
    AnyRequest,
    Balance,
    Expand,
    History,
    SetMode,
    SetPolicy,
    Shrink,
    Stop,
)
from flexmpi.protocol.wire import Message
from tests.cli.conftest import Flexmpi, Serve
from tests.cli.scripted_agent import Script

COST = Cost(
    start_s=0.31, join_s=0.0112, balance_s=0.0001, move_s=0.003, part_s=0.0, stall_s=0.0184, moved_bytes=1_200_000
)
HELD = (NodeRanks(node="node2", ranks=4), NodeRanks(node="node1", ranks=4), NodeRanks(node="node3", ranks=4))
WHAT = "expand 12 by node3"


def accepting(*outcomes: Message) -> Script:
    """Accept everything and report these outcomes."""

    def script(request: AnyRequest) -> list[Message]:
        accepted = Accepted(id="c7", what=WHAT, job="12", dry_run=request.dry_run)
        return [accepted] if request.dry_run else [accepted, *outcomes]

    return script


DONE = accepting(Done(id="c7", cost=COST, nodes=HELD))
FAILED = accepting(Failed(id="c7", why="node3 was not granted within 15 s"))


@pytest.mark.parametrize(
    ("arguments", "kind", "fields"),
    [
        (["expand", "12"], Expand, {"job": "12", "count": None, "nodes": ()}),
        (["expand", "12", "2"], Expand, {"job": "12", "count": 2, "nodes": ()}),
        (["expand", "12", "node[1-2],x"], Expand, {"job": "12", "count": None, "nodes": ("node1", "node2", "x")}),
        (["shrink", "j.a-b", "1"], Shrink, {"job": "j.a-b", "count": 1}),
        (["balance", "12"], Balance, {"job": "12"}),
        (["stop", "12"], Stop, {"job": "12"}),
        (["policy", "fill"], SetPolicy, {"name": "fill"}),
        (["mode", "drain"], SetMode, {"mode": "drain"}),
    ],
)
def test_the_agent_is_asked_for_what_the_command_line_says(
    flexmpi: Flexmpi, serve: Serve, arguments: list[str], kind: type[AnyRequest], fields: dict[str, object]
) -> None:
    agent = serve(DONE)
    accepted = flexmpi(*arguments)
    assert (accepted.status, accepted.output, accepted.errors) == (0, f"accepted: {WHAT}\n", "")
    request = agent.asked.get_nowait()
    assert type(request) is kind
    assert {name: getattr(request, name) for name in fields} == fields
    assert not request.dry_run


@pytest.mark.parametrize("text", ["0", "-1", "+2", "node[", "node[3-1]", "", "a,,b"])
def test_what_is_neither_a_number_nor_a_list_of_nodes_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected how many nodes, or a list such as node"):
        how_many_or_which(text)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["expand", "12 13"], "expand, field job: expected a job's number or key, got '12 13'"),
        (["expand", "12", "n1,n1"], "expand, field nodes: expected each node once"),
        (["expand", "12", "n@1"], "expand, field nodes.0: expected the name of a node, got 'n@1'"),
        (["expand", "12", "1000001"], "expand, field count: expected less than or equal to 1000000, got 1000001"),
        (["policy", "a b"], "policy, field name: expected the name of a policy, got 'a b'"),
    ],
)
def test_a_request_that_makes_no_sense_is_not_sent(
    flexmpi: Flexmpi, serve: Serve, arguments: list[str], complaint: str
) -> None:
    agent = serve(DONE)
    refused = flexmpi(*arguments)
    assert (refused.status, refused.output) == (2, "")
    assert refused.errors.startswith(f"flexmpi: error: {complaint}")
    assert agent.asked.empty()


def test_what_is_to_be_over_first_is_said(flexmpi: Flexmpi, serve: Serve) -> None:
    def script(request: AnyRequest) -> list[Message]:
        return [Accepted(id="c7", what=WHAT, job="12", after="job 12: balance", dry_run=request.dry_run)]

    serve(script)
    assert flexmpi("expand", "12").output == f"accepted: {WHAT}, when this is over: job 12: balance\n"
    tried = flexmpi("expand", "12", "--dry-run")
    assert tried.output == f"would be done: {WHAT}, when this is over: job 12: balance\n"


def test_waiting_prints_what_it_cost(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(DONE)
    done = flexmpi("expand", "12", "node3", "--wait")
    assert (done.status, done.errors) == (0, "")
    assert done.output.splitlines() == [
        "accepted: expand 12 by node3",
        "done: expand 12 by node3 (join 11 ms, move 3.0 ms, stall 18 ms, 1.2 MB)",
    ]


def test_what_fails_is_the_exit_status_1_and_says_why(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(FAILED)
    failed = flexmpi("expand", "12", "node3", "--wait")
    assert failed.status == 1
    assert failed.errors == "flexmpi: error: failed: expand 12 by node3: node3 was not granted within 15 s\n"


def test_what_is_refused_is_the_exit_status_1_and_says_why(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(lambda request: [Rejected(why="uid 7 may not expand this job")])
    refused = flexmpi("expand", "12", "--wait")
    assert (refused.status, refused.output) == (1, "")
    assert refused.errors == "flexmpi: error: uid 7 may not expand this job\n"


def test_a_dry_run_says_what_would_be_done_and_waits_for_nothing(flexmpi: Flexmpi, serve: Serve) -> None:
    agent = serve(DONE)
    dry = flexmpi("shrink", "12", "--dry-run", "--wait")
    assert (dry.status, dry.output, dry.errors) == (0, f"would be done: {WHAT}\n", "")
    assert agent.asked.get_nowait().dry_run


def test_what_is_not_over_in_time_is_the_exit_status_3(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(accepting())
    late = flexmpi("expand", "12", "--wait", "--wait-limit=0.2")
    assert late.status == 3
    assert late.output == f"accepted: {WHAT}\n"
    assert late.errors == f"flexmpi: error: not over within 0.2 s: {WHAT} (see flexmpi history 12)\n"


def test_json_is_one_line_for_each_answer(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(DONE)
    accepted, done = map(json.loads, flexmpi("expand", "12", "--wait", "--json").output.splitlines())
    assert accepted == Accepted(id="c7", what=WHAT, job="12").model_dump()
    assert done == json.loads(Done(id="c7", cost=COST, nodes=HELD).model_dump_json())
    serve(FAILED)
    failed = flexmpi("expand", "12", "--wait", "--json")
    assert json.loads(failed.output.splitlines()[1])["why"] == "node3 was not granted within 15 s"
    assert failed.status == 1
    assert len(flexmpi("expand", "12", "--json", "--format=job").output.splitlines()) == 1


def test_the_outcome_is_a_row_of_chosen_fields(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(DONE)
    row = flexmpi("expand", "12", "--wait", "-o", "outcome,nodes,stall,start")
    assert row.output.splitlines() == ["OUTCOME  NODES      STALL   START", "done     node[1-3]  18 ms  310 ms"]
    fields = ["-o", "id,job,outcome,what,why,stall", "--noheader"]
    assert flexmpi("expand", "12", *fields).output == f"c7  12  accepted  {WHAT}  -  -\n"
    assert flexmpi("expand", "12", "--dry-run", *fields).output == f"c7  12  dry run  {WHAT}  -  -\n"
    serve(FAILED)
    failed = flexmpi("expand", "12", "--wait", *fields)
    assert (failed.status, failed.output) == (1, f"c7  12  failed  {WHAT}  node3 was not granted within 15 s  -\n")


def restarted(row: HistoryRow) -> Script:
    """Of an agent that was restarted before the outcome: nobody is told, but the history has it at the second look."""
    looks: list[AnyRequest] = []

    def script(request: AnyRequest) -> list[Message]:
        if not isinstance(request, History):
            return [Accepted(id="c7", what=WHAT, job="12"), Done(id="c6", cost=None)]
        looks.append(request)
        if len(looks) == 1:
            return [Rejected(why="job 12 has not registered yet")]
        open_row = row.model_copy(update={"outcome": "open", "cost": None})
        return [HistoryList(entries=(row.model_copy(update={"id": "c5"}), row if len(looks) > 2 else open_row))]

    return script


@pytest.mark.parametrize(
    ("outcome", "why", "status", "shown"),
    [
        ("done", None, 0, f"done: {WHAT} (join 11 ms, move 3.0 ms, stall 18 ms, 1.2 MB)\n"),
        ("failed", "node3 is down", 1, f"failed: {WHAT}: node3 is down (join 11 ms"),
        ("observed", None, 1, f"failed: {WHAT}: recorded only, as the agent is in mode observe\n"),
    ],
)
def test_an_outcome_that_a_restarted_agent_tells_nobody_is_found_in_the_history(
    flexmpi: Flexmpi, serve: Serve, monkeypatch: pytest.MonkeyPatch,
    outcome: str, why: str | None, status: int, shown: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(changes, "LOOK_AGAIN_S", 0.05)
    row = HistoryRow(id="c7", decided_at=1e9, job="12", what=WHAT, cause="ana", outcome=outcome, why=why, cost=COST)
    agent = serve(restarted(row))
    found = flexmpi("expand", "12", "--wait")
    assert found.status == status
    assert shown in found.output + found.errors
    assert [type(request) for request in agent.asked.queue][:4] == [Expand, History, History, History]
    assert agent.asked.queue[1].job == "12"


def test_settings_are_one_word_or_a_json_object(flexmpi: Flexmpi, serve: Serve) -> None:
    agent = serve(lambda request: [Settings(policy="fill", mode="observe")])
    assert flexmpi("policy").output == "fill\n"
    assert flexmpi("mode").output == "observe\n"
    assert json.loads(flexmpi("mode", "--json").output) == Settings(policy="fill", mode="observe").model_dump()
    assert [type(request) for request in agent.asked.queue] == [SetPolicy, SetMode, SetMode]
    assert all(
        getattr(request, "name", None) is getattr(request, "mode", None) is None for request in agent.asked.queue
    )
    shown = flexmpi("policy", "-o", "what")
    assert (shown.status, shown.output) == (2, "")
    assert "--format is for a change of the policy" in shown.errors


def test_a_mode_that_there_is_not_is_refused_with_those_there_are(flexmpi: Flexmpi) -> None:
    refused = flexmpi("mode", "sleep")
    assert refused.status == 2
    assert "'observe', 'on', 'off', 'drain'" in refused.errors
