"""Which nodes suit a job and how many it needs, by what it asks for, what nodes have, and what partitions let."""

from __future__ import annotations

import pytest

from flexmpi.cluster.request import Gres, Request
from flexmpi.cluster.state import Job, JobState, Node, NodeState, Partition
from flexmpi.scheduler.deciding.suiting import Suitability
from flexmpi.slurm.request import generic_resources

FOUR = tuple(f"n{number}" for number in range(4))


def node(name: str, cores: int = 4, memory_mb: int = 1000, gres: str = "", threads_per_core: int = 1) -> Node:
    return Node(
        name=name,
        cores=cores,
        states=frozenset({NodeState.IDLE}),
        partitions=("main",),
        memory_mb=memory_mb,
        gres=generic_resources(gres),
        threads_per_core=threads_per_core,
    )


ALIKE = tuple(map(node, FOUR))


def job(state: JobState = JobState.PENDING, asked: Request | None = None, **fields: object) -> Job:
    values = {"partitions": ("main",), "uid": 7, "request": asked or Request(), **fields}
    return Job(job_id=1, name="j", user="u", state=state, **values)


def start(asked: Request, *nodes: Node, partition: Partition | None = None, **fields: object):
    partitions = () if partition is None else (partition,)
    return Suitability(nodes or ALIKE, partitions=partitions, in_doubt=True).start(job(asked=asked, **fields))


def added(asked: Request, *nodes: Node, partition: Partition | None = None, **fields: object) -> frozenset[str]:
    partitions = () if partition is None else (partition,)
    suitability = Suitability(nodes or ALIKE, partitions=partitions, in_doubt=False)
    return suitability.of(job(JobState.RUNNING, asked, **fields))


@pytest.mark.parametrize(
    ("asked", "nodes"),
    [
        (Request(tasks=8, cpus=8), 2),
        (Request(tasks=12, cpus=12), 3),
        (Request(tasks=3, cpus=3, tasks_per_node=1), 3),
        (Request(tasks=3, cpus=9, cpus_per_task=3), 3),
        (Request(tasks=1, cpus=8), 2),
        (Request(tasks=8, cpus=1, cpus_per_task=0), 1),
        (Request(tasks=4, cpus=4, memory_per_cpu_mb=400), 2),
        (Request(), 1),
    ],
)
def test_a_job_needs_as_many_nodes_as_its_cpus_and_tasks_fill(asked, nodes):
    found = start(asked)
    assert (found.nodes, found.suitable, found.totals) == (nodes, set(FOUR), ())


def test_a_job_that_leaves_hardware_threads_idle_needs_twice_as_many_nodes():
    threaded = [node(name, threads_per_core=2) for name in FOUR]
    assert start(Request(tasks=8, cpus=8), *threaded).nodes == 2
    assert start(Request(tasks=8, cpus=8, one_thread_a_core=True), *threaded).nodes == 4


def test_a_job_that_asks_for_more_nodes_than_it_fills_needs_those():
    assert start(Request(tasks=2, cpus=2), minimum_nodes=3, maximum_nodes=3).nodes == 3


@pytest.mark.parametrize(
    "asked", [Request(tasks=17, cpus=17), Request(memory_per_node_mb=1500), Request(cpus_per_node=8)]
)
def test_a_job_that_all_nodes_together_cannot_run_needs_none(asked):
    assert start(asked) is None


def test_a_job_of_one_node_suits_those_alone_that_have_room_for_all_of_it():
    found = start(Request(tasks=8, cpus=8), node("small"), node("large", cores=8), maximum_nodes=1)
    assert (found.nodes, found.suitable) == (1, {"large"})


def test_of_unlike_nodes_the_fewest_count_and_what_they_must_have_together_is_told():
    nodes = (node("a"), node("b"), node("large", cores=8))
    found = start(Request(tasks=8, cpus=8), *nodes)
    assert found.nodes == 1 and found.suitable == {"a", "b", "large"}
    assert all(total.needed == 8 and total.of == {"a": 4, "b": 4, "large": 8} for total in found.totals)
    assert start(Request(tasks=16, cpus=16), *nodes).totals == ()


def test_a_node_suits_by_kind_and_number_of_gres():
    nodes = (node("none"), node("a100", gres="fpga:a100:1(S:0)"), node("h100", gres="fpga:h100:2"))
    assert start(Request(gres_per_node=(Gres("fpga", "h100", 2),)), *nodes).suitable == {"h100"}
    assert start(Request(gres_per_node=(Gres("fpga", None, 1),)), *nodes).suitable == {"a100", "h100"}
    assert start(Request(gres_per_node=(Gres("fpga", "a100", 2),)), *nodes) is None
    assert added(Request(gres_per_node=(Gres("fpga", "a100", 1),)), *nodes) == {"a100"}


