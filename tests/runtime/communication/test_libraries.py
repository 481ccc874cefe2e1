"""The program's communicator in the hands of libraries: an ordinary Intracomm to C code, whatever it looks at."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable
from pathlib import Path

import mpi4py
import pytest

from tests.applications import PROGRAMS, Application

Start = Callable[..., Application]

PROGRAM = """
import sys
sys.path.insert(0, sys.argv[1])
import taking
import flexmpi
with flexmpi.session() as flex:
    for _ in flex.iterate(2):
        for comm in (flex.comm, flex.comm.Dup(), flex.comm.Split(0)):
            assert taking.take(comm) == (True, True, flex.size), taking.take(comm)
        assert taking.take(flex.comm.Create_cart([flex.size])) == (False, True, flex.size)
    print("taken")
"""


def compiled(folder: Path) -> str:
    """Return why the extension module cannot be made, or nothing when it is there."""
    compiler = Path(sys.executable).with_name("mpicc")
    if not compiler.exists():
        return "there is no mpicc beside this Python"
    includes = [f"-I{sysconfig.get_paths()['include']}", f"-I{mpi4py.get_include()}"]
    target = folder / f"taking{sysconfig.get_config_var('EXT_SUFFIX')}"
    command = [compiler, "-shared", "-fPIC", *includes, PROGRAMS / "taking.c", "-o", target]
    made = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    return made.stderr if made.returncode else ""


def test_c_code_takes_the_programs_communicator_for_the_intracomm_that_it_is(start: Start, tmp_path: Path) -> None:
    if problem := compiled(tmp_path):
        pytest.skip(f"no C code can be compiled against mpi4py here: {problem}")
    script = tmp_path / "script.py"
    script.write_text(PROGRAM)
    assert start("-q", "-n2", script, tmp_path).finish() == (0, "taken\ntaken\n", "")
