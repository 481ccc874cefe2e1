"""Data moves between real MPI ranks; ``programs/redistribute.py`` checks every block against the global truth."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.applications import soak_seed

PROGRAM = Path(__file__).parent / "programs" / "redistribute.py"
CHECKOUT = Path(__file__).parents[3]
MPIEXEC = Path(sys.executable).parent / "mpiexec"
# Old and new block of the large case, and as much again for everybody else on the machine.
LARGE_CASE_GIB = 12


def run(ranks: int, case: str, seed: int = 0, *more: str, limit_s: float = 60, program: Path = PROGRAM) -> str:
    """Run a case under mpiexec and return what rank 0 said; a failed check on any rank ends the whole world."""
    # mpiexec inside a Slurm or MPI job would take its surroundings for its own.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI"))}
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    start = [str(MPIEXEC), "-launcher", "fork", "-rmk", "user", "-n", str(ranks)]
    finished = subprocess.run(
        [*start, sys.executable, "-m", "mpi4py", str(program), case, str(seed), *more],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=limit_s,
        check=False,
    )
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return finished.stdout.strip()


@pytest.mark.parametrize(("ranks", "seed"), [(2, 1), (3, 2), (4, 3)])
def test_every_object_arrives_whole_whatever_the_old_and_new_distribution(ranks: int, seed: int) -> None:
    assert run(ranks, "moves", seed) == "60 moves"


@pytest.mark.soak
def test_every_object_arrives_whole_in_six_thousand_moves() -> None:
    seed = soak_seed()
    for number in range(100):
        assert run(2 + number % 4, "moves", (seed + number) % 2**31) == "60 moves"


def test_long_runs_of_rows_are_cut_into_several_messages() -> None:
    assert run(3, "split", 4) == "60 moves"


@pytest.mark.parametrize(("ranks", "seed"), [(2, 5), (4, 6)])
def test_rows_arrive_of_which_both_ends_copy_a_part(ranks: int, seed: int) -> None:
    said = run(ranks, "both_copy", seed)
    if said == "60 moves, copies denied":
        pytest.skip("this kernel does not let a process reach another one's memory (ptrace scope, seccomp)")
    assert said == "60 moves"


def test_rows_arrive_where_some_ranks_may_not_reach_the_memory_of_others() -> None:
    assert run(3, "denied", 7) == "60 moves"


def test_rows_arrive_where_no_address_space_can_be_reserved_for_them() -> None:
    assert run(3, "copied", 8) == "60 moves"


@pytest.mark.parametrize(("ranks", "seed"), [(2, 9), (4, 10)])
def test_rows_arrive_while_the_old_ones_are_in_use_and_what_is_outdated_then_is_moved_again(
    ranks: int, seed: int
) -> None:
    assert run(ranks, "ahead_of_time", seed) == "moved ahead"


@pytest.mark.parametrize("way", ["memory", "memory_ahead"])
def test_no_rank_holds_more_than_the_old_and_the_new_block(way: str) -> None:
    assert run(2, way) == "within old block + new block"


def test_more_elements_than_fit_in_32_bits_arrive() -> None:
    available_gib = _available_gib()
    if available_gib < LARGE_CASE_GIB:
        pytest.skip(f"{available_gib:.1f} GiB of memory are available, the large case wants {LARGE_CASE_GIB}")
    assert run(2, "large", limit_s=150) == f"moved {2**31 + 4} elements"


def test_a_row_cost_known_for_some_rows_only_is_refused_on_every_rank() -> None:
    expected = "'A': row_cost was assigned by some ranks only, expected by all that hold rows"
    assert run(3, "half_cost") == expected


@pytest.mark.parametrize(("ranks", "seed"), [(1, 5), (3, 6), (4, 7)])
def test_ranks_that_know_only_their_own_costs_find_the_distribution_of_somebody_who_knows_all(
    ranks: int, seed: int
) -> None:
    assert run(ranks, "balance", seed) == "balanced"


@pytest.mark.parametrize(("ranks", "seed"), [(1, 8), (2, 9), (4, 10)])
def test_the_bytes_of_a_transition_are_foreseen_to_the_byte_whatever_kind_of_object_moves(
    ranks: int, seed: int
) -> None:
    assert run(ranks, "foreseen", seed) == "as foreseen"


def test_newcomers_receive_replicated_arrays_and_states_and_a_state_that_cannot_travel_is_refused() -> None:
    assert run(3, "replicate").startswith("the state cannot be copied to new ranks: ")


def _available_gib() -> float:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) / 2**20
    return 0.0
