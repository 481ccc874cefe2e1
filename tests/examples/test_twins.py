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
