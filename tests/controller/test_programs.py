from __future__ import annotations

from pathlib import Path

import pytest

from flexmpi.controller.programs import read_programs
from flexmpi.errors import ConfigurationError

SHIPPED = Path(__file__).parents[2] / "configuration_files" / "workloads" / "applications.toml"


def written(folder: Path, text: str) -> Path:
    (folder / "code.py").write_text("")
    path = folder / "applications.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_the_shipped_file_names_the_examples() -> None:
    programs = read_programs(SHIPPED)
    assert {name: program.script.name for name, program in programs.items()} == {
        "jio": "jacobi.py",
        "jacobi": "jacobi.py",
        "cg": "conjugate_gradient.py",
    }


def test_values_fill_the_arguments_and_go_before_the_defaults(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        '[a]\nscript = "code.py"\narguments = ["--n={size}x{procs}", "{iterations}", "{}", "{ size }"]\n'
        "defaults = {size = 5, iterations = 7}\noptions = ['--interval=1']\n",
    )
    program = read_programs(path)["a"]
    assert program.script == tmp_path / "code.py"
    assert program.options == ("--interval=1",)
    assert program.filled_arguments({}, ranks=2) == ("--n=5x2", "7", "{}", "{ size }")
    assert program.filled_arguments({"size": "{procs}"}, ranks=2) == ("--n={procs}x2", "7", "{}", "{ size }")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "no application in it, expected tables such as [jio]"),
        ("[a", "Expected ']' at the end of a table declaration (at end of document)"),
        ("a = 1", "expected a table [a], got a = 1"),
        ('["a b"]\nscript = "code.py"', "name must be one word of letters, digits, '.', '_' and '-', got 'a b'"),
        ("[a]", "[a] script must be a file name, got None"),
        ('[a]\nscript = "none.py"', "[a] script must be there, relative to this file, got 'none.py'"),
        (
            '[a]\nscript = "code.py"\ncolour = 1',
            "[a] has no field 'colour', expected script, arguments, options, defaults",
        ),
        ('[a]\nscript = "code.py"\narguments = "-x"', "[a] arguments must be a list of texts, got '-x'"),
        ('[a]\nscript = "code.py"\noptions = [1]', "[a] options must be a list of texts, got [1]"),
        ('[a]\nscript = "code.py"\ndefaults = 1', "[a] defaults must be a table, got 1"),
        ('[a]\nscript = "code.py"\ndefaults = {io = true}', "[a] defaults: io must be a number or a text, got True"),
        (
            '[a]\nscript = "code.py"\ndefaults = {dim = 1}',
            "[a] defaults has no 'dim', expected size, cpu, com, io, io_action, iterations",
        ),
        (
            '[a]\nscript = "code.py"\narguments = ["{dim}"]',
            "[a] arguments: no placeholder {dim}, expected one of size, cpu, com, io, io_action, iterations, procs",
        ),
        (
            '[a]\nscript = "code.py"\narguments = ["{cpu}"]',
            "[a] defaults has no cpu, which the arguments need in a workload file",
        ),
    ],
)
def test_what_is_wrong_with_an_applications_file_is_said(tmp_path: Path, text: str, expected: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(ConfigurationError) as caught:
        read_programs(path)
    assert str(caught.value) == f"applications file {path}: {expected}"
