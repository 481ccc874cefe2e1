"""The development cluster itself: up, down and what lies between, as a user types it."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.applications import REPOSITORY, wait_until
from tests.devcluster.clusters import Cluster, MissingHere, devcluster, processes_of

NOBODY = 65534
STUBBORN = "trap '' TERM; (trap '' TERM; setsid sleep 600 &) ; touch {ready}; sleep 600; sleep 600"
"""A job that ignores SIGTERM and leaves a process in a session of its own."""


def test_up_and_down_may_be_repeated(cluster_folder):
    for words in ("2 nodes of 3 cores are up",) * 2:
        up = devcluster("up", "--nodes=2", "--cores=3", folder=cluster_folder)
        assert (up.returncode, up.stderr) == (0, "")
        assert words in up.stdout
    status = devcluster("status", folder=cluster_folder)
    assert status.returncode == 0
    assert [line.split()[0] for line in status.stdout.splitlines()] == ["munged", "slurmctld", "node0", "node1"]
    for _ in range(2):
        down = devcluster("down", folder=cluster_folder)
        assert (down.returncode, down.stdout, down.stderr) == (0, "", "")
        assert not cluster_folder.exists()
    assert devcluster("status", folder=cluster_folder).returncode == 1


def test_nodes_are_idle_within_five_seconds(cluster_folder):
    began = time.monotonic()
    up = devcluster("up", folder=cluster_folder)
    took_s = time.monotonic() - began
    assert up.returncode == 0, up.stderr
    lines = devcluster("status", folder=cluster_folder).stdout.splitlines()
    assert [line.split()[-1] for line in lines if line.startswith("node")] == ["idle"] * 6
    assert took_s < 5


def test_a_job_runs_on_the_node_it_names(cluster):
    assert cluster.nodes == ("node0", "node1", "node2", "node3", "node4", "node5")
    assert cluster.run("srun", "--nodelist=node4", "printenv", "SLURMD_NODENAME", "SLURM_CPUS_ON_NODE") == "node4\n4\n"
    output = cluster.folder / "output"
    before = {job["job_id"] for job in cluster.jobs()}
    cluster.run("sbatch", "--wait", "--nodelist=node2", f"--output={output}", "--wrap=printenv SLURMD_NODENAME")
    assert output.read_text() == "node2\n"
    cluster.wait_until_idle()
    (own,) = [job for job in cluster.jobs() if job["job_id"] not in before]
    assert (own["job_state"], own["nodes"]) == ("COMPLETED", "node2")


@pytest.mark.parametrize("damage", ["none", "daemons killed", "folder deleted"])
def test_down_ends_jobs_and_leaves_nothing(damage, tmp_path):
    own = Cluster("--nodes=2")
    ready = tmp_path / "ready"
    own.run("sbatch", "--output=/dev/null", f"--wrap={STUBBORN.format(ready=ready)}")
    wait_until(ready.exists, what="the job runs")
    assert any("sleep" in line for line in processes_of(own.folder))
    if damage == "daemons killed":
        for name in ("slurmctld", "node0", "node1", "munged"):
            own.kill(name)
    elif damage == "folder deleted":
        # Its daemons go on writing to it.
        wait_until(
            lambda: shutil.rmtree(own.folder, ignore_errors=True) or not own.folder.exists(), what="it is deleted"
        )
    own.close()  # Checks that no folder and no process is left.


def test_a_killed_test_run_leaves_no_cluster(tmp_path):
    program = "from tests.devcluster.clusters import Cluster; print(Cluster('--nodes=1').folder, flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    ) as run:
        folder = Path(run.stdout.readline().strip())
        assert folder.exists()
        run.kill()
    wait_until(lambda: not folder.exists() and not processes_of(folder), what="its cluster is gone")


def test_two_clusters_live_beside_each_other(cluster):
    other = Cluster("--nodes=1")
    assert cluster.environment != other.environment
    job = other.run("sbatch", "--parsable", "--hold", "--job-name=only-here", "--wrap=true").strip()
    assert other.run("squeue", "--noheader", "--format=%i %j") == f"{job} only-here\n"
    assert "only-here" not in cluster.run("squeue", "--noheader", "--format=%i %j")
    other.close()
    assert cluster.run("srun", "--nodes=1", "echo", "still there") == "still there\n"


def test_up_starts_what_was_killed_and_jobs_go_on(tmp_path):
    own = Cluster("--nodes=2")
    started = tmp_path / "started"
    wrapped = f"--wrap=echo $$ >> {started}; sleep 600"
    job = own.run("sbatch", "--parsable", "--nodelist=node1", "--output=/dev/null", wrapped).strip()
    wait_until(started.exists, what="the job runs")
    own.kill("slurmctld", signal.SIGTERM)  # In order: killed, it could forget that the job has started.
    for name in ("node1", "munged"):
        own.kill(name)
    assert devcluster("status", folder=own.folder).stdout.count("dead") == 3
    own.up()
    assert own.run("squeue", "--noheader", "--states=RUNNING", "--format=%i").split() == [job]
    (pid,) = started.read_text().split()
    assert Path(f"/proc/{pid}").exists()
    assert own.run("srun", "--nodelist=node0", "echo", "new job") == "new job\n"
    own.run("scancel", job)
    own.wait_until_idle()
    own.close()


def test_up_starts_afresh_where_nothing_lives():
    own = Cluster("--nodes=1")
    own.run("sbatch", "--hold", "--wrap=true")
    for name in ("slurmctld", "node0", "munged"):
        own.kill(name)
    own.up()
    assert own.run("squeue", "--noheader") == ""
    assert len(own.run("sinfo", "--noheader", "--Node").split("\n")) == 6 + 1
    own.close()


def test_another_shape_is_refused_while_it_runs(cluster):
    up = devcluster("up", "--nodes=2", folder=cluster.folder)
    assert up.returncode == 1
    assert up.stderr == (
        f"devcluster: error: the cluster in {cluster.folder} has 6 nodes of 4 cores, not 2 nodes of 4 cores: take it down first\n"
    )


@pytest.mark.parametrize("command", ["up", "down"])
def test_a_folder_with_something_else_in_it_is_left_alone(folder, command):
    (folder / "mine").write_text("precious")
    run = devcluster(command, folder=folder)
    assert run.returncode == 1
    assert f"folder {folder} is not a cluster's" in run.stderr
    assert [path.read_text() for path in folder.iterdir()] == ["precious"]


@pytest.mark.parametrize("name", ["a b", "x" * 90, "hash#"])
def test_a_folder_that_slurm_cannot_work_with_is_refused(tmp_path, name):
    run = devcluster("up", folder=tmp_path / name)
    assert run.returncode == 1
    assert run.stderr.startswith(f"devcluster: error: folder {tmp_path / name}: ")
    assert not (tmp_path / name).exists()


@pytest.mark.parametrize("options", [["--nodes=0"], ["--nodes=many"], ["--cores=-1"]])
def test_a_wrong_number_is_wrong_use(cluster_folder, options):
    run = devcluster("up", *options, folder=cluster_folder)
    assert run.returncode == 2
    assert "expected a number from 1 to" in run.stderr


def test_missing_packages_are_named_with_the_line_that_installs_them(cluster_folder, tmp_path):
    for command in ("slurmd", "sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"):
        (tmp_path / command).symlink_to(shutil.which(command) or "/bin/false")
    up = devcluster("up", folder=cluster_folder, environment={"PATH": str(tmp_path)})
    assert up.returncode == 3
    assert up.stderr == (
        "devcluster: error: missing Debian packages: slurmctld munge; "
        "install them with: sudo apt-get install slurmctld munge\n"
    )


def test_a_daemon_that_does_not_start_is_named_with_the_end_of_its_log(cluster_folder, tmp_path):
    broken = tmp_path / "slurmctld"
    broken.write_text("#!/bin/sh\necho 'fatal: cannot bind port' >&2\nexit 1\n")
    broken.chmod(0o755)
    up = devcluster("up", "--nodes=1", folder=cluster_folder, environment={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert up.returncode == 1
    assert up.stderr.startswith("devcluster: error: slurmctld ended before slurmctld answers at 127.0.0.1:")
    assert up.stderr.endswith("    fatal: cannot bind port\n")
    assert processes_of(cluster_folder) == []


@pytest.mark.parametrize(("version", "plugin"), [("slurm-wlm 22.05.8", "cgroup/v1"), ("slurm 24.11.5", "disabled")])
def test_each_release_is_kept_off_the_machines_cgroups_in_its_own_way(cluster_folder, tmp_path, version, plugin):
    broken = tmp_path / "slurmd"
    broken.write_text(f"#!/bin/sh\n[ $1 = -V ] && echo {version}\nexit 1\n")
    broken.chmod(0o755)
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    up = devcluster("up", "--nodes=1", folder=cluster_folder, environment=path)
    assert up.stderr.startswith("devcluster: error: slurmd.node0 ended before node0 registered with slurmctld")
    assert (cluster_folder / "cgroup.conf").read_text().endswith(f"\nCgroupPlugin={plugin}\n")


def test_env_selects_the_cluster_even_within_a_job_of_another_slurm(cluster):
    line = f'eval "$({sys.executable} {REPOSITORY}/slurm/devcluster env --folder={cluster.folder})"; env'
    run = subprocess.run(
        ["sh", "-ec", line],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "SLURM_JOB_ID": "7", "SBATCH_PARTITION": "site", "SLURM_CONF": "/etc/slurm/slurm.conf"},
    )
    seen = [line for line in run.stdout.splitlines() if line.startswith(("SLURM", "SBATCH"))]
    assert seen == [f"SLURM_CONF={cluster.folder}/slurm.conf"]


def test_down_is_refused_within_a_job_of_the_cluster(cluster):
    line = f"! {sys.executable} {REPOSITORY}/slurm/devcluster down --folder={cluster.folder} 2>&1"
    assert "this is a job of the cluster" in cluster.run("srun", "--nodes=1", "--ntasks=1", "sh", "-c", line)


def test_nodes_as_hosts_have_names_and_addresses_of_their_own_and_reach_each_other():
    before = interfaces()
    try:
        own = Cluster("--nodes=3", "--hosts")
    except MissingHere as reason:
        pytest.skip(str(reason))
    greeting = (
        "hostname; hostname -I; for node in node0 node1 node2; do exec 3<>/dev/tcp/$node/6818; done; echo reached"
    )
    seen = own.run("srun", "--nodes=3", "--ntasks=3", "--label", "bash", "-ec", greeting)
    answers = [[line[3:].strip() for line in sorted(seen.splitlines()) if line.startswith(f"{i}:")] for i in range(3)]
    addresses = own.run("sinfo", "--noheader", "--Node", "--format=%o").split()
    assert len(set(addresses)) == 3
    assert [set(lines) for lines in answers] == [{f"node{i}", addresses[i], "reached"} for i in range(3)]
    assert own.run("srun", "--nodelist=node1", "sinfo", "--noheader", "--states=idle", "--format=%N") == "node[0,2]\n"
    assert "node1" not in Path("/etc/hosts").read_text()
    assert interfaces() > before
    own.close()
    assert interfaces() == before


def interfaces() -> set[str]:
    return {path.name for path in Path("/sys/class/net").iterdir()}


def test_hosts_that_were_killed_start_afresh():
    try:
        own = Cluster("--nodes=1", "--hosts")
    except MissingHere as reason:
        pytest.skip(str(reason))
    for process in processes_of(own.folder):
        if "sleep" in process:
            os.kill(int(process.split()[0]), signal.SIGKILL)
    up = devcluster("up", "--nodes=1", "--hosts", folder=own.folder)
    assert up.returncode == 0, up.stderr
    assert own.run("srun", "hostname") == "node0\n"
    own.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_ordinary_user_has_a_cluster_too(cluster_folder):
    become = ("setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--")
    readable = subprocess.run([*become, sys.executable, "-c", f"open('{REPOSITORY}/slurm/devcluster')"], check=False)
    if readable.returncode != 0:
        pytest.skip(f"user id {NOBODY} may not read {REPOSITORY} or run {sys.executable}")
    os.chown(cluster_folder, NOBODY, NOBODY)
    up = devcluster("up", "--nodes=1", folder=cluster_folder, before=become)
    assert up.returncode == 0, up.stderr
    run = subprocess.run(
        [*become, "srun", "id", "-u"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "SLURM_CONF": f"{cluster_folder}/slurm.conf"},
    )
    assert run.stdout == f"{NOBODY}\n"
    hosts = devcluster("up", "--hosts", folder=cluster_folder, before=become)
    assert (hosts.returncode, "needs root" in hosts.stderr) == (3, True)
    down = devcluster("down", folder=cluster_folder, before=become)
    assert (down.returncode, down.stderr) == (0, "")
    assert processes_of(cluster_folder) == []
