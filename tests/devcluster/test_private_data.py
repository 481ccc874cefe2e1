"""A Slurm whose PrivateData hides nodes or partitions: the agent and a job say what to do about it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.applications import PROGRAMS
from tests.devcluster.cluster_agent import FLEXMPI, become
from tests.devcluster.clusters import without_slurm

OTHER = 1
LIMIT_S = 60.0
RIGHT = "make it an operator (sacctmgr modify user NAME set adminlevel=operator), or run it as SlurmUser"


@pytest.fixture
def hide(cluster: Any) -> Iterator[Callable[[str], None]]:
    """Have the cluster hide something from ordinary users, until the end of the test."""
    yield lambda private: cluster.configure(f"PrivateData={private}", says=f"PrivateData = {private}")
    cluster.configure(says="PrivateData = none")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Return a folder that another user may enter and write in."""
    made = Path(tempfile.mkdtemp(prefix="fx-private-", dir="/tmp"))
    os.chown(made, OTHER, OTHER)
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


def as_other(cluster: Any, *words: object, folder: Path, **inside: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*become(OTHER), *FLEXMPI, *map(str, words)],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**without_slurm(os.environ), **cluster.environment, **inside},
        cwd=folder,
    )


@pytest.mark.parametrize("private", ["nodes", "partitions"])
def test_an_agent_that_may_not_see_nodes_says_which_setting_hides_them_and_which_right_is_needed(
    cluster, hide, folder, private
):
    hide(private)
    values = {
        "folder": str(folder),
        "journal": str(folder / "journal.sqlite"),
        "listen": "tcp://127.0.0.1:0",
        "advertise": "127.0.0.1",
        "munge_socket": str(cluster.folder / "munge" / "munge.sock"),
    }
    settings = folder / "agent.toml"
    settings.write_text("[agent]\n" + "".join(f"{name} = {json.dumps(value)}\n" for name, value in values.items()))
    ended = as_other(cluster, "agent", f"--config={settings}", folder=folder)
    assert ended.returncode != 0
    assert f": PrivateData hides {private} from the agent's user; {RIGHT}" in ended.stderr


@pytest.mark.parametrize("private", ["nodes", "partitions"])
def test_a_job_that_may_not_see_nodes_says_which_setting_hides_them(cluster, hide, folder, private):
    owner = (f"--uid={OTHER}", f"--gid={OTHER}")
    # It cannot run: the cluster's folder is not this user's to enter. What Slurm says to its owner is the same.
    job = cluster.run("sbatch", "--parsable", "--hold", *owner, "--chdir=/", "--wrap=true").strip()
    hide(private)
    inside = {"SLURM_JOB_ID": job, "SLURMD_NODENAME": cluster.nodes[0]}
    ended = as_other(cluster, "run", PROGRAMS / "counting.py", folder=folder, **inside)
    cluster.run("scancel", job)
    assert ended.returncode == 2
    assert "Access/permission denied: Slurm's PrivateData hides nodes or partitions from this user" in ended.stderr
    cluster.wait_until_idle()
