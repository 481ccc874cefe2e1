"""Elastic jobs on an unmodified Slurm, driven by ``sbatch`` and UDP commands alone."""

from __future__ import annotations

import re
import shlex
import signal

import numpy as np
import pytest
import scipy.sparse as sp

from flexmpi.cli.send import ask
from flexmpi.protocol.address import Address
from flexmpi.runtime.machine import shared_files
from tests.applications import PROGRAMS, wait_until
from tests.devcluster.clusters import Cluster, MissingHere
from tests.devcluster.elastic_jobs import COUNTING, FLEXMPI, STOP, ElasticJob, Surroundings, idle_nodes, script

pytestmark = pytest.mark.usefixtures("nothing_runs_on")

GRID = 400


def poisson(grid: int) -> sp.csr_array:
    second = sp.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(grid, grid))
    eye = sp.eye_array(grid)
    return sp.csr_array(sp.kron(eye, second) + sp.kron(second, eye))


def test_conjugate_gradients_grow_from_one_node_to_six_and_back_with_the_right_answer(cluster, folder):
    solution = folder / "x.npy"
    solver = script("examples/conjugate_gradient.py")
    job = ElasticJob(
        cluster,
        folder,
        "--interval=0.1s",
        "--nodes=1-6",
        solver,
        f"--grid={GRID}",
        "--tolerance=1e-10",
        f"--output={solution}",
    )
    first = next(iter(job.event("started")["placement"]))
    grown = job.change("".join(["6", *(f":{node}:1" for node in cluster.nodes if node != first)]))
    assert (grown["outcome"], grown["nodes_after"], grown["ranks_after"]) == ("done", 6, 6), grown["why"]
    assert idle_nodes(cluster) == []
    shrunk = job.change("".join(["6", *(f":{node}:-1" for node in cluster.nodes if node != first)]))
    assert (shrunk["outcome"], shrunk["nodes_after"]) == ("done", 1)
    assert job.wait_until_over(limit_s=90) == "COMPLETED", job.output()
    x = np.load(solution)
    assert np.linalg.norm(poisson(GRID) @ x - 1) < 1e-9 * GRID
    job.check_clean()


def test_a_released_node_is_idle_by_itself(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING)
    node = next(iter(job.change("6:any:1")["changes"]))
    (companion,) = job.companions()
    assert job.change(f"6:{node}:-1")["outcome"] == "done"
    wait_until(lambda: node in idle_nodes(cluster), what=f"{node} is idle")
    (ended,) = (each for each in cluster.jobs() if each["job_id"] == companion)
    assert ended["job_state"] == "COMPLETED", "its script has ended, nobody cancelled it"
    job.end()


def test_a_node_is_asked_for_beforehand_used_at_once_and_given_back_when_it_is_not_wanted(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING)
    first = next(iter(job.event("started")["placement"]))
    wanted, other = [node for node in cluster.nodes if node != first][:2]
    prepared = job.change(f"13:{wanted}:2")
    assert (prepared["outcome"], prepared["ready"], prepared["ranks_after"]) == ("done", {wanted: 2}, 1), prepared
    assert len(job.companions()) == 1 and wanted not in idle_nodes(cluster)
    grown = job.change(f"6:{wanted}:2")
    assert (grown["outcome"], grown["ranks_after"], grown["nodes_after"]) == ("done", 3, 2), grown["why"]
    assert len(job.companions()) == 1, "no node was asked for again"
    assert job.change(f"13:{other}:1")["outcome"] == "done"
    assert job.change(f"13:{other}:0")["outcome"] == "done"
    wait_until(lambda: other in idle_nodes(cluster), what=f"{other} is idle")
    job.end()


