"""K-means on the digits of scikit-learn: the same clusters on any number of ranks, also while that number changes."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import sklearn.cluster
import sklearn.datasets
from numpy.typing import NDArray

from tests.applications import COREFILES, PROGRAMS, REPOSITORY, Application

EXAMPLES = REPOSITORY / "examples"
TWINS = pytest.mark.parametrize("program", ["plain/kmeans.py", "kmeans.py"])
CLUSTERS = 10
SEED = 3


def run(program: str, *options: object, ranks: int) -> subprocess.CompletedProcess[str]:
    mpiexec = Path(sys.executable).with_name("mpiexec")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("SLURM_", "PMI"))}
    command = [mpiexec, "-launcher", "fork", "-rmk", "user", "-n", ranks, sys.executable, EXAMPLES / program, *options]
    return subprocess.run(
        [str(part) for part in command], check=False, env=environment, capture_output=True, text=True, timeout=60
    )


def inertia(output: str) -> float:
    found = re.search(r"^K-means: \d+ iterations, movement \S+, inertia (\S+)$", output, re.MULTILINE)
    assert found is not None, output
    return float(found[1])


def lloyd(points: NDArray[np.float64], centres: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """Lloyd's method in one process, until nothing moves: the centres, and the sum of the squared distances to them."""
    while True:
        distances = np.stack([np.square(points - centre).sum(axis=1) for centre in centres], axis=1)
        nearest = distances.argmin(axis=1)
        moved = np.array([points[nearest == cluster].mean(axis=0) for cluster in range(len(centres))])
        if (moved == centres).all():
            return centres, float(distances.min(axis=1).sum())
        centres = moved


def chosen_rows(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """The first centres, as both twins choose them for SEED."""
    return points[np.random.default_rng(SEED).choice(len(points), CLUSTERS, replace=False)]


@pytest.fixture(scope="module")
def digits() -> NDArray[np.float64]:
    points: NDArray[np.float64] = sklearn.datasets.load_digits().data
    return points


@pytest.fixture(scope="module")
def expected(digits: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    return lloyd(digits, chosen_rows(digits))


@pytest.fixture
def digits_file(digits: NDArray[np.float64], tmp_path: Path) -> Path:
    np.save(tmp_path / "digits.npy", digits.astype(np.uint8))  # whole numbers from 0 to 16
    return tmp_path / "digits.npy"


def test_the_reference_of_these_tests_agrees_with_scikit_learn(
    digits: NDArray[np.float64], expected: tuple[NDArray[np.float64], float]
) -> None:
    known = sklearn.cluster.KMeans(CLUSTERS, init=chosen_rows(digits), n_init=1, tol=0, algorithm="lloyd").fit(digits)
    np.testing.assert_allclose(expected[0], known.cluster_centers_, atol=1e-9)
    assert expected[1] == pytest.approx(known.inertia_, rel=1e-9)


@pytest.mark.parametrize("ranks", [1, 2, 3])
@TWINS
def test_both_twins_find_the_clusters_of_the_digits_on_any_number_of_ranks(
    program: str, ranks: int, digits_file: Path, expected: tuple[NDArray[np.float64], float]
) -> None:
    output = digits_file.with_name("centres.npy")
    finished = run(program, "--data", digits_file, "--seed", SEED, "--output", output, ranks=ranks)
    assert (finished.returncode, finished.stderr) == (0, "")
    np.testing.assert_allclose(np.load(output), expected[0], atol=1e-12)
    assert inertia(finished.stdout) == pytest.approx(expected[1], rel=1e-6)


@pytest.mark.both_changes
@pytest.mark.every_library
def test_ranks_join_and_leave_without_a_trace_in_the_clusters(
    start: Callable[..., Application], digits_file: Path, expected: tuple[NDArray[np.float64], float]
) -> None:
    output = digits_file.with_name("centres.npy")
    until = digits_file.with_name("until")
    application = start(
        f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s", "-n2",
        PROGRAMS / "endless.py", until, EXAMPLES / "kmeans.py",
        "--data", digits_file, "--seed", SEED, "--output", output, "--tolerance", 0,
    )  # fmt: skip
    application.wait_for("loop")
    assert application.change("6:lhost:1:node2:1")["ranks_after"] == 4
    assert application.change("6:lhost:-2")["ranks_after"] == 2
    until.touch()
    status, printed, errors = application.finish()
    assert (status, errors) == (0, "")
    np.testing.assert_allclose(np.load(output), expected[0], atol=1e-12)
    assert inertia(printed) == pytest.approx(expected[1], rel=1e-6)


@TWINS
def test_points_come_from_a_csv_file_too_and_a_centre_without_points_stays(program: str, tmp_path: Path) -> None:
    """Of two equal points that both become centres, the second centre gets no point."""
    (tmp_path / "points.csv").write_text("1.5,-2\n1.5,-2\n")
    output = tmp_path / "centres.npy"
    finished = run(program, "--data", tmp_path / "points.csv", "--clusters", 2, "--output", output, ranks=2)
    assert (finished.returncode, finished.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(output), [[1.5, -2], [1.5, -2]])
    assert inertia(finished.stdout) == 0


def test_a_file_with_fewer_points_than_clusters_is_refused(tmp_path: Path) -> None:
    (tmp_path / "points.csv").write_text("1,2\n3,4\n")
    finished = run("kmeans.py", "--data", tmp_path / "points.csv", "--clusters", 3, ranks=1)
    assert finished.returncode != 0
    assert f"{tmp_path / 'points.csv'}: expected a table of 3 rows or more, got shape (2, 2)" in finished.stderr
