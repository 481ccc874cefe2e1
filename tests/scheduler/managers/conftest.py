"""What the tests of resource managers share: a cluster of their own, and every manager with nothing running under it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.scheduler.managers.local import LocalManager
from flexmpi.scheduler.managers.slurm_cli import SlurmCli
from flexmpi.scheduler.managers.slurm_pyslurm import SlurmPyslurm
from tests.devcluster.clusters import Cluster, missing_here
from tests.scheduler.managers.managed import Managed

NODES = tuple(f"node{number}" for number in range(6))
CORES = 4


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """Six nodes of four cores; skips where Slurm's packages are not installed."""
    if reason := missing_here():
        pytest.skip(reason)
    cluster = Cluster(f"--nodes={len(NODES)}", f"--cores={CORES}")
    yield cluster
    cluster.close()


@pytest.fixture(params=["slurm_cli", "slurm_pyslurm", "local"])
def managed(request: pytest.FixtureRequest) -> Iterator[Managed]:
    """Return each manager in turn, idle before the test and after."""
    if request.param == "local":
        nodes = [Node(name, CORES, alias="virtual") for name in NODES]
        with Managed(LocalManager(nodes, grace_s=2.0)) as managed:
            yield managed
        return
    cluster: Cluster = request.getfixturevalue("cluster")
    if request.param == "slurm_pyslurm" and (reason := missing_pyslurm(cluster)):
        pytest.skip(reason)
    kind = SlurmCli if request.param == "slurm_cli" else SlurmPyslurm
    with Managed(kind(environment={**os.environ, **cluster.environment})) as managed:
        yield managed


@cache
def missing_pyslurm(cluster: Cluster) -> str | None:
    """Return why pyslurm cannot be tested here; it must not be imported without a Slurm configuration."""
    if find_spec("pyslurm") is None:
        return f"{sys.executable} has no pyslurm (of the release of the Slurm that is installed)"
    command = [sys.executable, "-c", "import pyslurm"]
    environment = {**os.environ, **cluster.environment}
    run = subprocess.run(command, env=environment, check=False, capture_output=True, text=True, timeout=60)
    return f"pyslurm cannot be imported: {run.stderr.strip()[-200:]}" if run.returncode != 0 else None


@pytest.fixture
def ended_processes() -> Iterator[list[int]]:
    """Process ids that a test notes down: none of them may live when it is over."""
    pids: list[int] = []
    yield pids
    listed = subprocess.run(
        ["ps", "-o", "pid=,stat=,args=", "-p", ",".join(map(str, pids or [0]))], check=False, capture_output=True
    )
    alive = [line for line in listed.stdout.decode().splitlines() if line.split()[1][0] not in "ZX"]
    assert alive == []
