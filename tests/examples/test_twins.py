from __future__ import annotations

import ast
import difflib
import importlib.util
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import scipy.io
import scipy.sparse
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.applications import COREFILES

EXAMPLES = Path(__file__).parents[2] / "examples"
PLAIN = sorted(path for path in (EXAMPLES / "plain").glob("*.py") if not path.is_symlink())
MOST_DIFFERENT_LINES = 10


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"example_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sparse_matrix = load(EXAMPLES / "sparse_matrix.py")


def run(program: str, *options: str | Path, ranks: int) -> subprocess.CompletedProcess[str]:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI", "FLEXMPI_"))
    }
    return subprocess.run(
        [mpiexec, "-launcher", "fork", "-rmk", "user", "-n", str(ranks), sys.executable, EXAMPLES / program, *options],
        check=False,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def flexmpi_run(program: str, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flexmpi.cli", "run", "--quiet", "-n2", f"--corefile={COREFILES / 'demo.core'}",
         EXAMPLES / program, *options],
        check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def solution(program: str, *options: str | Path, ranks: int, folder: Path) -> NDArray[np.float64]:
    output = folder / "x.npy"
    finished = run(program, *options, "--output", output, ranks=ranks)
    assert finished.returncode == 0, finished.stderr
    assert finished.stderr == ""
    assert len(finished.stdout.splitlines()) == (2 if "jacobi" in program else 1)
    x: NDArray[np.float64] = np.load(output)
    return x


def grid_matrix(grid: int) -> NDArray[np.float64]:
    line = 2 * np.eye(grid) - np.eye(grid, k=1) - np.eye(grid, k=-1)
    laplacian: NDArray[np.float64] = np.kron(line, np.eye(grid)) + np.kron(np.eye(grid), line)
    return laplacian


def random_positive_definite(order: int) -> scipy.sparse.coo_array:
    half = scipy.sparse.random_array((order, order), density=0.1, rng=np.random.default_rng(1))
    return scipy.sparse.coo_array(half @ half.T + scipy.sparse.eye_array(order))


# The answers


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("program", ["plain/jacobi.py", "jacobi.py"])
def test_jacobi_finds_the_solution_of_the_dense_system(program: str, ranks: int, tmp_path: Path) -> None:
    x = solution(program, "--dim", "37", "--seed", "5", "--diff-tol", "1e-10", ranks=ranks, folder=tmp_path)
    A = load(EXAMPLES / "plain" / "jacobi.py").matrix_rows(37, range(37), 5)
    np.testing.assert_allclose(x, np.linalg.solve(A, np.ones(37)), atol=1e-9)


@pytest.mark.parametrize("program", ["plain/jacobi.py", "jacobi.py"])
def test_the_intensities_and_ranks_without_rows_do_not_change_the_answer(program: str, tmp_path: Path) -> None:
    intensities = ("--cpu-intensity", "3", "--com-intensity", "2", "--io-intensity", "10")
    x = solution(program, "--dim", "2", "--diff-tol", "1e-10", *intensities, ranks=3, folder=tmp_path)
    A = load(EXAMPLES / "plain" / "jacobi.py").matrix_rows(2, range(2), 0)
    np.testing.assert_allclose(x, np.linalg.solve(A, np.ones(2)), atol=1e-9)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@pytest.mark.parametrize("program", ["plain/conjugate_gradient.py", "conjugate_gradient.py"])
def test_conjugate_gradients_solve_poissons_equation(program: str, ranks: int, tmp_path: Path) -> None:
    x = solution(program, "--grid", "9", "--tolerance", "1e-12", ranks=ranks, folder=tmp_path)
    np.testing.assert_allclose(x, np.linalg.solve(grid_matrix(9), np.ones(81)), rtol=1e-9)


@pytest.mark.parametrize("program", ["plain/conjugate_gradient.py", "conjugate_gradient.py"])
def test_conjugate_gradients_solve_a_matrix_market_file(program: str, tmp_path: Path) -> None:
    A = random_positive_definite(60)
    scipy.io.mmwrite(tmp_path / "A.mtx", A, symmetry="symmetric")
    x = solution(program, "--matrix", tmp_path / "A.mtx", "--tolerance", "1e-12", ranks=3, folder=tmp_path)
    np.testing.assert_allclose(x, np.linalg.solve(A.toarray(), np.ones(60)), rtol=1e-8)


@pytest.mark.parametrize("program", ["plain/conjugate_gradient.py", "conjugate_gradient.py"])
def test_conjugate_gradients_refuse_a_matrix_that_is_not_positive_definite(program: str, tmp_path: Path) -> None:
    (tmp_path / "A.mtx").write_text("%%MatrixMarket matrix coordinate real general\n2 2 2\n1 1 -1\n2 2 -1\n")
    finished = run(program, "--matrix", tmp_path / "A.mtx", ranks=2)
    assert finished.returncode != 0
    assert "conjugate_gradient: the matrix is not positive definite" in finished.stderr


def general_file(path: Path, A: NDArray[np.float64]) -> Path:
    """Write all entries of a matrix to a file that does not say that it is symmetric."""
    scipy.io.mmwrite(path, scipy.sparse.coo_array(A), symmetry="general", precision=17)
    return path


@pytest.mark.parametrize("ranks", [1, 3])
@pytest.mark.parametrize("program", ["plain/conjugate_gradient.py", "conjugate_gradient.py"])
def test_conjugate_gradients_refuse_a_matrix_that_is_nearly_symmetric(program: str, ranks: int, tmp_path: Path) -> None:
    A = random_positive_definite(60).toarray()
    A[40, 3] += 1e-6
    finished = run(program, "--matrix", general_file(tmp_path / "A.mtx", A), ranks=ranks)
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("conjugate_gradient: the matrix is not symmetric: u·Av and v·Au differ by ")


@pytest.mark.parametrize("program", ["plain/conjugate_gradient.py", "conjugate_gradient.py"])
def test_conjugate_gradients_take_a_matrix_that_is_symmetric_but_for_rounding(program: str, tmp_path: Path) -> None:
    A = random_positive_definite(60).toarray()
    A[np.triu_indices(60, 1)] *= 1 + 4 * np.finfo(float).eps
    assert (A != A.T).any()
    path = general_file(tmp_path / "A.mtx", A)
    x = solution(program, "--matrix", path, "--tolerance", "1e-12", ranks=3, folder=tmp_path)
    np.testing.assert_allclose(x, np.linalg.solve(A, np.ones(60)), rtol=1e-8)


NOT_CONVERGED = [
    ("conjugate_gradient.py", ["--grid=9", "--itmax=3"], "conjugate_gradient: not converged: relative residual "),
    ("jacobi.py", ["--dim=20", "--itmax=3"], "jacobi: not converged: --itmax is too small for --diff-tol"),
]


@pytest.mark.parametrize(("program", "options", "why"), NOT_CONVERGED, ids=["conjugate gradients", "jacobi"])
@pytest.mark.parametrize("plain", [True, False])
def test_a_solver_that_has_not_converged_ends_with_status_1_and_one_line(
    program: str, options: list[str], why: str, plain: bool
) -> None:
    finished = run(f"plain/{program}" if plain else program, *options, ranks=2)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(why)


@pytest.mark.parametrize(("program", "options", "why"), NOT_CONVERGED, ids=["conjugate gradients", "jacobi"])
def test_the_job_of_a_solver_that_has_not_converged_ends_with_status_1_and_one_line(
    program: str, options: list[str], why: str
) -> None:
    finished = flexmpi_run(program, *options)
    assert finished.returncode == 1
    (line,) = finished.stderr.splitlines()
    assert line.startswith(why)


def test_the_job_of_conjugate_gradients_ends_with_status_1_and_one_line_where_the_matrix_is_not_symmetric(
    tmp_path: Path,
) -> None:
    path = general_file(tmp_path / "A.mtx", np.array([[2.0, 1.0], [0.0, 2.0]]))
    finished = flexmpi_run("conjugate_gradient.py", "--matrix", path)
    assert (finished.returncode, finished.stdout) == (1, "")
    (line,) = finished.stderr.splitlines()
    assert line.startswith("conjugate_gradient: the matrix is not symmetric: ")


def test_jacobi_without_a_tolerance_does_all_iterations_and_ends_well() -> None:
    finished = run("plain/jacobi.py", "--dim=20", "--itmax=3", "--diff-tol=0", ranks=2)
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "Jacobi: 3 iterations" in finished.stdout


@pytest.mark.parametrize("program", ["plain/conjugate_gradient.py", "conjugate_gradient.py"])
def test_a_file_that_is_refused_is_told_by_line_without_a_traceback(program: str, tmp_path: Path) -> None:
    path = tmp_path / "A.mtx"
    path.write_text(f"{HEAD} real symmetric\n2 2 4\n1 1 2\n2 1 1\n1 2 1\n2 2 2\n")
    finished = run(program, "--matrix", path, ranks=1)
    assert finished.returncode == 1
    assert finished.stderr == (
        f"conjugate_gradient: {path}, line 5: a symmetric file has one triangle, got an entry above the diagonal "
        "after one on the other side in line 4\n"
    )


# The difference


def code_lines(path: Path) -> list[str]:
    """The lines of a program that are neither blank nor part of a docstring."""
    text = path.read_text()
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Module | ast.FunctionDef | ast.ClassDef) and ast.get_docstring(node) is not None:
            docstring = node.body[0]
            for number in range(docstring.lineno, (docstring.end_lineno or 0) + 1):
                lines[number - 1] = ""
    return [line for line in lines if line.strip()]


