"""What is a whole number in text that others have written, wherever it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.numerals import LONGEST, whole_number
from flexmpi.protocol.address import Address
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.job.options import Identity
from flexmpi.slurm.own_job import parse_cores, parse_counts
from flexmpi.slurm.times import seconds_of

ENDLESS = "9" * 5000
"""More digits than ``int`` takes."""
NO_NUMBERS = ("", "+4", "-4", " 4", "4\n", "1_000", "4.0", "\N{FULLWIDTH DIGIT FOUR}", "\N{SUPERSCRIPT TWO}", ENDLESS)


@given(st.integers(0, 10**9 - 1), st.integers(0, 3))
def test_a_number_is_read_with_leading_zeros_or_without(number: int, zeros: int) -> None:
    written = f"{'0' * zeros}{number}"
    assert whole_number(written, longest=LONGEST) == number
    assert whole_number(written) == (number if len(written) <= 9 else None)


@pytest.mark.parametrize("text", NO_NUMBERS)
def test_what_is_none_is_told_apart_without_an_error(text: str) -> None:
    assert whole_number(text) is None
    assert seconds_of(text) is None
    assert Identity.read({"SLURM_JOB_ID": text}, prefix="SLURM").job_id is None
    with pytest.raises(ConfigurationError, match="--listen must be PORT"):
        Address.parse(f"localhost:{text}", option="--listen")
    with pytest.raises(ConfigurationError, match="the interval must be"):
        Interval.parse(text)
    with pytest.raises(ConfigurationError, match="expected its name and cores"):
        parse_cores(f"node0|4\nnode1|{text}\n")


@pytest.mark.parametrize("text", [ENDLESS, f"4(x{ENDLESS})", "4(x1000000000)"])
def test_counts_that_no_allocation_has_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected a form like"):
        parse_counts(text)


def test_an_alias_that_is_not_known_is_refused_however_long_the_others_are() -> None:
    nodes = [Node(f"host{number}", 1, f"n{ENDLESS[number:]}") for number in range(8)]
    with pytest.raises(CommandError, match="no node or alias 'fast'"):
        find_nodes(nodes, "fast")