def test_thirty_cycles_of_growing_and_shrinking_leave_everything_clean(cluster, folder):
    surroundings = Surroundings(cluster, folder)
    idle = surroundings.traces()
    job = ElasticJob(cluster, folder, *COUNTING)
    job.event("loop")
    running = surroundings.traces()
    for cycle in range(30):
        ranks = cycle % 2 + 1
        node = next(iter(job.change(f"6:any:{ranks}")["changes"]))
        assert job.change(f"6:{node}:-{ranks}")["outcome"] == "done"
    surroundings.wait_until_back_to(running)
    assert len(idle_nodes(cluster)) == 5
    job.end()
    surroundings.wait_until_back_to(idle)
    left = {path.name for path in folder.iterdir()}
    assert left == {"events.json", "job.sh", f"slurm-{job.job_id}.out", "stop"}


def test_ranks_of_a_node_still_to_come_can_be_removed_again(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING)
    job.event("loop")
    assert [job.send(command)[:19] for command in ("6:any:1", "6:any:-1")] == ["ok: reconfiguration"] * 2
    grown, shrunk = (job.event("reconfiguration", id=number) for number in (1, 2))
    assert (grown["outcome"], shrunk["outcome"]) == ("done", "done"), shrunk["why"]
    assert sum(shrunk["changes"].values()) == -1 and shrunk["nodes_after"] == 1
    job.end()


def test_a_policy_that_predicts_takes_nodes_one_after_the_other_and_gives_them_back(cluster, folder):
    # Long iterations, so that a busy machine takes little of what more ranks gain; the ranks' worlds sleep beside each other.
    timed = (script("benchmarks/programs/timed.py"), "--rows=480", "--iterations=100000")
    job = ElasticJob(cluster, folder, "--interval=0.2s", "--nodes=1-3", "--policy=speedup:0.2", *timed)
    for nodes in (2, 3):
        grown = job.event("reconfiguration", cause="policy speedup", outcome="done", nodes_after=nodes)
        assert grown["nodes_before"] in (nodes - 1, nodes)
    assert job.send("1:EFFICIENCY:1000000").startswith("ok: ")
    job.event("reconfiguration", cause="policy performance", outcome="done", nodes_after=1)
    # The batch node stays: with it the job would end.
    ((first, ranks),) = job.event("started")["placement"].items()
    changes = [event["changes"] for event in job.seen if event["event"] == "reconfiguration"]
    assert ranks + sum(change.get(first, 0) for change in changes) > 0
    assert job.send("5:").startswith("ok: ")
    job.wait_until_over()
    job.check_clean()


@pytest.mark.parametrize("how", [(), ("--batch", "--signal=TERM")], ids=["scancel", "SIGTERM before its time limit"])
def test_a_companion_that_is_taken_back_leaves_in_order_and_the_job_goes_on(cluster, folder, how):
    job = ElasticJob(cluster, folder, *COUNTING)
    job.change("6:any:2")
    (companion,) = job.companions()
    cluster.run("scancel", *how, str(companion))
    left = job.event("reconfiguration", id=2)
    assert (left["outcome"], left["ranks_after"]) == ("done", 1), left
    assert "is taken back" in left["cause"]
    assert job.change("6:any:1")["outcome"] == "done"
    assert re.search(r"counted \d+ iterations on 2 ranks", job.end())


def test_cancelling_the_parent_ends_all_of_it(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING)
    job.change("6:any:2")
    cluster.run("scancel", str(job.job_id))
    assert job.wait_until_over() == "CANCELLED"
    job.check_clean()


@pytest.mark.parametrize("victim", ["flexmpi run", "flexmpi.runtime.launcher"])
def test_killing_supervisor_or_launchers_leaves_no_job_and_no_process(cluster, folder, victim):
    present = set(shared_files.left_behind())
    job = ElasticJob(cluster, folder, *COUNTING)
    job.change("6:any:2")
    job.kill(*victim.split(), number=signal.SIGKILL)
    job.wait_until_over()
    wait_until(lambda: not job.processes(), what="its processes are gone", limit_s=20)
    # Slurm kills all that is left at once, so nobody is there to remove what they shared; other tests look for it.
    for path in set(shared_files.left_behind()) - present:
        path.unlink(missing_ok=True)


