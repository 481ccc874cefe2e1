"""Rows lie in their nodes' files or in ranks' memory, and worlds of any shape take them; ``programs/take.py`` checks it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.applications import soak_seed
from tests.runtime.arrays.test_redistribution import run

PROGRAM = Path(__file__).parent / "programs" / "take.py"
DENIED = "this kernel does not let a process reach another one's memory (ptrace scope, seccomp)"


def hand_over(way: str, ranks: int, folder: Path, seed: int) -> str:
    return run(ranks, str(folder), seed, way, program=PROGRAM)


@pytest.mark.parametrize(("ranks", "seed"), [(1, 1), (2, 2), (3, 3), (5, 4)])
def test_a_successor_of_any_shape_takes_what_it_is_to_have_and_the_predecessors_rows_stay_as_they_are(
    ranks: int, seed: int, tmp_path: Path
) -> None:
    assert hand_over("node", ranks, tmp_path, seed) == "25 handovers"


@pytest.mark.parametrize(("ranks", "seed"), [(1, 5), (2, 6), (3, 7), (5, 8)])
def test_rows_in_private_memory_are_read_there_on_a_node_and_travel_between_nodes(
    ranks: int, seed: int, tmp_path: Path
) -> None:
    said = hand_over("private", ranks, tmp_path, seed)
    if "memory refused" in said:
        pytest.skip(DENIED)
    assert said == "25 handovers"


@pytest.mark.parametrize(("ranks", "seed"), [(2, 9), (3, 10), (5, 11)])
def test_what_the_kernel_does_not_let_some_ranks_read_comes_through_the_nodes_files(
    ranks: int, seed: int, tmp_path: Path
) -> None:
    assert hand_over("refused", ranks, tmp_path, seed).startswith("25 handovers, memory refused in ")


@pytest.mark.soak
@pytest.mark.parametrize("way", ["node", "private", "refused"])
def test_two_thousand_successors_of_any_shape_take_what_they_are_to_have(way: str, tmp_path: Path) -> None:
    seed = soak_seed()
    for number in range(80):
        folder = tmp_path / str(number)
        folder.mkdir()
        said = hand_over(way, 1 + number % 6, folder, (seed + number) % 2**31)
        assert said.startswith("25 handovers"), said
