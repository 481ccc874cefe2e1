"""Which way ranks take to other nodes, by what MPICH says of itself."""

from __future__ import annotations

import pytest

from flexmpi.runtime.between_nodes import NETWORK, NOT_SOCKETS, PROVIDER, library, loses_requests, rank_environment

MPICH = "MPICH Version:      {}\nMPICH Release date: some day\nMPICH ABI:          18:2:6\nMPICH Device:       {}\n"


@pytest.mark.parametrize(
    ("version", "device", "harmful", "told"),
    [
        ("5.0.2", "ch4:ucx ofi", True, {NETWORK: "ofi", PROVIDER: NOT_SOCKETS}),
        ("5.0.0", "ch4:ucx,ofi", True, {NETWORK: "ofi", PROVIDER: NOT_SOCKETS}),
        ("5.0.2", "ch4:ofi ucx", False, {PROVIDER: NOT_SOCKETS}),
        ("5.0.2", "ch4:ofi", False, {PROVIDER: NOT_SOCKETS}),
        ("5.0.2", "ch4:ucx", True, {}),
        ("4.3.2", "ch4:ucx ofi", False, {}),
        ("4.3.2", "ch3:nemesis", False, {}),
    ],
)
def test_mpich_that_loses_requests_over_ucx_takes_libfabric_where_it_has_it(version, device, harmful, told):
    described = MPICH.format(version, device)
    assert loses_requests(described, {}) is harmful
    assert rank_environment(described, {}) == told


def test_what_the_user_has_chosen_counts():
    described = MPICH.format("5.0.2", "ch4:ucx ofi")
    assert rank_environment(described, {NETWORK: "ucx"}) == {}
    assert loses_requests(described, {NETWORK: "ucx"})
    assert not loses_requests(described, {NETWORK: "ofi"})
    assert rank_environment(described, {NETWORK: "ofi"}) == {PROVIDER: NOT_SOCKETS}
    assert rank_environment(described, {PROVIDER: "verbs"}) == {NETWORK: "ofi"}


def test_another_mpi_is_told_nothing():
    assert rank_environment("", {}) == {}
    assert not loses_requests("", {})


def test_this_mpich_says_what_it_is_built_with():
    assert library().startswith("MPICH Version:")
