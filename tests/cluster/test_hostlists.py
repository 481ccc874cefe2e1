"""Host lists: what they mean, and what is none."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.hostlists import expand_hosts, fold_hosts
from flexmpi.errors import ManagerError

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
    "text", ["node[", "node[1-", "node]", "a,,b", ",a", "node[a]", "node[]", "node[1-2", "a b", "n[1--2]", "n[3-1]"]
)
def test_anything_else_is_refused(text):
    with pytest.raises(ManagerError, match="list of hosts"):
        expand_hosts(text)


@pytest.mark.parametrize("text", ["n[1-9999999999]", "n[0-999999],n", "n[0-9999]x[0-9999]", "n[0-600000,0-600000]"])
def test_a_list_that_cannot_be_meant_is_refused_before_it_fills_the_memory(text):
    with pytest.raises(ManagerError, match="at most 1000000 hosts"):
        expand_hosts(text)


@pytest.mark.parametrize(
    ("names", "folded"),
    [
        ((), ""),
        (("login",), "login"),
        (("node5",), "node5"),
        (("node7", "node1", "node3", "node2", "node2"), "node[1-3,7]"),
        (("node9", "node10", "node8"), "node[8-10]"),
        (("n08-ib", "n10-ib", "n09-ib"), "n[08-10]-ib"),
        (("n8", "n08", "n9"), "n[08,8-9]"),
        (("r2n1", "r10n1", "r2n2", "login"), "login,r2n[1-2],r10n1"),
        (("cn-1.example.org", "cn-2.example.org"), "cn-[1-2].example.org"),
        (("7", "8"), "[7-8]"),
    ],
)
def test_names_are_folded_by_their_last_number(names, folded):
    assert fold_hosts(names) == folded


@BOUNDED
@given(st.lists(st.text(alphabet="ab0129-.", min_size=1, max_size=6), max_size=12), st.randoms(use_true_random=False))
def test_what_was_folded_expands_to_each_name_once_whatever_its_order(names, random):
    folded = fold_hosts(names)
    assert sorted(expand_hosts(folded)) == sorted(set(names))
    random.shuffle(names)
    assert fold_hosts(names) == folded


def test_numbers_may_be_as_long_as_they_like_but_for_the_ends_of_a_range():
    longest, next_to_it = "9" * 5000, f"1{'0' * 5000}"
    assert fold_hosts([f"n{next_to_it}", f"n{longest}", "n9", "n10"]) == f"n[9-10,{longest},{next_to_it}]"
    assert expand_hosts(f"n[9-10,{longest}]") == ("n9", "n10", f"n{longest}")
    with pytest.raises(ManagerError, match="expected ranges of numbers in brackets"):
        expand_hosts(f"n[1-{longest}]")


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