def different_lines(first: list[str], second: list[str]) -> int:
    changes = difflib.SequenceMatcher(None, first, second, autojunk=False).get_opcodes()
    return sum(max(i2 - i1, j2 - j1) for tag, i1, i2, j1, j2 in changes if tag != "equal")


@pytest.mark.parametrize("plain", PLAIN, ids=lambda path: path.stem)
def test_an_elastic_program_differs_from_its_plain_twin_by_ten_lines_at_most(plain: Path) -> None:
    difference = different_lines(code_lines(plain), code_lines(EXAMPLES / plain.name))
    assert 0 < difference <= MOST_DIFFERENT_LINES


@pytest.mark.parametrize("plain", PLAIN, ids=lambda path: path.stem)
def test_a_plain_twin_does_not_mention_flexmpi_in_its_code(plain: Path) -> None:
    assert not [line for line in code_lines(plain) if "flexmpi" in line]


def test_the_difference_counts_changed_lines_once_and_leaves_out_docstrings_and_blank_lines(tmp_path: Path) -> None:
    (tmp_path / "first.py").write_text('"""One."""\n\na = 1\nb = 2\nc = 3\n')
    (tmp_path / "second.py").write_text('"""Two.\n\nThree.\n"""\na = 1\n\nb = 4\nb = 5\nc = 3\nd = 6\n')
    assert different_lines(code_lines(tmp_path / "first.py"), code_lines(tmp_path / "second.py")) == 3


