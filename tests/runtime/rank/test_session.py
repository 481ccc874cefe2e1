"""The session's contract under plain ``python`` and ``mpiexec``; ``tests/programs/session_api.py`` holds the cases."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import flexmpi
from tests.applications import PROGRAMS

MPIEXEC = Path(sys.executable).with_name("mpiexec")
LIMIT_S = 60
CASES = """
all_ranks_start an_array_is_distributed_by_rows a_sparse_matrix_keeps_what_it_is_assigned
rows_are_shared_by_nonzeros_when_the_loop_begins rows_are_shared_by_a_declared_cost_at_once
replicated_data_and_state_are_whole_on_every_rank a_name_is_used_once a_shape_or_type_that_means_nothing_is_refused
a_loop_counts_and_ends_by_break_or_stop a_loop_inside_a_loop_is_refused input_and_output_are_timed
outputs_and_what_is_exclusive_are_opened_at_once
the_communicator_is_an_intracomm_that_times_its_calls
a_class_of_the_programs_own_is_asked_once_for_each_call communicators_made_from_it_are_timed_too sessions_follow_each_other
""".split()


def run(*command: str | Path, ranks: int | None = None) -> subprocess.CompletedProcess[str]:
    """Run Python, or that many Pythons as one MPI world."""
    start = [] if ranks is None else [MPIEXEC, "-launcher", "fork", "-rmk", "user", "-n", str(ranks)]
    inherited = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI", "FLEXMPI_"))
    }
    return subprocess.run(
        [*start, sys.executable, *command],
        check=False,
        env=inherited,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )


@pytest.fixture(scope="module")
def outcome() -> Callable[[int | None], dict[str, str]]:
    """Run all cases on some ranks, once, and return what was wrong in each."""
    known: dict[int | None, dict[str, str]] = {}

    def of(ranks: int | None) -> dict[str, str]:
        if ranks not in known:
            finished = run(PROGRAMS / "session_api.py", ranks=ranks)
            known[ranks] = dict(json.loads(line) for line in finished.stdout.splitlines() if line.startswith("["))
            assert finished.returncode == 0, (known[ranks], finished.stderr)
        return known[ranks]

    return of


@pytest.mark.parametrize("ranks", [None, 2, 3], ids=["python", "mpiexec-2", "mpiexec-3"])
@pytest.mark.parametrize("case", CASES)
def test_a_program_with_the_ranks_it_was_given(
    case: str, ranks: int | None, outcome: Callable[[int | None], dict[str, str]]
) -> None:
    assert outcome(ranks)[case] == ""


def test_every_case_of_the_program_has_a_test(outcome: Callable[[int | None], dict[str, str]]) -> None:
    assert list(outcome(None)) == CASES


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules a fresh Python loads for some code, those of its own start excepted.

    What a module makes in memory, as Cython's do, has no spec.
    """
    found = "[name for name, module in sys.modules.items() if name not in before and getattr(module, '__spec__', 0)]"
    script = f"import sys; before = set(sys.modules)\n{code}\nprint(*{found})"
    finished = run("-c", script)
    assert finished.returncode == 0, finished.stderr
    return {name.partition(".")[0] for name in finished.stdout.split()}


def test_importing_flexmpi_loads_neither_mpi_nor_numpy() -> None:
    loaded = loaded_by("import flexmpi")
    assert "flexmpi" in loaded
    assert loaded <= {"flexmpi"} | sys.stdlib_module_names


def test_a_session_needs_the_standard_library_numpy_and_mpi4py_and_nothing_else() -> None:
    loaded = loaded_by("import flexmpi; flexmpi.session().__enter__().array('x', 3)")
    assert {"flexmpi", "numpy", "mpi4py"} <= loaded
    assert loaded <= {"flexmpi", "numpy", "mpi4py"} | sys.stdlib_module_names


def test_the_public_names_are_these() -> None:
    assert flexmpi.__all__ == ["FlexMPIError", "RankLeaves", "Session", "UsageError", "session"]
    assert set(dir(flexmpi)) == {*flexmpi.__all__, "__version__"}
    assert all(getattr(flexmpi, name).__name__ == name for name in flexmpi.__all__)
    with pytest.raises(AttributeError, match="no attribute 'sesion'; it has FlexMPIError"):
        print(flexmpi.sesion)  # type: ignore[attr-defined]


def test_a_leaving_rank_is_a_clean_exit_that_no_handler_of_errors_catches() -> None:
    assert issubclass(flexmpi.RankLeaves, SystemExit)
    assert not issubclass(flexmpi.RankLeaves, Exception)
    assert flexmpi.RankLeaves().code == 0