def test_gres_of_the_whole_job_and_of_its_tasks_are_counted_over_its_nodes():
    nodes = (node("none"), *(node(name, gres="gpu:2") for name in FOUR))
    for_job = start(Request(gres_per_job=(Gres("gpu", None, 5),)), *nodes)
    assert (for_job.nodes, for_job.suitable) == (3, set(FOUR))
    for_tasks = start(Request(tasks=6, cpus=6, gres_per_task=(Gres("gpu", None, 1),)), *nodes)
    assert (for_tasks.nodes, for_tasks.suitable) == (3, set(FOUR))
    assert start(Request(gres_per_job=(Gres("gpu", None, 9),)), *nodes) is None
    assert added(Request(gres_per_job=(Gres("gpu", None, 5),)), *nodes) == set(FOUR)


def test_an_elastic_job_grows_by_nodes_with_its_memory_but_needs_room_for_one_task_alone():
    nodes = (node("small"), node("large", memory_mb=2000))
    assert added(Request(memory_per_node_mb=1500), *nodes) == {"large"}
    assert added(Request(memory_per_cpu_mb=1500), *nodes) == {"large"}
    assert added(Request(tasks=64, cpus=64, cpus_per_node=8), *nodes) == {"small", "large"}


CLOSED = {
    "down": Partition(name="main", starts_jobs=False),
    "inactive": Partition(name="main", starts_jobs=False, accepts_jobs=False),
    "of others' accounts": Partition(name="main", allowed_accounts=frozenset({"physics"})),
    "not of this account": Partition(name="main", denied_accounts=frozenset({"bio"})),
    "of others' QOS": Partition(name="main", allowed_qos=frozenset({"long"})),
    "not of this QOS": Partition(name="main", denied_qos=frozenset({"short"})),
    "without nodes for a job": Partition(name="main", maximum_nodes=0),
}


@pytest.mark.parametrize("why", CLOSED)
def test_no_node_of_a_partition_that_is_closed_to_a_job_suits_it(why):
    fields = {"account": "bio", "qos": "short", "partition": CLOSED[why]}
    assert start(Request(), **fields) is None
    assert added(Request(), **fields) == frozenset()


def test_a_partition_that_drains_starts_what_waits_and_takes_no_companion():
    drains = Partition(name="main", accepts_jobs=False)
    assert start(Request(), partition=drains).suitable == set(FOUR)
    assert added(Request(), partition=drains) == frozenset()


def test_a_partition_for_jobs_of_two_nodes_takes_no_companion_and_gives_jobs_two():
    large = Partition(name="main", minimum_nodes=2, maximum_nodes=3)
    assert added(Request(), partition=large) == frozenset()
    assert (start(Request(), partition=large).nodes, start(Request(), partition=large).maximum) == (2, 3)
    assert start(Request(), partition=large, minimum_nodes=1, maximum_nodes=1) is None
    assert start(Request(), partition=large, minimum_nodes=4, maximum_nodes=4) is None
    assert start(Request(tasks=16, cpus=16), partition=large) is None


def test_a_job_of_two_partitions_goes_by_the_one_that_lets_it():
    nodes = (node("a"), Node(name="b", cores=4, states=frozenset(), partitions=("other",)))
    closed = Partition(name="main", starts_jobs=False)
    found = Suitability(nodes, partitions=(closed,), in_doubt=True).start(job(partitions=("main", "other")))
    assert found.suitable == {"b"}


def test_groups_are_asked_for_of_those_that_are_known_and_are_not_root():
    partition = Partition(name="main", allowed_groups=frozenset({"chemists"}))

    def suits(groups: dict[int, frozenset[str]], uid: int = 7) -> bool:
        return bool(
            Suitability(ALIKE, partitions=(partition,), groups=groups, in_doubt=False).of(
                job(JobState.RUNNING, uid=uid)
            )
        )

    assert suits({7: frozenset({"users", "chemists"})})
    assert not suits({7: frozenset({"users"})})
    assert suits({}) and suits({0: frozenset({"root"})}, uid=0)


def test_where_accounts_stand_for_those_below_them_an_unknown_one_may_be_below():
    tree = Partition(name="main", allowed_accounts=frozenset({"physics"}), accounts_are_trees=True)
    assert added(Request(), partition=tree, account="optics") == set(FOUR)
    assert added(Request(), partition=tree, account=None) == frozenset()


def test_a_job_that_names_nodes_needs_those_and_more_where_they_are_not_enough():
    named = start(Request(), required_nodes=("n1",))
    assert (named.nodes, named.suitable, named.required) == (1, {"n1"}, {"n1"})
    more = start(Request(tasks=8, cpus=8), required_nodes=("n1",))
    assert (more.nodes, more.suitable, more.required) == (2, set(FOUR), {"n1"})
    assert start(Request(), required_nodes=("gone",)) is None
