"""Lines of the machine files and schedules that other programs read, recognised so that a message can say what a file is. Pure.

Nothing here is read for its nodes: a wrong guess would place ranks where nobody wanted them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from operator import or_

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.errors import ManagerError
from flexmpi.numerals import whole_number

_HOST = r"(?:[\w.-]+@)?(?P<host>\w[\w.-]*)"
_SETTING = r"[\w-]+\s*=\s*\S+"
_OPEN_MPI = re.compile(r"\b(?:slots|max[_-]slots|cpus?|count)\s*=")
_SLOTS = re.compile(r"(?<![\w-])(?:slots|cpus?|count)\s*=\s*(\d+)")


@dataclass(frozen=True)
class MachineLine:
    """A line of another program's file.

    Attributes
    ----------
    what
        Whose, in words.
    host
        The first that it names; empty where it names none.
    slots
        Of that host in the whole file; None where it does not say.
    option
        What takes such a file.
    """

    what: str
    host: str = ""
    slots: int | None = None
    option: str | None = None


def recognise(contents: Sequence[str], at: int) -> MachineLine | None:
    """Tell what program's file has such a line.

    Parameters
    ----------
    contents
        All lines of the file, without comments and blanks around them.
    at
        The index of the line in question.

    Returns
    -------
    MachineLine or None
        None where no program is known to write such a line. ``n1:4`` is Hydra's as well as a nodefile's or a rankfile's.
    """
    content = contents[at]
    if re.fullmatch(_HOST, content):
        return _host_alone(contents, content)
    return _with_settings(contents, content) or _with_blanks(content) or _with_colons(content) or _folded(content)


def older_schedule(fields: Sequence[str]) -> str | None:
    """Say how a line of a schedule is older than the changes of today and what to write; None if it is not.

    Older schedules of the original FlexMPI name hosts without a number (``100:n1:n2``), or say how many ranks there are to be
    in place of a change (``100:8``, ``100:n1:8``).
    """
    iteration, *rest = fields
    numbers = [whole_number(field.removeprefix("+")) is not None for field in rest]
    names = [re.fullmatch(r"[A-Za-z_][\w.-]*", field) is not None for field in rest]
    if not rest or not all(map(or_, numbers, names)):
        return None
    if all(names):
        added = ":".join([iteration, *(f"+1:{name}" for name in rest)])
        return f"names hosts without a number: write {added!r} to add a rank on each"
    counts = "says how many ranks there are to be, not how many come or leave"
    if all(numbers):
        return f"{counts}: write '{iteration}:±n:ALIAS' with the change"
    if len(rest) % 2 == 0 and all(names[::2]) and all(numbers[1::2]):
        changed = ":".join([iteration, *(f"±n:{name}" for name in rest[::2])])
        return f"{counts}: write {changed!r} with the changes"
    return None


def _host_alone(contents: Sequence[str], content: str) -> MachineLine | None:
    """A host alone is of the same file as the other lines, or of a list in which each line is a slot."""
    lines = [line for line in contents if line]
    if all(re.fullmatch(_HOST, line) for line in lines):
        host = content.rpartition("@")[2]
        if len(set(lines)) == len(lines):
            return MachineLine("a list of hosts (as of scontrol show hostnames)", host)
        return MachineLine("a list with a line for each slot of a host (as $PBS_NODEFILE)", host, lines.count(content))
    others = (_with_settings(lines, line) for line in lines)
    of_file = next((other for other in others if other is not None), None)
    return of_file and MachineLine(of_file.what, content.rpartition("@")[2])


def _with_settings(contents: Sequence[str], content: str) -> MachineLine | None:
    if found := re.fullmatch(rf"rank\s+\d+\s*=\s*\+?{_HOST}(?:\s+slots?\s*=.*)?", content):
        lines = sum(bool(re.match(rf"rank\s+\d+\s*=\s*\+?{re.escape(found['host'])}(?!\S)", line)) for line in contents)
        return MachineLine("a rankfile of Open MPI (rank N=host slot=…)", found["host"], lines)
    if found := re.fullmatch(rf"{_HOST}(?::(?P<slots>\d+))?(?:\s+{_SETTING})+", content):
        if _OPEN_MPI.search(content):
            slots = _SLOTS.search(content)
            return MachineLine(
                "a hostfile of Open MPI (host slots=N)", found["host"], whole_number(slots[1]) if slots else None
            )
        return MachineLine("a host file of Hydra (mpiexec -f)", found["host"], whole_number(found["slots"] or "1"))
    return None


def _with_blanks(content: str) -> MachineLine | None:
    if found := re.fullmatch(rf"{_HOST}\s+(?P<slots>\d+)\s+\S+@\S+(?:\s+\S+)?", content):
        return MachineLine("$PE_HOSTFILE of Grid Engine", found["host"], whole_number(found["slots"]))
    if found := re.fullmatch(rf"{_HOST}\s+(?P<slots>\d+)(?:\s+[A-Za-z_][\w.-]*\s+\d+)*", content):
        return MachineLine(
            "hosts and slots with blanks between them (as $LSB_MCPU_HOSTS)", found["host"], whole_number(found["slots"])
        )
    if found := re.fullmatch(rf"{_HOST}(?:\s+\w[\w.-]*)+", content):
        return MachineLine(
            "hosts with blanks between them (as $LSB_HOSTS)", found["host"], content.split().count(found["host"])
        )
    return None


def _with_colons(content: str) -> MachineLine | None:
    fields = [field.strip() for field in content.split(":")]
    if re.fullmatch(r"\d+:[+-]\d+:.*", content):
        return MachineLine("a schedule (iteration:±n:alias…)", option="--schedule")
    if not 3 <= len(fields) <= 5 or not re.fullmatch(_HOST, fields[0]) or fields[0].isdecimal():
        return None
    count = whole_number(fields[1])
    if count is None or not re.fullmatch(r"\w[\w.-]*", fields[2]):
        return None
    what = "a corefile (host:cores:alias…; a nodefile of the original's scripts is one)"
    return MachineLine(what, fields[0], count, "--corefile")


def _folded(content: str) -> MachineLine | None:
    """Several hosts in one line: Slurm's list, or that of ``mpiexec -hosts``."""
    if not {",", "["} & set(content):
        return None
    if found := re.fullmatch(rf"{_HOST}:(?P<slots>\d+)(?:,\w[\w.-]*(?::\d+)?)+", content):
        return MachineLine(
            "hosts with commas between them (mpiexec -hosts)", found["host"], whole_number(found["slots"])
        )
    try:
        hosts = expand_hosts(content)
    except ManagerError:
        return None
    if not hosts or not all(re.fullmatch(r"\w[\w.-]*", host) for host in hosts):
        return None
    return MachineLine("a host list of Slurm (scontrol show hostnames unfolds it)", hosts[0])
