"""What a program sees of its data on one rank, before and after the rank has rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from flexmpi.errors import UsageError
from flexmpi.runtime.arrays.dense import DistributedArray, DistributedCSR, ReplicatedArray, RowSpace, State
from flexmpi.runtime.arrays.distribution import Distribution


def space_of(counts: list[int], rank: int) -> RowSpace:
    return RowSpace(sum(counts), Distribution.from_counts(counts), rank)


def newcomer_space(rows: int) -> RowSpace:
    return RowSpace(rows)


def matrix(**options: Any) -> DistributedCSR:
    """Return rows 2..4 of a 5 x 4 matrix."""
    return DistributedCSR("A", (5, 4), space=space_of([2, 3], 1), **options)


def test_a_dense_array_starts_as_zeros_in_the_rows_of_its_rank() -> None:
    array = DistributedArray("x", (5, 3), space=space_of([2, 3], 1), dtype=np.int16)
    assert array.rows == range(2, 5)
    assert array.local.shape == (3, 3) and array.local.dtype == np.int16 and not array.local.any()
    assert array.counts.tolist() == [2, 3] and array.offsets.tolist() == [0, 2, 5]
    assert array.counts.dtype == array.offsets.dtype == np.int64


def test_an_integer_shape_is_a_vector() -> None:
    assert DistributedArray("x", 5, space=space_of([5], 0)).local.shape == (5,)


def test_the_block_stays_the_same_array_and_can_be_changed_in_place() -> None:
    array = DistributedArray("x", (3,), space=space_of([3], 0))
    block = array.local
    array.local += 2
    array.local[1] = 5
    assert array.local is block
    assert block.tolist() == [2, 5, 2]


@pytest.mark.parametrize(
    "make", [lambda: DistributedArray("x", 3, space=space_of([3], 0)), lambda: ReplicatedArray("x", 3)]
)
def test_replacing_the_block_is_refused(make: Any) -> None:
    with pytest.raises(UsageError, match=r"'x'.local cannot be replaced, write into it: 'x'.local\[...\] = ..."):
        make().local = np.ones(3)


def test_objects_of_one_row_space_always_have_the_same_rows() -> None:
    space = space_of([2, 3], 0)
    dense, sparse = DistributedArray("x", 5, space=space), DistributedCSR("A", (5, 4), space=space)
    space.distribution = Distribution.from_counts([4, 1])
    assert dense.rows == sparse.rows == range(4)
    assert dense.counts.tolist() == sparse.counts.tolist() == [4, 1]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((), "one axis at least"),
        ((5, -1), "none negative"),
        ((5, 1.5), "must be integers"),
        ((4,), "has 4 rows, its row space has 5"),
    ],
)
def test_a_shape_without_meaning_is_refused(shape: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"'x'.*{message}"):
        DistributedArray("x", shape, space=space_of([5], 0))


@pytest.mark.parametrize("dtype", [object, [("a", object)], np.dtypes.StringDType()])
def test_a_dtype_of_python_objects_is_refused(dtype: Any) -> None:
    with pytest.raises(UsageError, match=r"'x': .* holds Python objects"):
        DistributedArray("x", 5, space=space_of([5], 0), dtype=dtype)
    with pytest.raises(UsageError, match=r"'x': .* holds Python objects"):
        ReplicatedArray("x", 5, dtype=dtype)


def test_objects_of_single_rows_are_not_sent_to_the_state_which_has_those_of_rank_0_alone() -> None:
    with pytest.raises(UsageError, match="bytes of a fixed length") as refused:
        DistributedArray("x", 5, space=space_of([5], 0), dtype=object)
    assert "state" not in str(refused.value)
    assert DistributedArray("x", 5, space=space_of([5], 0), dtype="S64").local.shape == (5,), "as it is advised"
    with pytest.raises(UsageError, match=r"use flex\.state, for they are the same on every rank"):
        ReplicatedArray("x", 5, dtype=object)


def test_an_unknown_dtype_is_refused() -> None:
    with pytest.raises(UsageError, match="'x': dtype must be a numpy type, got 'flaot'"):
        DistributedArray("x", 5, space=space_of([5], 0), dtype="flaot")


def test_a_newcomer_holds_nothing_of_the_right_shape_until_it_joins() -> None:
    dense = DistributedArray("x", (5, 3), space=newcomer_space(5), dtype=complex)
    sparse = DistributedCSR("A", (5, 4), space=newcomer_space(5), dtype=np.float32, row_cost=[1, 2, 3, 4, 5])
    assert dense.local.shape == (0, 3) and dense.local.dtype == complex
    assert sparse.indptr.tolist() == [0] and sparse.indices.size == sparse.data.size == 0
    assert sparse.data.dtype == np.float32
    costs = sparse.row_costs()
    assert costs is not None and costs.shape == (0,)
    for each in (dense, sparse):
        assert each.rows == range(0)
        assert each.counts.tolist() == [] and each.offsets.tolist() == [0]
        assert each.shape[0] == 5
        assert "rows 0:0 here" in repr(each)


def test_a_matrix_starts_without_non_zeros() -> None:
    sparse = matrix()
    assert sparse.indptr.tolist() == [0, 0, 0, 0] and sparse.indptr.dtype == np.int64
    assert sparse.rows == range(2, 5) and sparse.counts.tolist() == [2, 3] and sparse.offsets.tolist() == [0, 2, 5]


@pytest.mark.parametrize(("given", "kept"), [(np.int32, np.int32), (np.int64, np.int64), (np.uint16, np.int64)])
def test_assigned_arrays_are_kept_with_their_index_type(given: Any, kept: Any) -> None:
    sparse = matrix()
    sparse.assign(np.array([0, 2, 2, 3], dtype=np.int32), np.array([0, 3, 1], dtype=given), [1, 2, 3])
    assert sparse.indptr.dtype == np.int64 and sparse.indptr.tolist() == [0, 2, 2, 3]
    assert sparse.indices.dtype == kept and sparse.indices.tolist() == [0, 3, 1]
    assert sparse.data.dtype == np.float64 and sparse.data.tolist() == [1, 2, 3]
    sparse.data *= 2
    assert sparse.data.tolist() == [2, 4, 6]


def test_large_arrays_of_the_right_type_are_taken_without_a_copy() -> None:
    indptr, indices, data = np.array([0, 1, 1, 2]), np.array([0, 3], dtype=np.int32), np.array([1.0, 2.0])
    sparse = matrix()
    sparse.assign(indptr, indices, data)
    assert sparse.indptr is indptr and sparse.indices is indices and sparse.data is data


def test_rows_without_non_zeros_may_be_empty_lists() -> None:
    sparse = matrix()
    sparse.assign([0, 0, 0, 0], [], [])
    assert sparse.indices.dtype == np.int64 and sparse.data.dtype == np.float64


@pytest.mark.parametrize(
    ("indptr", "indices", "data", "message"),
    [
        ([0, 1, 2], [0, 1], [1, 2], "indptr must hold 4 integers for 3 local rows"),
        ([0.0, 1.0, 1.0, 2.0], [0, 1], [1, 2], "indptr must hold 4 integers"),
        ([1, 1, 1, 2], [0, 1], [1, 2], "indptr must start at 0 and never decrease"),
        ([0, 2, 1, 2], [0, 1], [1, 2], "indptr must start at 0 and never decrease"),
        ([0, 1, 1, 2], [0, 1, 2], [1, 2, 3], "indices must hold 2 integers"),
        ([0, 1, 1, 2], [0.0, 1.0], [1, 2], "indices must hold 2 integers"),
        ([0, 1, 1, 2], [0, 4], [1, 2], r"indices must lie in 0..3, got 0..4"),
        ([0, 1, 1, 2], [-1, 3], [1, 2], r"indices must lie in 0..3, got -1..3"),
        ([0, 1, 1, 2], [0, 1], [1, 2, 3], r"data must have shape \(2,\)"),
        ([0, 1, 1, 2], [0, 1], [1, 2j], "data must be float64 as declared, got complex128"),
        ([0, 1, 1, 2], [0, 1], ["a", "b"], "data must be float64 as declared"),
    ],
)
def test_rows_that_are_no_matrix_are_refused_and_change_nothing(
    indptr: Any, indices: Any, data: Any, message: str
) -> None:
    sparse = matrix()
    sparse.assign([0, 0, 0, 1], [2], [7.0])
    with pytest.raises(UsageError, match=f"'A': {message}"):
        sparse.assign(indptr, indices, data)
    assert sparse.indptr.tolist() == [0, 0, 0, 1] and sparse.indices.tolist() == [2] and sparse.data.tolist() == [7.0]


def test_non_zeros_are_the_row_costs_unless_a_cost_is_given() -> None:
    sparse = matrix()
    sparse.assign([0, 2, 2, 3], [0, 3, 1], [1, 2, 3])
    costs = sparse.row_costs()
    assert costs is not None and costs.dtype == np.int64 and costs.tolist() == [2, 0, 1]
    sparse.assign([0, 2, 2, 3], [0, 3, 1], [1, 2, 3], row_cost=[0.5, 1, 2])
    costs = sparse.row_costs()
    assert costs is not None and costs.tolist() == [0.5, 1, 2]
    assert matrix(balance="rows").row_costs() is None


def test_of_a_declared_row_cost_only_the_local_slice_is_kept_and_assign_leaves_it() -> None:
    costs = np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    sparse = matrix(row_cost=costs)
    sparse.assign([0, 0, 0, 0], [], [])
    assert sparse.row_cost is not None and sparse.row_cost.tolist() == [3, 4, 5]
    assert not np.shares_memory(sparse.row_cost, costs)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"row_cost": [1, 2, 3]}, r"row_cost must have shape \(5,\)"),
        ({"row_cost": [1, 2, 3, 4, -1]}, "row_cost must be finite and not negative"),
        ({"row_cost": [1, 2, 3, 4, np.nan]}, "row_cost must be finite and not negative"),
        ({"row_cost": ["a"] * 5}, "row_cost must hold numbers"),
        ({"row_cost": [1] * 5, "balance": "rows"}, "row_cost has no meaning with balance='rows'"),
        ({"balance": "columns"}, "balance must be 'nonzeros' or 'rows', got 'columns'"),
    ],
)
def test_options_of_a_matrix_without_meaning_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=f"'A': {message}"):
        matrix(**options)


def test_a_matrix_has_two_axes() -> None:
    with pytest.raises(UsageError, match=r"a CSR matrix has the shape \(rows, columns\)"):
        DistributedCSR("A", (5, 4, 3), space=space_of([5], 0))


def test_a_replicated_array_is_whole_everywhere() -> None:
    array = ReplicatedArray("centres", (2, 3), dtype=np.float32)
    block = array.local
    array.local += 1
    assert array.local is block and block.shape == (2, 3) and block.dtype == np.float32 and (block == 1).all()


def test_a_state_holds_declared_and_new_values() -> None:
    state = State(value=1.5)
    state.value = 2.5
    state.history = [1]
    assert state.value == 2.5 and state.history == [1]
    assert repr(state) == "State(value=2.5, history=[1])"


def test_an_unknown_state_value_names_the_known_ones() -> None:
    with pytest.raises(AttributeError, match="this state has no value 'vlaue'; it holds steps, value"):
        _ = State(value=1, steps=2).vlaue
    with pytest.raises(AttributeError, match="it holds nothing"):
        _ = State().value


def test_a_state_cannot_hold_a_value_that_hides_its_own_names() -> None:
    with pytest.raises(UsageError, match="cannot hold a value named 'descriptor'"):
        State(descriptor=1)


def test_descriptors_are_json_equal_for_equal_declarations_and_independent_of_the_rank() -> None:
    def declare(space: RowSpace) -> list[dict[str, Any]]:
        later = State(b=1, a=2)
        later.c = 3
        return [
            DistributedArray("x", (5, 2), space=space, dtype=[("a", "f8"), ("b", "i2")], constant=True).descriptor(),
            DistributedCSR("A", (5, 4), space=space, row_cost=[1] * 5).descriptor(),
            ReplicatedArray("c", 3).descriptor(),
            later.descriptor(),
        ]

    first, newcomer = declare(space_of([2, 3], 1)), declare(newcomer_space(5))
    assert json.dumps(first) == json.dumps(newcomer)
    assert first[0] == {
        "kind": "array",
        "name": "x",
        "shape": [5, 2],
        "dtype": "[('a', '<f8'), ('b', '<i2')]",
        "constant": True,
    }
    assert first[1]["kind"] == "csr" and first[1]["balance"] == "nonzeros" and first[1]["row_cost"] is True
    assert first[2] == {"kind": "replicated", "name": "c", "shape": [3], "dtype": "float64"}
    assert first[3] == {"kind": "state", "values": ["a", "b"]}
