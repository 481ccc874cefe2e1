from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from flexmpi.cluster.platform import Node
from flexmpi.configuration import read_rankfile
from flexmpi.controller.folder import RunFolder, flexmpi_run
from flexmpi.errors import ConfigurationError

NODES = tuple(Node(name, 4, name) for name in ("c1", "c2", "c3"))


def test_a_rankfile_has_every_node_those_with_ranks_first(tmp_path: Path) -> None:
    with RunFolder(tmp_path / "run") as folder:
        folder.write_rankfile(0, nodes=NODES, placement={"c3": 2, "c1": 1})
        assert folder.rankfile(0) == tmp_path / "run" / "rankfiles" / "rankfile1"
        assert list(read_rankfile(folder.rankfile(0), NODES).items()) == [("c3", 2), ("c1", 1), ("c2", 0)]


def test_an_execution_script_runs_exactly_its_command_in_its_directory(tmp_path: Path) -> None:
    odd = tmp_path / "a folder; with 'quotes' $HOME"
    odd.mkdir()
    arguments = ["*", "$(touch x)", "two words", "", "new\nline", "'"]
    program = "import os, sys; print([os.getcwd(), *sys.argv[1:]])"
    with RunFolder(tmp_path / "run") as folder:
        folder.write_script(1, command=[sys.executable, "-c", program, *arguments], directory=odd, port=6669)
        done = subprocess.run([folder.script(1)], capture_output=True, text=True, timeout=20, check=True)
        assert done.stdout.strip() == repr([str(odd), *arguments])
        assert folder.script(1) == tmp_path / "run" / "execscripts" / "exec2"
    assert not any(odd.iterdir())


def test_two_controllers_cannot_use_one_folder_at_the_same_time(tmp_path: Path) -> None:
    with RunFolder(tmp_path), pytest.raises(ConfigurationError, match="another controller is using it; give --folder"):
        RunFolder(tmp_path)
    with RunFolder(tmp_path) as again:
        assert again.path == tmp_path


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigurationError, match="cannot be used: Not a directory"):
        RunFolder(tmp_path / "file" / "run")


def test_the_command_line_begins_with_the_flexmpi_of_this_installation(tmp_path: Path) -> None:
    python = tmp_path / "python"
    assert flexmpi_run(python) == [str(python), "-m", "flexmpi.cli", "run"]
    (tmp_path / "flexmpi").write_text("")
    (tmp_path / "flexmpi").chmod(0o755)
    assert flexmpi_run(python) == [str(tmp_path / "flexmpi"), "run"]
