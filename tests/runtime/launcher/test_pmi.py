"""What ranks are told by the process manager of a world that no ``mpiexec`` has started."""

from __future__ import annotations

import pytest

from flexmpi.runtime.launcher.pmi import Exchange


def test_ranks_exchange_values_and_are_told_at_once_that_all_have_come() -> None:
    exchange = Exchange(2, "world")
    assert exchange.answer(0, b"cmd=init pmi_version=1 pmi_subversion=1\n") == [
        (0, b"cmd=response_to_init rc=0 pmi_version=1 pmi_subversion=1\n")
    ]
    assert exchange.answer(1, b"cmd=get_my_kvsname\n") == [(1, b"cmd=my_kvsname rc=0 kvsname=world\n")]
    assert exchange.answer(0, b"cmd=put kvsname=world key=card value=a=b\n") == [(0, b"cmd=put_result rc=0\n")]
    assert exchange.answer(0, b"cmd=barrier_in\n") == []
    both = [(0, b"cmd=barrier_out rc=0\n"), (1, b"cmd=barrier_out rc=0\n")]
    assert exchange.answer(1, b"cmd=barrier_in\n") == both
    assert exchange.answer(1, b"cmd=get kvsname=world key=card\n") == [(1, b"cmd=get_result rc=0 value=a=b\n")]
    assert exchange.answer(1, b"cmd=barrier_in\n") == [], "the next barrier begins anew"
    assert exchange.answer(0, b"cmd=finalize\n") == [(0, b"cmd=finalize_ack rc=0\n")]


def test_what_is_not_there_is_said_to_be_missing() -> None:
    assert Exchange(1, "w").answer(0, b"cmd=get kvsname=w key=PMI_hwloc_xmlfile\n") == [(0, b"cmd=get_result rc=1\n")]


def test_all_ranks_are_said_to_be_on_one_node() -> None:
    asked = b"cmd=get kvsname=w key=PMI_process_mapping\n"
    assert Exchange(3, "w").answer(2, asked) == [(2, b"cmd=get_result rc=0 value=(vector,(0,1,3))\n")]


def test_an_abort_keeps_its_status_and_is_never_taken_for_success() -> None:
    for told, status in ((b"7", 7), (b"0", 1), (b"256", 1), (b"-1", 255)):
        exchange = Exchange(1, "w")
        assert exchange.answer(0, b"cmd=abort exitcode=" + told + b"\n") == []
        assert exchange.aborted == status


@pytest.mark.parametrize("line", [b"\n", b"mcmd=spawn\n", b"cmd=put kvsname=w\n", b"\xff\xfe\n"])
def test_what_is_not_understood_is_refused(line: bytes) -> None:
    with pytest.raises(ValueError, match="not understood"):
        Exchange(1, "w").answer(0, line)
