"""`flexmpi run -m` runs a module as ``python -m`` does; one that there is not is refused before anything is started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flexmpi.cli.scripts import program_of
from flexmpi.errors import ConfigurationError
from flexmpi.runtime.job.options import JobOptions, Limits
from tests.applications import Application, Leftovers

PROGRAM = """
import json, sys
from . import part
seen = {"argv": sys.argv, "name": __name__, "package": __package__, "path": sys.path[0], "spec": __spec__.name}
if __name__ == "__main__":
    import multiprocessing
    import flexmpi
    with flexmpi.session() as flex, multiprocessing.get_context("spawn").Pool(1) as pool:
        for _ in flex.iterate(2):
            flex.comm.Barrier()
        assert pool.map(part.double, [2]) == [4]
    print(json.dumps(seen), flush=True)
"""


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a package in it: ``inner.program`` is a module of it, and ``inner`` can be run itself."""
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "__init__.py").write_text("raise_if_imported = 1\n")
    (inner / "part.py").write_text("def double(number):\n    return 2 * number\n")
    (inner / "program.py").write_text(PROGRAM)
    (inner / "__main__.py").write_text(PROGRAM)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("module", ["inner.program", "inner"])
def test_a_module_is_run_as_python_runs_it(package: Path, module: str) -> None:
    leftovers = Leftovers()
    application = Application(
        ("-q", "-n2", "-m", module, "--steps", "5", "-q"), folder=leftovers.folder, environment={}
    )
    status, output, errors = application.finish()
    application.close()
    leftovers.check()
    assert status == 0, errors
    plain = [sys.executable, "-m", module, "--steps", "5", "-q"]
    expected = subprocess.run(plain, stdout=subprocess.PIPE, check=True, timeout=60, env={**os.environ})
    assert [json.loads(line) for line in output.splitlines()] == [json.loads(expected.stdout)] * 2


@pytest.mark.parametrize(
    ("module", "why"),
    [
        ("inner.nothing", "no module named 'inner.nothing'"),
        ("nothing.program", "no module named 'nothing'"),
        ("inner.program.py", "inner.program is a module and no package; -m takes a module's name, without .py"),
        ("bare", "this package has no module __main__, which would be run"),
        ("bare.more", "no module named 'bare.more'"),
        (".inner", "no module named ''"),
    ],
)
def test_a_module_that_cannot_be_run_is_refused_without_importing_anything(
    package: Path, module: str, why: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        program_of(module, is_module=True)
    assert str(refused.value) == f"-m {module}: {why}"
    assert not {"inner", "bare"} & set(sys.modules)


def test_a_module_of_the_standard_library_is_found_and_a_script_is_no_module(package: Path) -> None:
    assert program_of("json.tool", is_module=True) == ("-m", "json.tool")
    (package / "-m").write_text("")
    assert program_of("-m", is_module=False) == ("./-m",)


@pytest.mark.parametrize(("command", "name"), [(("-m", "a.b", "-q"), "a.b"), (("/x/solver.py", "-m"), "solver.py")])
def test_a_job_is_called_by_its_program(command: tuple[str, ...], name: str) -> None:
    assert JobOptions(command=command, nodes=(), placement={}, limits=Limits()).program == name
