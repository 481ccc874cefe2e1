"""`flexmpi doctor` inside a job: what holds between its nodes and of its Slurm, a line each."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.applications import wait_until
from tests.devcluster.elastic_jobs import FLEXMPI


def doctor(cluster: Any, folder: Path, *options: str, before: str = "true") -> tuple[str, dict[str, str]]:
    """Run it in a job, after another command, and return its status and what it says by subject."""
    output = folder / "out"
    wrapped = f"--wrap={before}; {FLEXMPI} doctor; echo status $?"
    cluster.run("sbatch", "--exclusive", *options, f"--chdir={folder}", f"--output={output}", wrapped)
    wait_until(lambda: output.exists() and "\nstatus " in output.read_text(), what="it has said all")
    cluster.wait_until_idle()
    *lines, status = output.read_text().splitlines()
    return status, {line[:24].strip(): line[25:] for line in lines}


def test_in_a_job_of_two_nodes_it_finds_all_that_elastic_jobs_need(cluster, tmp_path_factory):
    status, lines = doctor(cluster, tmp_path_factory.mktemp("d"), "--nodes=2", "--ntasks=2")
    said = {subject: lines[subject].split("  ")[0] for subject in lines}
    needed = (
        "MPI library",
        "MPI Connect/Accept",
        "ports between nodes",
        "Slurm commands",
        "PrivateData",
        "sbatch",
        "munge",
    )
    assert [said.get(subject) for subject in needed] == ["ok"] * len(needed), lines
    assert "two worlds joined on two nodes of this job" in lines["MPI Connect/Accept"]
    assert "from this compute node" in lines["sbatch"]
    assert {"PAPI events", "counters' permission", "RAPL energy"} <= lines.keys()
    assert status == f"status {int('FAILS' in said.values())}", lines


def test_where_compute_nodes_may_not_submit_it_says_so_with_the_remedy(cluster, tmp_path_factory):
    closing = "scontrol update PartitionName=main AllocNodes=login"
    try:
        status, lines = doctor(cluster, tmp_path_factory.mktemp("d"), before=closing)
    finally:
        cluster.run("scontrol", "update", "PartitionName=main", "AllocNodes=ALL")
    assert status == "status 1"
    assert lines["sbatch"].startswith("FAILS")
    assert lines["sbatch"].endswith("-> AllocNodes of the partition must hold the compute nodes")