def test_a_restart_of_slurmctld_is_not_noticed(cluster, folder):
    job = ElasticJob(cluster, folder, *COUNTING)
    job.change("6:any:1")
    cluster.restart_controller()
    assert job.change("6:any:1")["outcome"] == "done"
    assert re.search(r"counted \d+ iterations on 3 ranks", job.end())


def test_the_templates_work_as_a_user_submits_them(cluster, folder):
    environment = f"--export=ALL,FLEXMPI={FLEXMPI},EXAMPLES={script('examples')}"
    submitted = cluster.run(
        "sbatch", "--parsable", environment, f"--chdir={folder}", str(script("slurm/jacobi.sbatch")), "--dim=200"
    ).strip()
    output = folder / f"jacobi-{submitted}.out"
    wait_until(lambda: output.exists() and "Jacobi:" in output.read_text(), what="the solver has ended")
    wait_until(lambda: len(idle_nodes(cluster)) == 6, what="all nodes are idle")


def test_the_generic_template_runs_any_program_on_more_nodes_when_told(cluster, folder):
    environment = f"--export=ALL,FLEXMPI={FLEXMPI},SCRIPT={PROGRAMS / 'counting.py'},NODES=1-2"
    submit = ("sbatch", "--parsable", environment, f"--chdir={folder}", str(script("slurm/elastic.sbatch")))
    job_id = cluster.run(*submit, "--pause=0.005", "--until=stop").strip()
    output = folder / f"elastic-{job_id}.out"

    def printed(pattern: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            return re.search(pattern, output.read_text()) if output.exists() else None

        wait_until(lambda: found() is not None, what=f"{output.name} has {pattern}")
        match = found()
        assert match is not None
        return match

    port = int(printed(r"Listening for commands at UDP \S+:(\d+)")[1])
    printed(r"Iter: \d+")
    assert ask(Address("127.0.0.1", port), "6:any:1").startswith("ok: ")
    printed(r"Spawn cost::")
    (folder / "stop").touch()
    assert int(printed(r"counted \d+ iterations on (\d+) ranks")[1]) == 3
    wait_until(lambda: len(idle_nodes(cluster)) == 6, what="all nodes are idle")


def test_ranks_on_hosts_with_addresses_of_their_own_come_and_go_over_the_network(folder):
    try:
        hosts = Cluster("--nodes=3", "--cores=2", "--hosts")
    except MissingHere as reason:
        pytest.skip(str(reason))
    job = ElasticJob(hosts, folder, *COUNTING)
    changes = ["6:any:1", "6:any:1", "6:any:-1", "6:any:1", "6:any:-1", "6:any:-1", "6:any:1"]
    assert [job.change(change)["ranks_after"] for change in changes] == [2, 3, 2, 3, 2, 1, 2], job.output()
    output = job.end()
    assert re.search(r"counted \d+ iterations on 2 ranks", output), output
    assert "flexmpi: " not in output and "UCX" not in output, output
    hosts.close()


def test_every_element_of_a_job_array_is_an_elastic_job_of_its_own(cluster, folder):
    schedule = folder / "changes"
    schedule.write_text("50:+1:any\n")
    command = [str(FLEXMPI), "run", f"--schedule={schedule}", *map(str, COUNTING)]
    job = folder / "array.sh"
    job.write_text(f"#!/bin/sh\nexec {shlex.join(command)}\n")
    outputs = [folder / f"array-{element}.out" for element in (1, 2)]
    cluster.run("sbatch", "--array=1-2", "--exclusive", f"--chdir={folder}", f"--output={folder}/array-%a.out", job)

    def is_in_both(text: str) -> bool:
        return all(output.exists() and text in output.read_text() for output in outputs)

    wait_until(lambda: is_in_both("Spawn 1 at "), what="both have grown")
    (folder / STOP).touch()
    wait_until(lambda: is_in_both("counted"), what="both are over")
    assert is_in_both(" iterations on 2 ranks")
