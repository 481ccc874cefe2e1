"""What jobs that wait ask for, and nodes have, by every way Slurm tells it: recorded from one queue of a real one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flexmpi.cluster.request import Gres, count_of
from flexmpi.cluster.state import Job
from flexmpi.errors import ManagerError
from flexmpi.slurm import asked_text, json_output, text_output
from flexmpi.slurm.partitions import parse_partitions
from flexmpi.slurm.request import feature_sets, generic_resources, memory_mb, minimum_nodes, trackable_resources

DATA = Path(__file__).with_name("data") / "22.05"
MARK = "<0123456789abcdef>"


def as_objects(value: Any) -> Any:
    """Return a record with its numbers as 23.02 and later print them."""
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return {"set": value is not None, "infinite": False, "number": value or 0}
    return value


def in_json(*, objects: bool) -> dict[str, Job]:
    document = json.loads((DATA / "waiting.json").read_text())
    if objects:
        document["jobs"] = [{name: as_objects(value) for name, value in job.items()} for job in document["jobs"]]
        for job in document["jobs"]:
            job["job_id"], job["user_id"] = job["job_id"]["number"], job["user_id"]["number"]
    return {job.name: job for job in json_output.parse_jobs(json.dumps(document), source="squeue")}


def in_text() -> dict[str, Job]:
    asked = asked_text.parse_asked((DATA / "asked.txt").read_text(), MARK, source="squeue")
    jobs = text_output.parse_jobs((DATA / "waiting.txt").read_text(), MARK, source="squeue")
    return {job.name: job for job in asked_text.with_asked(jobs, asked)}


READ = {"json": lambda: in_json(objects=False), "json of 23.02": lambda: in_json(objects=True), "text": in_text}


@pytest.fixture(params=READ)
def jobs(request: pytest.FixtureRequest) -> dict[str, Job]:
    return READ[request.param]()


@pytest.mark.parametrize(
    ("submitted", "tasks", "cpus", "cpus_per_task"),
    [
        ("-n_8", 8, 8, 1),
        ("-n_12_-N_1-4", 12, 12, 1),
        ("-n_2_-c_4", 2, 8, 4),
        ("-n_4_-c_2_-N1-2", 4, 8, 2),
        ("-n_8_--overcommit", 8, 1, 0),
    ],
)
def test_tasks_and_cpus_are_of_all_nodes_together(jobs, submitted, tasks, cpus, cpus_per_task):
    asked = jobs[submitted].request
    assert (asked.tasks, asked.cpus, asked.cpus_per_task) == (tasks, cpus, cpus_per_task)


@pytest.mark.parametrize(("submitted", "least"), [("-n_12_-N_1-4", 1), ("-N_2-3", 2), ("-n_5_-N2", 2), ("-p_big", 2)])
def test_of_a_range_the_least_number_of_nodes_counts(jobs, submitted, least):
    assert jobs[submitted].minimum_nodes == least


def test_json_tells_the_most_nodes_and_what_slurm_has_reckoned_where_that_is_no_range():
    for jobs in (in_json(objects=False), in_json(objects=True)):
        assert (jobs["-n_12_-N_1-4"].maximum_nodes, jobs["-n_8"].maximum_nodes) == (4, None)
        assert jobs["--gpus=6"].minimum_nodes == 2
        assert jobs["-n_3_--ntasks-per-node=1"].minimum_nodes == 3


def test_what_is_asked_for_on_each_node_is_read(jobs):
    assert jobs["-n_3_--ntasks-per-node=1"].request.tasks_per_node == 1
    assert jobs["-n_8"].request.tasks_per_node is None
    assert jobs["-n_8_--hint=nomultithread"].request.one_thread_a_core
    assert jobs["--mem=1500"].request.memory_per_node_mb == 1500
    assert jobs["-n_4_--mem-per-cpu=500"].request.memory_per_cpu_mb == 500
    assert jobs["-n_4_--mem-per-cpu=500"].request.memory_per_node_mb is None


def test_gres_are_read_with_kind_and_number_however_they_were_asked_for(jobs):
    assert jobs["--gres=fpga:h100:2,gpu:1"].request.gres_per_node == (Gres("fpga", "h100", 2), Gres("gpu", None, 1))
    assert jobs["--gpus-per-node=4_-N2"].request.gres_per_node == (Gres("gpu", None, 4),)
    assert jobs["--gpus-per-socket=1_--sockets-per-node=2"].request.gres_per_node == (Gres("gpu", None, 2),)
    assert jobs["-n_6_--gpus-per-task=1"].request.gres_per_task == (Gres("gpu", None, 1),)
    assert jobs["--gpus=6"].request.gres_per_job == (Gres("gpu", None, 6),)


def test_nodes_are_read_with_their_gres_and_one_is_in_no_partition():
    nodes = json_output.parse_nodes((DATA / "unlike-nodes.json").read_text(), source="sinfo")
    gres = {node.name: node.gres for node in nodes}
    assert gres["node0"] == (Gres("fpga", "a100", 1), Gres("gpu", None, 2))
    assert gres["node4"] == (Gres("bandwidth", "lustre", 4 * 1024**3),)
    assert [node.name for node in nodes if not node.partitions] == ["node5"]


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("gpu:a100:4(S:0-1),gpu:v100:2(S:0,2)", (Gres("gpu", "a100", 4), Gres("gpu", "v100", 2))),
        ("bandwidth:lustre:no_consume:4K", (Gres("bandwidth", "lustre", 4096),)),
        ("tape:no_consume:2", (Gres("tape", None, 2),)),
        ("gres:fpga:h100:2,gres:gpu", (Gres("fpga", "h100", 2), Gres("gpu", None, 1))),
        ("gres/gpu:tesla", (Gres("gpu", "tesla", 1),)),
        ("cpu=4,gres/gpu=2,gres/gpu:a100=2,license/x=1", (Gres("gpu", None, 2), Gres("gpu", "a100", 2))),
        ("GPU:A100:1", (Gres("gpu", "a100", 1),)),
        ("(null)", ()),
        ("N/A", ()),
        ("", ()),
    ],
)
def test_generic_resources_are_read_in_every_notation(text, read):
    assert generic_resources(text) == read


def test_one_of_any_kind_is_what_is_asked_for_without_a_kind():
    has = generic_resources("gpu:a100:2,gpu:v100:1")
    assert [count_of(wanted, has) for wanted in (Gres("gpu"), Gres("gpu", "v100"), Gres("fpga"))] == [3, 1, 0]


def test_numbers_of_trackable_resources_are_read_with_their_units():
    assert trackable_resources("cpu=8,mem=1.50G,node=2,x=y,") == {"cpu": 8, "mem": 1536, "node": 2}
    assert [memory_mb(text) for text in ("1500M", "2G", "0", "N/A", "")] == [1500, 2048, None, None, None]


@pytest.mark.parametrize(
    ("trackable", "count", "maximum", "least"),
    [("node=1", 3, None, 3), ("node=1", 4, 4, 1), ("node=2", 2, 2, 2), ("", 2, None, 2), ("cpu=1", 0, None, 1)],
)
def test_the_number_of_nodes_that_slurm_says_counts_where_it_is_no_range(trackable, count, maximum, least):
    assert minimum_nodes(trackable, count=count, maximum=maximum) == least


def test_a_constraint_is_sets_of_features_and_one_with_counts_is_not_understood():
    assert feature_sets("a&b|c") == ({"a", "b"}, {"c"})
    assert (feature_sets(None), feature_sets("[a*2&b*1]")) == (None, ())


@pytest.mark.parametrize("text", ["x", f"7{MARK}8{MARK}", f"x{MARK}" * 15])
def test_text_that_is_no_record_is_refused(text):
    with pytest.raises(ManagerError, match="squeue printed"):
        asked_text.parse_asked(text, MARK, source="squeue")


def test_partitions_are_read_with_who_may_do_what_in_them():
    found = parse_partitions((DATA / "partitions.txt").read_text(), accounts_are_trees=False, source="scontrol")
    partitions = {partition.name: partition for partition in found}
    states = {name: (partition.accepts_jobs, partition.starts_jobs) for name, partition in partitions.items()}
    assert (states["main"], states["down"]) == ((True, True), (True, False))
    assert (states["drain"], states["inact"]) == ((False, True), (False, False))
    big, main = partitions["big"], partitions["main"]
    assert (big.minimum_nodes, big.maximum_nodes, main.minimum_nodes, main.maximum_nodes) == (2, 3, 0, None)
    assert (partitions["grp"].allowed_groups, main.allowed_groups) == ({"daemon", "bin"}, None)
    assert (partitions["acc"].allowed_accounts, main.allowed_accounts) == ({"physics", "chem"}, None)
    assert (partitions["deny"].denied_accounts, partitions["deny"].allowed_accounts) == ({"bio"}, None)
    assert (partitions["qos"].allowed_qos, main.allowed_qos) == ({"normal"}, None)


def test_no_partition_is_none_and_anything_else_is_refused():
    assert parse_partitions("No partitions in the system\n", accounts_are_trees=False, source="scontrol") == ()
    with pytest.raises(ManagerError, match="scontrol printed 'slurm_load_partitions"):
        parse_partitions("slurm_load_partitions error", accounts_are_trees=False, source="scontrol")
