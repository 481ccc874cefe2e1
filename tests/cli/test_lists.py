"""`flexmpi jobs`, `nodes` and `history`: the agent's rows as people read them, and as other programs do."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from flexmpi.protocol.messages import Cost, Rejected
from flexmpi.protocol.replies import HistoryList, HistoryRow, JobList, JobRow, NodeList, NodeRow
from flexmpi.protocol.requests import AnyRequest, History, Jobs, Nodes
from tests.agents import stopped_agent
from tests.cli.conftest import Flexmpi, Serve

COST = Cost(
    start_s=0.31, join_s=0.0112, balance_s=0.0001, move_s=0.003, part_s=0.0, stall_s=0.0184, moved_bytes=1_200_000
)
JOBS = (
    JobRow(
        job="12", name="heat", uid=1000, user="ana", state="running", elastic=True, ranks=12,
        nodes=("node3", "node1", "node2"), minimum_nodes=1, maximum_nodes=6, companions=(13, 14), node_hours=0.4567,
    ),
    JobRow(
        job="15", name="rigid  job", uid=1001, user="bo", state="pending", why="Resources", elastic=False, nodes=(),
        minimum_nodes=3, maximum_nodes=3, node_hours=0.0,
    ),
)  # fmt: skip
NODES = (
    *(NodeRow(node=f"node{one}", cores=4, states=("allocated",), job="12", why="is allocated") for one in (1, 2, 3)),
    NodeRow(node="node4", cores=4, states=("idle",), idle_w=52.5, dynamic_w=97.0, watts_source="measured"),
    NodeRow(node="node5", cores=4, states=("idle", "drain"), why="drained: disk"),
    NodeRow(node="node6", cores=4, states=("idle",)),
)
ENTRIES = (
    HistoryRow(
        id="c7", decided_at=1e9, job="12", what="expand 12 by node3", cause="fill: 1 idle node", outcome="done",
        cost=COST,
    ),
    HistoryRow(id="c8", decided_at=1e9 + 61, job="12", what="balance 12", cause="ana", outcome="failed", why="ended"),
)  # fmt: skip


def script(request: AnyRequest) -> list[JobList | NodeList | HistoryList]:
    match request:
        case Jobs():
            return [JobList(jobs=JOBS)]
        case Nodes():
            return [NodeList(nodes=NODES)]
        case History(job=job):
            return [HistoryList(entries=tuple(row for row in ENTRIES if job in (None, row.job)))]
    raise AssertionError(request)


def columns(line: str) -> list[str]:
    """The values of a line, as another program finds them."""
    return re.split(r"  +", line.strip())


def test_jobs_are_listed_with_their_sizes_and_folded_nodes(flexmpi: Flexmpi, serve: Serve) -> None:
    agent = serve(script)
    listed = flexmpi("jobs")
    assert listed.output.splitlines() == [
        "JOB  NAME       USER  STATE    SIZE     RANKS  NODE_HOURS  NODES      WHY",
        " 12  heat       ana   running  3 (1-6)     12        0.46  node[1-3]  -",
        " 15  rigid job  bo    pending  0 (3)        -        0.00  -          Resources",
    ]
    assert (listed.status, listed.errors) == (0, "")
    assert agent.owners[0].uid == os.getuid()


def test_chosen_fields_are_shown_in_their_order_with_or_without_headings(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(script)
    assert flexmpi("jobs", "--format=name,JOB, companions").output.splitlines() == [
        "NAME       JOB  COMPANIONS",
        "heat        12  13,14",
        "rigid job   15  -",
    ]
    assert flexmpi("jobs", "--noheader", "-o", "job,minimum,maximum,elastic,uid").output.splitlines() == [
        "12  1  6  yes  1000",
        "15  3  3  no   1001",
    ]


def test_a_field_that_there_is_not_is_refused_before_the_agent_is_asked(flexmpi: Flexmpi, serve: Serve) -> None:
    agent = serve(script)
    refused = flexmpi("jobs", "--format=job,nodelist")
    assert (refused.status, refused.output) == (2, "")
    assert refused.errors.startswith("flexmpi: error: --format: expected fields of job, name, ")
    assert refused.errors.endswith(", got 'nodelist'\n")
    assert agent.asked.empty()


@pytest.mark.parametrize(("command", "rows"), [("jobs", JOBS), ("nodes", NODES), ("history", ENTRIES)])
def test_json_is_one_array_of_the_rows_as_the_agent_sent_them(
    flexmpi: Flexmpi, serve: Serve, command: str, rows: tuple[JobRow | NodeRow | HistoryRow, ...]
) -> None:
    serve(script)
    printed = json.loads(flexmpi(command, "--json").output)
    assert printed == [json.loads(row.model_dump_json()) for row in rows]


def test_nodes_that_are_alike_share_a_line(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(script)
    assert flexmpi("nodes").output.splitlines() == [
        "NODE       COUNT  CORES  STATE       JOB  WHY",
        "node[1-3]      3      4  allocated    12  is allocated",
        "node[4,6]      2      4  idle          -  -",
        "node5          1      4  idle+drain    -  drained: disk",
    ]
    assert flexmpi("nodes", "-o", "cores,count,node", "--noheader").output == "4  6  node[1-6]\n"
    each = flexmpi("nodes", "-N", "-o", "node,state", "--noheader").output.splitlines()
    assert [columns(line)[0] for line in each] == [row.node for row in NODES]


def test_the_watts_of_nodes_are_shown_where_asked_for_and_say_where_they_come_from(
    flexmpi: Flexmpi, serve: Serve
) -> None:
    serve(script)
    listed = flexmpi("nodes", "-o", "node,idle,dynamic,source", "--noheader").output.splitlines()
    assert [columns(line) for line in listed] == [
        ["node[1-3,5-6]", "-", "-", "-"],
        ["node4", "52.5", "97", "measured"],
    ]


def test_history_is_of_all_jobs_or_one_with_what_each_change_cost(flexmpi: Flexmpi, serve: Serve) -> None:
    agent = serve(script)
    listed = flexmpi("history").output.splitlines()
    assert columns(listed[0]) == ["TIME", "JOB", "OUTCOME", "STALL", "MOVED", "WHAT", "CAUSE", "WHY"]
    assert columns(listed[1])[1:] == ["12", "done", "18 ms", "1.2 MB", "expand 12 by node3", "fill: 1 idle node", "-"]
    assert columns(listed[2])[1:] == ["12", "failed", "-", "-", "balance 12", "ana", "ended"]
    assert re.fullmatch(r"2001-09-\d\dT\d\d:\d\d:40", columns(listed[1])[0])
    shown = flexmpi("history", "12", "-n", "5", "-o", "id,start,join,balance,move,part,stall", "--noheader")
    assert columns(shown.output.splitlines()[0]) == ["c7", "310 ms", "11 ms", "0.1 ms", "3.0 ms", "0.0 ms", "18 ms"]
    asked = [agent.asked.get_nowait() for _ in range(2)]
    assert [(request.job, request.entries) for request in asked] == [(None, 1000), ("12", 5)]


def test_the_agents_refusal_is_the_exit_status_1_and_its_words(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(lambda request: [Rejected(why="no job 99 is known here")])
    refused = flexmpi("history", "99")
    assert (refused.status, refused.output) == (1, "")
    assert refused.errors == "flexmpi: error: no job 99 is known here\n"


def test_an_answer_to_another_question_is_an_error(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(lambda request: [NodeList(nodes=())])
    refused = flexmpi("jobs")
    assert (refused.status, refused.errors) == (
        2,
        "flexmpi: error: the agent answered with node_list, expected job_list\n",
    )


def test_an_agent_that_is_silent_is_waited_for_so_long_and_named(flexmpi: Flexmpi, serve: Serve) -> None:
    agent = serve(lambda request: [])
    silent = flexmpi("jobs", "--answer-limit=3")
    assert (silent.status, silent.output) == (2, "")
    assert "the agent does not answer within 3 s: tcp://127.0.0.1:" in silent.errors
    assert str(agent.folder) in silent.errors


def test_an_agent_that_has_ended_is_not_reached(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(script).close()
    gone = flexmpi("jobs", "--answer-limit=0.5")
    assert gone.status == 2
    assert "no agent could be reached within 0.5 s: tcp://127.0.0.1:" in gone.errors


def test_an_agent_with_another_key_is_not_believed(flexmpi: Flexmpi, serve: Serve) -> None:
    old, new = serve(script), serve(script)
    (new.folder / "agent.public").write_text((old.folder / "agent.public").read_text())
    other = flexmpi("jobs", "--answer-limit=3")
    assert other.status == 2
    assert "somebody answers, but does not prove to be the agent with this public key" in other.errors
    assert new.asked.empty()


def test_an_agent_that_is_stopped_does_not_answer_and_is_not_called_another(flexmpi: Flexmpi, tmp_path: Path) -> None:
    with stopped_agent(tmp_path) as port:
        silent = flexmpi("jobs", "--answer-limit=0.5", f"--agent={tmp_path}")
    assert silent.status == 2
    assert f"the agent does not answer within 0.5 s: tcp://127.0.0.1:{port}, " in silent.errors


def test_where_no_agent_is_the_folder_is_named_and_how_to_name_another(flexmpi: Flexmpi, tmp_path: Path) -> None:
    nowhere = flexmpi("jobs", "--agent", str(tmp_path / "nowhere"))
    assert (nowhere.status, nowhere.output) == (2, "")
    assert nowhere.errors == (
        f"flexmpi: error: no agent is told of in {tmp_path}/nowhere: expected --agent FOLDER or FLEXMPI_AGENT to name "
        "the folder with its agent.json\n"
    )
    unwanted = flexmpi("jobs", "--agent=none")
    assert unwanted.status == 2
    assert "none stands for no agent: expected --agent FOLDER" in unwanted.errors