# The dense matrix


@pytest.mark.parametrize("plain", [True, False])
def test_both_twins_make_the_same_rows_whoever_makes_them(plain: bool) -> None:
    whole = load(EXAMPLES / "plain" / "jacobi.py").matrix_rows(20, range(20), 3)
    name = "plain/jacobi.py" if plain else "jacobi.py"
    function = next(
        node
        for node in ast.parse((EXAMPLES / name).read_text()).body
        if isinstance(node, ast.FunctionDef) and node.name == "matrix_rows"
    )
    room: dict[str, object] = {"np": np, "SPECTRAL_RADIUS": 0.99, "range": range, "NDArray": NDArray}
    exec(compile(ast.Module([function], []), name, "exec"), room)
    np.testing.assert_array_equal(room["matrix_rows"](20, range(7, 12), 3), whole[7:12])  # type: ignore[operator]


def test_the_dense_matrix_is_diagonally_dominant_with_the_stated_spectral_radius() -> None:
    jacobi = load(EXAMPLES / "plain" / "jacobi.py")
    A = jacobi.matrix_rows(50, range(50), 0)
    diagonal = np.diag(A)
    assert (diagonal > np.abs(A).sum(axis=1) - diagonal).all()
    radius = np.abs(np.linalg.eigvals(np.eye(50) - A / diagonal[:, None])).max()
    assert radius == pytest.approx(jacobi.SPECTRAL_RADIUS)


