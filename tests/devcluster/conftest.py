"""What the tests with a real Slurm share: one cluster for all of them, or a reason to skip them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.devcluster.clusters import Cluster, missing_here, own_folder, remove


@pytest.fixture(scope="session", autouse=True)
def slurm_here() -> None:
    """Skip where Slurm's packages are not installed; `make test` installs them where it may."""
    if reason := missing_here():
        pytest.skip(reason)


@pytest.fixture(scope="session")
def cluster(slurm_here: None) -> Iterator[Cluster]:
    """Six nodes of four cores, taken down at the end of the test run whatever happens."""
    cluster = Cluster("--nodes=6", "--cores=4")
    yield cluster
    cluster.close()


@pytest.fixture
def cluster_folder(slurm_here: None) -> Iterator[Path]:
    """Return an empty folder for a cluster of the test's own, which is taken down after the test."""
    folder = own_folder()
    yield folder
    remove(folder)


@pytest.fixture
def nothing_runs_on(cluster: Cluster) -> Iterator[None]:
    """End what a failed test has left running, for the next needs the nodes."""
    yield
    cluster.cancel_all()
    cluster.wait_until_idle()


@pytest.fixture
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder for a job, with a path short enough for the Unix sockets in temporary folders of its."""
    return tmp_path_factory.mktemp("e")


@pytest.fixture
def shared(cluster: Cluster) -> Iterator[str]:
    """Return the name of a partition whose jobs may share a node, which the test may change."""
    name = "shared"
    cluster.run("scontrol", "create", f"PartitionName={name}", "Nodes=ALL", "OverSubscribe=NO")
    yield name
    cluster.cancel_all()
    cluster.run("scontrol", "delete", f"PartitionName={name}")
