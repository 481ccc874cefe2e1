"""Runs mpi4py's own tests in the world that computes when the file ``run`` appears in ``--folder``; each rank tells what failed.

``--tests`` is the folder of tests of mpi4py's source distribution. What each rank has found goes to a file in ``--folder``.
"""

from __future__ import annotations

import argparse
import io
import json
import sys
import time
import unittest
from pathlib import Path

from mpi4py import MPI

import flexmpi

DYNAMIC = ("test_spawn", "test_dynproc")
"""These start other worlds."""

parser = argparse.ArgumentParser()
parser.add_argument("--folder", type=Path, required=True)
parser.add_argument("--tests", type=Path, required=True)
options = parser.parse_args()


def run_tests() -> dict[str, object]:
    sys.path.insert(0, str(options.tests))
    names = sorted(path.stem for path in options.tests.glob("test_*.py") if path.stem not in DYNAMIC)
    suite = unittest.TestSuite(unittest.defaultTestLoader.loadTestsFromName(name) for name in names)
    result = unittest.TextTestRunner(stream=io.StringIO()).run(suite)
    failed = sorted(test.id() for test, _ in (*result.errors, *result.failures))
    return {"run": result.testsRun, "failed": failed}


with flexmpi.session() as flex:
    for _ in flex.iterate(10**9):
        if MPI.COMM_WORLD.bcast((options.folder / "run").exists()):
            found = json.dumps(run_tests())
            (options.folder / f"found.{flex.rank}").write_text(found)
            flex.stop()
        time.sleep(0.001)