# The sparse matrix


def dense(rows: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]], columns: int) -> NDArray[np.float64]:
    indptr, indices, data = rows
    matrix = scipy.sparse.csr_array((data, indices, indptr), shape=(len(indptr) - 1, columns))
    result: NDArray[np.float64] = matrix.toarray()
    return result


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.lists(st.integers(0, 3), max_size=12), st.integers(0, 2**32 - 1))
def test_the_product_is_right_with_empty_rows_anywhere(row_lengths: list[int], seed: int) -> None:
    random = np.random.default_rng(seed)
    indptr = np.concatenate([[0], np.cumsum(row_lengths)]).astype(np.int64)
    rows = sparse_matrix.CsrRows(indptr, random.integers(0, 8, indptr[-1]), random.normal(size=indptr[-1]))
    x = random.normal(size=8)
    np.testing.assert_allclose(sparse_matrix.multiply(rows, x), dense(rows, 8) @ x, atol=1e-12)


@pytest.mark.parametrize("grid", [1, 2, 5])
def test_poisson_rows_are_the_five_point_laplacian(grid: int) -> None:
    n = grid**2
    parts = [sparse_matrix.poisson_rows(grid, range(first, min(first + 3, n))) for first in range(0, n, 3)]
    np.testing.assert_array_equal(np.concatenate([dense(part, n) for part in parts]), grid_matrix(grid))
    assert sparse_matrix.poisson_rows(grid, range(n, n)).indptr.tolist() == [0]


HEAD = "%%MatrixMarket matrix coordinate"
FILES = {
    "real general": f"{HEAD} real general\n% made by hand\n3 3 4\n1 1 2.5\n3 1 -1e-3\n1 3 4\n3 3 5\n",
    "integer general": f"{HEAD} integer general\n2 2 2\n1 2 7\n2 1 -7\n",
    "pattern general": f"{HEAD} pattern general\n3 3 2\n1 2\n3 3\n",
    "real symmetric": f"{HEAD} real symmetric\n3 3 4\n1 1 2\n2 1 -1\n3 2 0.5\n3 3 4\n",
    "the upper triangle": f"{HEAD} real symmetric\n3 3 3\n1 2 -1\n3 3 2\n2 3 0.5\n",
    "pattern symmetric": f"{HEAD} pattern symmetric\n4 4 3\n1 1\n4 1\n3 2\n",
    "capitals, blank lines and CRLF": f"{HEAD} REAL General\r\n%\r\n\r\n2 2 2\r\n1 1 1.5\r\n\r\n2 2 2\r\n",
    "unsorted with a repeated entry": f"{HEAD} real general\n2 2 4\n2 2 1\n1 2 3\n1 1 2\n2 2 4\n",
    "no entries": f"{HEAD} real general\n2 2 0\n",
}


