"""Machine files of other programs in place of a corefile, nodefile or rankfile: what they are called, and what to write."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from flexmpi.cluster.machine_files import recognise
from flexmpi.cluster.platform import Node
from flexmpi.configuration import read_corefile, read_nodefile, read_rankfile
from flexmpi.errors import ConfigurationError

CORES = "host:cores"
COREFILE = "host:cores[:alias[:cost[:speed]]]"
RANKS = "host[:ranks]"

OPEN_MPI = "a line of a hostfile of Open MPI (host slots=N)"
OPEN_MPI_RANKS = "a line of a rankfile of Open MPI (rank N=host slot=…)"
HYDRA = "a line of a host file of Hydra (mpiexec -f)"
PBS = "a line of a list with a line for each slot of a host (as $PBS_NODEFILE)"
HOSTS = "a line of a list of hosts (as of scontrol show hostnames)"
GRID_ENGINE = "a line of $PE_HOSTFILE of Grid Engine"
LSF = "a line of hosts and slots with blanks between them (as $LSB_MCPU_HOSTS)"
OTHER_LSF = "a line of hosts with blanks between them (as $LSB_HOSTS)"
SLURM = "a line of a host list of Slurm (scontrol show hostnames unfolds it)"
COMMAS = "a line of hosts with commas between them (mpiexec -hosts)"
A_COREFILE = "a line of a corefile (host:cores:alias…; a nodefile of the original's scripts is one)"
A_SCHEDULE = "a line of a schedule (iteration:±n:alias…): give it to --schedule"

# The text of a file, the line that cannot be read, whose it is, and the line to write.
FOREIGN = {
    "Open MPI": ("# two kinds of node\nnode01 slots=4 max_slots=8\nnode02 slots=2\n", 2, OPEN_MPI, "node01:4"),
    "Open MPI, blanks around =": ("node01 slots = 4\n", 1, OPEN_MPI, "node01:4"),
    "Open MPI, max-slots first": ("node01.example.org max-slots=8 slots=4\n", 1, OPEN_MPI, "node01.example.org:4"),
    "Open MPI, with a user": ("alice@node01 slots=4\n", 1, OPEN_MPI, "node01:4"),
    "Open MPI, no slots": ("node01 max_slots=8\n", 1, OPEN_MPI, "node01:N"),
    "LAM": ("node01 cpu=2\n", 1, OPEN_MPI, "node01:2"),
    "rankfile of Open MPI": (
        "rank 0=node01 slot=1:0-2\nrank 1=node02 slot=0\nrank 2=node01 slot=p1\n", 1, OPEN_MPI_RANKS, "node01:2"
    ),
    "Hydra, interface": ("node01:4 ifname=eth1\nnode02:4 ifname=eth1\n", 1, HYDRA, "node01:4"),
    "Hydra, binding": ("node01:8\nnode02:4 binding=user:0,1 user=alice\n", 2, HYDRA, "node02:4"),
    "Hydra, no number": ("node01 ifname=eth1\n", 1, HYDRA, "node01:1"),
    "Grid Engine": (
        "compute-12 16 all.q@compute-12 UNDEFINED\ncompute-13 8 all.q@compute-13 UNDEFINED\n",
        1, GRID_ENGINE, "compute-12:16"
    ),
    "LSF": ("hostA 2 hostB 4\n", 1, LSF, "hostA:2"),
    "a blank for the colon": ("node01 4\nnode02 4\n", 1, LSF, "node01:4"),
    "LSF, each slot": ("hostA hostA hostB\n", 1, OTHER_LSF, "hostA:2"),
    "Slurm": ("node[01-04,07],login\n", 1, SLURM, "node01:N"),
    "Slurm, one name each": ("node01,node02\n", 1, SLURM, "node01:N"),
    "commas": ("node01:4,node02:2\n", 1, COMMAS, "node01:4"),
}  # fmt: skip
# Hosts alone are ranks for a rankfile, one each; it has as many fields as a nodefile else.
ALONE = {
    "hosts": ("node01\nnode02\n", 1, HOSTS, "node01:N"),
    "PBS": ("node02\nnode01\nnode01\nnode02\nnode02\n", 1, PBS, "node02:3"),
    "Open MPI, a host alone": ("foo.example.org\nbar.example.org slots=2\n", 1, OPEN_MPI, "foo.example.org:N"),
}


NODES = [Node(name, 64, name) for name in ("node01", "node02", "hostA")]
READERS: dict[str, Callable[[Path], object]] = {
    "corefile": read_corefile,
    "nodefile": read_nodefile,
    "rankfile": partial(read_rankfile, nodes=NODES),
}


def refused(path: Path, text: str, kind: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        READERS[kind](path)
    return str(caught.value)


def message(path: Path, kind: str, line: int, what: str, *, content: str, write: str) -> str:
    layout = {"corefile": COREFILE, "nodefile": CORES, "rankfile": RANKS}[kind]
    write = write.replace(":N", ":RANKS" if kind == "rankfile" else ":CORES")
    return f"{kind} {path}, line {line}: expected {layout}, got {content!r}, {what}: write '{write}'"


@pytest.mark.parametrize("kind", ["corefile", "nodefile", "rankfile"])
@pytest.mark.parametrize("name", FOREIGN)
def test_a_machine_file_of_another_program_is_called_what_it_is_with_the_line_to_write(
    name: str, kind: str, tmp_path: Path
) -> None:
    text, line, what, write = FOREIGN[name]
    content = text.splitlines()[line - 1]
    expected = message(tmp_path / "hosts", kind, line, what, content=content, write=write)
    assert refused(tmp_path / "hosts", text, kind) == expected


@pytest.mark.parametrize("kind", ["corefile", "nodefile"])
@pytest.mark.parametrize("name", ALONE)
def test_hosts_alone_are_refused_where_their_cores_are_needed_with_the_line_to_write(
    name: str, kind: str, tmp_path: Path
) -> None:
    text, line, what, write = ALONE[name]
    content = text.splitlines()[line - 1]
    expected = message(tmp_path / "hosts", kind, line, what, content=content, write=write)
    assert refused(tmp_path / "hosts", text, kind) == expected


def test_a_pbs_nodefile_for_a_rankfile_is_refused_at_the_second_line_of_a_host(tmp_path: Path) -> None:
    expected = message(tmp_path / "ranks", "rankfile", 3, PBS, content="node01", write="node01:2")
    assert refused(tmp_path / "ranks", "node02\nnode01\nnode01\n", "rankfile") == expected


@pytest.mark.parametrize("kind", ["nodefile", "rankfile"])
@pytest.mark.parametrize("content", ["node01:12:node01", "node01:12:fast:100:5170"])
def test_a_corefile_in_place_of_another_file_is_given_to_its_option(content: str, kind: str, tmp_path: Path) -> None:
    layout = CORES if kind == "nodefile" else RANKS
    expected = f"expected {layout}, got {content!r}, {A_COREFILE}: give it to --corefile, or write 'node01:12'"
    assert refused(tmp_path / "nodes", f"{content}\n", kind) == f"{kind} {tmp_path / 'nodes'}, line 1: {expected}"


def test_a_schedule_in_place_of_another_file_is_given_to_its_option(tmp_path: Path) -> None:
    assert refused(tmp_path / "nodes", "100:+4:fast\n", "nodefile").endswith(f"got '100:+4:fast', {A_SCHEDULE}")


@pytest.mark.parametrize("content", ["", "?!", "node01:four", "node01:4:", "a b=", "[", "n[", ",,", "=", "a@b@c"])
def test_what_no_program_writes_is_not_recognised(content: str) -> None:
    assert recognise([content, "node02:4"], 0) is None


@pytest.mark.parametrize(
    ("content", "options", "expected"),
    [
        ("elsewhere:1", [], "line 2: host must be one of compute-1, compute-2, compute-3, compute-4, got 'elsewhere'"),
        ("compute-1:13", [], "line 2: ranks must be at most the 12 cores of compute-1, got 13"),
        ("compute-1:0", [], "it starts no rank at all, expected 1 or more"),
        ("compute-1:2", ["-n3"], "ranks must add up to the 3 processes asked for, got 2"),
        ("compute-1:2", ["--nodes=2"], "at least 2 nodes must have ranks, got 1 node"),
    ],
)
def test_what_is_wrong_with_a_rankfile_is_said_by_flexmpi_run_with_the_file(
    content: str, options: list[str], expected: str, tmp_path: Path
) -> None:
    corefile, rankfile, script = tmp_path / "core", tmp_path / "ranks", tmp_path / "script.py"
    corefile.write_text("".join(f"compute-{number}:12\n" for number in range(1, 5)))
    rankfile.write_text(f"# ranks\n{content}\n")
    script.touch()
    command = [sys.executable, "-m", "flexmpi.cli", "run", f"--corefile={corefile}", f"--rankfile={rankfile}"]
    finished = subprocess.run([*command, *options, script], capture_output=True, text=True, timeout=60, check=False)
    separator = ", " if expected.startswith("line ") else ": "
    assert (finished.returncode, finished.stdout) == (2, "")
    assert finished.stderr == f"flexmpi: error: rankfile {rankfile}{separator}{expected}\n"
