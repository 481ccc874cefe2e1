"""Host lists: what they mean, and what is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import ManagerError
from flexmpi.scheduler.hostlists import expand_hosts

BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("", ()),
        ("node5", ("node5",)),
        ("node[0-2,10],login", ("node0", "node1", "node2", "node10", "login")),
        ("n[08-11]-ib", ("n08-ib", "n09-ib", "n10-ib", "n11-ib")),
        ("r[0-1]n[7,9]", ("r0n7", "r0n9", "r1n7", "r1n9")),
        ("cn-1.example.org,a_b", ("cn-1.example.org", "a_b")),
    ],
)
def test_a_list_of_hosts_means_these(text, names):
    assert expand_hosts(text) == names


@pytest.mark.parametrize(
    "text", ["node[", "node[1-", "node]", "a,,b", ",a", "node[a]", "node[]", "node[1-2", "a b", "n[1--2]"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ManagerError, match="list of hosts"):
        expand_hosts(text)


@BOUNDED
@given(st.text(alphabet="ab01-,[]", max_size=12))
def test_whatever_it_is_names_have_no_brackets_left(text):
    with suppress(ManagerError):
        assert not any(set(name) & set("[],") for name in expand_hosts(text))


@BOUNDED
@given(
    st.lists(
        st.tuples(st.sampled_from(["n", "rack-", "x."]), st.integers(0, 50), st.integers(0, 5), st.integers(1, 4)),
        max_size=4,
    )
)
def test_folding_and_expanding_give_the_names_back(ranges):
    folded = ",".join(f"{stem}[{first:0{width}}-{first + more:0{width}}]" for stem, first, more, width in ranges)
    names = tuple(
        f"{stem}{number:0{width}}" for stem, first, more, width in ranges for number in range(first, first + more + 1)
    )
    assert expand_hosts(folded) == names