@pytest.mark.parametrize("lines_at_once", [1, 2, 100_000])
@pytest.mark.parametrize("text", FILES.values(), ids=FILES)
def test_a_matrix_market_file_is_read_as_scipy_reads_it(
    text: str, lines_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_matrix, "LINES_AT_ONCE", lines_at_once)
    path = tmp_path / "A.mtx"
    path.write_bytes(text.encode())
    expected = scipy.io.mmread(path).toarray()
    n = sparse_matrix.matrix_market_order(path)
    assert expected.shape == (n, n)
    for cut in range(n + 1):
        parts = [sparse_matrix.matrix_market_rows(path, rows) for rows in (range(cut), range(cut, n))]
        np.testing.assert_array_equal(np.concatenate([dense(part, n) for part in parts]), expected)


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("", 1, "expected '%%MatrixMarket matrix coordinate real|integer|pattern general|symmetric', got ''"),
        ("%%MatrixMarket matrix array real general\n", 1, "got '%%matrixmarket matrix array real general'"),
        (f"{HEAD} complex general\n", 1, "got '%%matrixmarket matrix coordinate complex general'"),
        (f"{HEAD} real skew-symmetric\n", 1, "got '%%matrixmarket matrix coordinate real skew-symmetric'"),
        (f"{HEAD} complex hermitian\n", 1, "got '%%matrixmarket matrix coordinate complex hermitian'"),
        (f"{HEAD} real general\n", 2, "expected the numbers of rows, columns and entries, got ''"),
        (f"{HEAD} real general\n%\n2 2\n", 3, "expected the numbers of rows, columns and entries, got '2 2'"),
        (f"{HEAD} real general\n2 2 -1\n", 2, "expected the numbers of rows, columns and entries, got '2 2 -1'"),
        (f"{HEAD} real general\n2 3 1\n1 1 1\n", 2, "expected a square matrix, got 2 x 3"),
        (f"{HEAD} real general\n2 2 1\n\n1 x 1\n", 4, "a row and a column from 1 to 2 and a number, got '1 x 1'"),
        (f"{HEAD} real general\n2 2 2\n1 1 1\n1 2\n", 4, "a row and a column from 1 to 2 and a number, got '1 2'"),
        (f"{HEAD} real general\n2 2 1\n1 1.5 1\n", 3, "a row and a column from 1 to 2 and a number, got '1 1.5 1'"),
        (f"{HEAD} real general\n2 2 1\n0 1 1\n", 3, "a row and a column from 1 to 2 and a number, got '0 1 1'"),
        (f"{HEAD} real general\n2 2 1\n1 3 1\n", 3, "a row and a column from 1 to 2 and a number, got '1 3 1'"),
        (f"{HEAD} real general\n2 2 1\n1 1 nan\n", 3, "a row and a column from 1 to 2 and a number, got '1 1 nan'"),
        (f"{HEAD} pattern general\n2 2 1\n1 1 1\n", 3, "expected a row and a column from 1 to 2, got '1 1 1'"),
        (f"{HEAD} real general\n2 2 2\n1 1 1\n", 3, "the file ends after 1 entries, expected 2"),
        (f"{HEAD} real general\n2 2 1\n1 1 1\n2 2 1\n", 4, "expected 1 entries and no more"),
    ],
)
def test_a_malformed_matrix_market_file_is_refused_by_file_and_line(
    text: str, line: int, what: str, tmp_path: Path
) -> None:
    path = tmp_path / "A.mtx"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:
        sparse_matrix.matrix_market_rows(path, range(sparse_matrix.matrix_market_order(path)))
    assert str(raised.value).startswith(f"{path}, line {line}: ")
    assert str(raised.value).endswith(what)


TWO_SIDES = "a symmetric file has one triangle, got an entry {} the diagonal after one on the other side in line {}"


@pytest.mark.parametrize("lines_at_once", [1, 2, 100_000])
@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        (f"{HEAD} real symmetric\n3 3 4\n1 1 2\n2 1 1\n1 2 1\n2 2 2\n", 5, TWO_SIDES.format("above", 4)),
        (f"{HEAD} real symmetric\n3 3 3\n1 2 1\n\n% no\n3 3 1\n3 1 1\n", 7, TWO_SIDES.format("below", 3)),
        (f"{HEAD} pattern symmetric\n3 3 3\n2 1\n3 3\n1 3\n", 5, TWO_SIDES.format("above", 3)),
    ],
)
def test_a_symmetric_file_with_entries_on_both_sides_of_the_diagonal_is_refused_by_line(
    text: str, line: int, what: str, lines_at_once: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sparse_matrix, "LINES_AT_ONCE", lines_at_once)
    path = tmp_path / "A.mtx"
    path.write_text(text)
    with pytest.raises(ValueError) as raised:
        sparse_matrix.matrix_market_rows(path, range(0))
    assert str(raised.value) == f"{path}, line {line}: {what}"
