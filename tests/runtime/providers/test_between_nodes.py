"""Which way ranks take to other worlds, by what MPICH says of itself."""

from __future__ import annotations

import pytest

from flexmpi.runtime.providers.between_nodes import (
    LIBFABRIC_PROVIDERS,
    NETWORK,
    WITHOUT_SOCKETS,
    library,
    loses_requests,
    rank_environment,
)

MPICH = "MPICH Version:      {}\nMPICH Release date: some day\nMPICH ABI:          18:2:6\nMPICH Device:       {}\n"


LIBFABRIC = {LIBFABRIC_PROVIDERS: WITHOUT_SOCKETS}


@pytest.mark.parametrize(
    ("version", "device", "harmful", "told", "told_on_one_node"),
    [
        ("5.0.2", "ch4:ucx ofi", True, {NETWORK: "ofi", **LIBFABRIC}, {}),
        ("5.0.0", "ch4:ucx,ofi", True, {NETWORK: "ofi", **LIBFABRIC}, {}),
        ("5.0.2", "ch4:ofi ucx", False, LIBFABRIC, LIBFABRIC),
        ("5.0.2", "ch4:ofi", False, LIBFABRIC, LIBFABRIC),
        ("5.0.2", "ch4:ucx", True, {}, {}),
        ("4.3.2", "ch4:ucx ofi", False, {}, {}),
        ("4.3.2", "ch3:nemesis", False, {}, {}),
    ],
)
def test_mpich_that_loses_requests_over_ucx_takes_libfabric_where_it_has_it_but_never_its_sockets(
    version, device, harmful, told, told_on_one_node
):
    described = MPICH.format(version, device)
    assert loses_requests(described, {}) is harmful
    assert rank_environment(described, {}, across_nodes=True) == told
    assert rank_environment(described, {}, across_nodes=False) == told_on_one_node


def test_what_the_user_has_chosen_counts():
    described = MPICH.format("5.0.2", "ch4:ucx ofi")
    assert rank_environment(described, {NETWORK: "ucx"}, across_nodes=True) == {}
    assert rank_environment(described, {NETWORK: "ofi"}, across_nodes=False) == LIBFABRIC
    assert rank_environment(described, {LIBFABRIC_PROVIDERS: "verbs"}, across_nodes=True) == {NETWORK: "ofi"}
    assert loses_requests(described, {NETWORK: "ucx"})
    assert not loses_requests(described, {NETWORK: "ofi"})


def test_another_mpi_is_told_nothing():
    assert rank_environment("", {}, across_nodes=True) == {}
    assert not loses_requests("", {})


def test_this_mpich_says_what_it_is_built_with():
    assert library().startswith("MPICH Version:")
