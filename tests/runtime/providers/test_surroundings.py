"""Where a job finds itself, and what it has there."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.configuration import platform_text, this_machine
from flexmpi.errors import ConfigurationError
from flexmpi.runtime.job.options import Identity
from flexmpi.runtime.providers.surroundings import Surroundings, find_surroundings

NODES = (Node("a", 4, "big", speed=1.5), Node("b", 2, "small"), Node("c", 2, "small"))
IN_A_JOB = {"FLEXMPI_JOB_ID": "7", "FLEXMPI_JOB_NAME": "solve", "FLEXMPI_JOB_NODES": "c,b"}
IN_A_JOB |= {"FLEXMPI_JOB_PLATFORM": platform_text(NODES)}


def found(provider: str = "auto", *, corefile: Path | None = None, **environment: str) -> Surroundings:
    return find_surroundings(provider, corefile=corefile, nodefile=None, environment=environment)


def test_a_job_of_the_local_manager_starts_on_its_own_nodes_and_may_be_given_the_others() -> None:
    around = found(**IN_A_JOB)
    assert around.nodes == (NODES[2], NODES[1], NODES[0])
    assert (around.starting, around.granted) == ((NODES[2], NODES[1]), ("c", "b"))
    assert around.identity == Identity(job_id=7, name="solve")


def test_the_task_of_an_array_knows_which_it_is() -> None:
    around = found(**IN_A_JOB, FLEXMPI_ARRAY_JOB_ID="6", FLEXMPI_ARRAY_TASK_ID="0")
    assert around.identity == Identity(job_id=7, array_job_id=6, array_task_id=0, name="solve")


def test_named_nodes_or_an_explicit_provider_are_taken_instead(tmp_path: Path) -> None:
    corefile = tmp_path / "core"
    corefile.write_text("x:1\n")
    named = found(corefile=corefile, **IN_A_JOB)
    assert ([node.name for node in named.nodes], named.own, named.granted) == (["x"], None, None)
    assert named.identity == Identity()
    assert found("local", **IN_A_JOB).nodes == this_machine()
    assert found().starting == this_machine()


@pytest.mark.parametrize("nodes", ["", ",", "a,d"])
def test_nodes_that_the_platform_has_not_are_refused(nodes: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^FLEXMPI_JOB_NODES must name nodes of FLEXMPI_JOB_PLATFORM, got "):
        found(**IN_A_JOB | {"FLEXMPI_JOB_NODES": nodes})


def test_a_platform_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"^FLEXMPI_JOB_PLATFORM, line 1: expected host:cores"):
        found(**IN_A_JOB | {"FLEXMPI_JOB_PLATFORM": "a"})
