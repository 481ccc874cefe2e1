"""The files that describe a platform and what is to happen on it: corefile, nodefile, rankfile, schedule.

Standard library only: the supervisor imports it. What a node is, and which nodes a name means, is in ``cluster.platform``.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from flexmpi.cluster.machine_files import older_schedule, recognise
from flexmpi.cluster.platform import Node, ScheduledChange, find_nodes, names_text
from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.numerals import whole_number

COREFILE_LAYOUT = "host:cores[:alias[:cost[:speed]]]"
SCHEDULE_LAYOUT = "iteration:±n:alias:±n:alias…"
PLATFORM_SEPARATOR = ","  # in no field


def read_corefile(path: Path) -> tuple[Node, ...]:
    """Read the nodes of a platform, in the order of the file.

    One ``host:cores:alias:cost:speed`` a line. Fields left out or left empty: the alias is the host, the cost 0,
    the speed unknown (also written -1). ``#`` starts a comment.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty, a field is not what it should be, a host is there twice, or an alias is
        another host's name.
    """
    return _nodes(_read_lines(path, kind="corefile", layout=COREFILE_LAYOUT, required=2))


def platform_text(nodes: Iterable[Node]) -> str:
    """Return a corefile's lines on one line, for the environment of a job; `parse_platform` reads it back."""
    return PLATFORM_SEPARATOR.join(
        f"{node.name}:{node.cores}:{node.alias}:{node.cost!r}:{-1 if node.speed is None else repr(node.speed)}"
        for node in nodes
    )


def parse_platform(text: str, *, name: str) -> tuple[Node, ...]:
    """Read what `platform_text` returns; ``name`` is where it was found, for messages.

    Raises
    ------
    ConfigurationError
        As `read_corefile`.
    """
    lines = text.split(PLATFORM_SEPARATOR)
    return _nodes(_split_lines(lines, file=name, layout=COREFILE_LAYOUT, required=2))


def _nodes(lines: Sequence[_Line]) -> tuple[Node, ...]:
    hosts = {line.host: line.number for line in lines}
    nodes = []
    for line in lines:
        alias = line.field(2) or line.host
        if not _is_name(alias):
            raise line.error(f"alias must be one word of letters, digits, '.', '_' and '-', got {alias!r}")
        if alias in hosts and alias != line.host:
            raise line.error(f"alias must not be another host's name, got {alias!r}, the host of line {hosts[alias]}")
        nodes.append(Node(line.host, _cores(line), alias, cost=_cost(line), speed=_speed(line)))
    return tuple(nodes)


def read_nodefile(path: Path) -> dict[str, int]:
    """Read the cores of each host, one ``host:cores`` a line, in the order of the file.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty, a field is not what it should be, or a host is there twice.
    """
    return {line.host: _cores(line) for line in _nodefile_lines(path)}


def read_rankfile(path: Path, nodes: Sequence[Node]) -> dict[str, int]:
    """Read the ranks to start on each host, in the order of the file.

    One ``host:n`` a line, n >= 0. A host alone stands for one rank, as in Hydra's host files.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty, a field is not what it should be, a host is there twice or is none of the nodes,
        or has more ranks than cores.
    """
    cores_of = {node.name: node.cores for node in nodes}
    ranks = {}
    for line in _read_lines(path, kind="rankfile", layout="host[:ranks]", required=1):
        text = line.field(1) if len(line.fields) > 1 else "1"
        count = whole_number(text)
        if count is None:
            raise line.error(f"ranks must be an integer, 0 or more, got {text!r}")
        if line.host not in cores_of:
            raise line.error(f"host must be one of {names_text(cores_of)}, got {line.host!r}")
        if count > cores_of[line.host]:
            raise line.error(f"ranks must be at most the {cores_of[line.host]} cores of {line.host}, got {count}")
        ranks[line.host] = count
    return ranks


def read_schedule(path: Path, nodes: Sequence[Node]) -> tuple[ScheduledChange, ...]:
    """Read a schedule of changes, the file that the original FlexMPI calls ``malleability``.

    One ``iteration:±n:alias:±n:alias…`` a line, in any order; ``#`` starts a comment, a ``:`` at the end does no harm.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty, a line changes nothing, a field is not what it should be, or no node has
        such a name or alias.
    """
    file = f"schedule {path}"
    contents = _contents(_read_text(path, file=file).split("\n"))
    schedule: list[ScheduledChange] = []
    for number, content in enumerate(contents, start=1):
        if fields := content.removesuffix(":"):
            line = _Line(file, number, tuple(map(str.strip, fields.split(":"))))
            is_change = schedule or whole_number(line.host) is not None
            if not is_change and (foreign := _recognised(contents, number - 1, SCHEDULE_LAYOUT)) is not None:
                raise line.error(foreign)
            schedule.append(_scheduled_change(line, nodes))
    if not schedule:
        raise ConfigurationError("no change in it, expected lines of iteration:±n:alias", file=file)
    return tuple(schedule)


def _scheduled_change(line: _Line, nodes: Sequence[Node]) -> ScheduledChange:
    iteration = whole_number(line.fields[0])
    if iteration is None:
        raise line.error(f"iteration must be an integer, 0 or more, got {line.fields[0]!r}")
    if len(line.fields) < 3 or len(line.fields) % 2 == 0:
        raise _no_change(line, f"expected {SCHEDULE_LAYOUT}, got {len(line.fields)} fields")
    changes = []
    for change, name in zip(line.fields[1::2], line.fields[2::2], strict=True):
        if not re.fullmatch(r"[+-]?[0-9]{1,6}", change):
            raise _no_change(line, f"the change must be a whole number of ranks, got {change!r}")
        try:
            find_nodes(nodes, name)
        except CommandError as error:
            raise _no_change(line, str(error)) from None
        changes.append((name, int(change)))
    if not any(change for _, change in changes):
        raise line.error("the line must change something, got only changes of 0")
    return ScheduledChange(iteration, tuple(changes))


def _no_change(line: _Line, what: str) -> ConfigurationError:
    if (older := older_schedule(line.fields)) is None:
        return line.error(what)
    shown = ":".join(line.fields)
    return line.error(f"expected {SCHEDULE_LAYOUT}, got {shown!r}, a line of an older schedule, which {older}")


def this_machine() -> tuple[Node, ...]:
    """Describe this machine as one node of class ``lhost``, with the cores this process may use."""
    return (Node(os.uname().nodename, len(os.sched_getaffinity(0)), "lhost"),)


def platform_nodes(corefile: Path | None, nodefile: Path | None) -> tuple[Node, ...]:
    """Put together the nodes an application may use.

    A corefile alone gives all its nodes; a nodefile alone gives nodes that are their own class. With both, the
    nodefile selects from the corefile's nodes, which keep their order, and caps their cores. With neither it is this
    machine.

    Raises
    ------
    ConfigurationError
        As `read_corefile` and `read_nodefile`; or the nodefile has a host that is not in the corefile, or gives it
        more cores than the corefile does.
    """
    if corefile is None:
        if nodefile is None:
            return this_machine()
        return tuple(Node(host, cores, host) for host, cores in read_nodefile(nodefile).items())
    nodes = read_corefile(corefile)
    if nodefile is None:
        return nodes
    known = {node.name: node for node in nodes}
    cores_of: dict[str, int] = {}
    for line in _nodefile_lines(nodefile):
        cores = _cores(line)
        if line.host not in known:
            raise line.error(f"host must be one of corefile {corefile} ({names_text(known)}), got {line.host!r}")
        if cores > known[line.host].cores:
            raise line.error(f"cores must be at most the {known[line.host].cores} of corefile {corefile}, got {cores}")
        cores_of[line.host] = cores
    return tuple(replace(node, cores=cores_of[node.name]) for node in nodes if node.name in cores_of)


class _Line(NamedTuple):
    """The fields of one line, and where it stands."""

    file: str
    number: int
    fields: tuple[str, ...]

    @property
    def host(self) -> str:
        return self.fields[0]

    def field(self, index: int) -> str:
        """Give a field's text, empty where the line ends before it."""
        return self.fields[index] if index < len(self.fields) else ""

    def error(self, what: str) -> ConfigurationError:
        return ConfigurationError(what, file=self.file, line=self.number)


def _nodefile_lines(path: Path) -> list[_Line]:
    return _read_lines(path, kind="nodefile", layout="host:cores", required=2)


def _read_lines(path: Path, *, kind: str, layout: str, required: int) -> list[_Line]:
    file = f"{kind} {path}"
    # Not splitlines(): it also breaks at form feeds and the like, and the numbers would not be an editor's.
    return _split_lines(_read_text(path, file=file).split("\n"), file=file, layout=layout, required=required)


def _split_lines(texts: Iterable[str], *, file: str, layout: str, required: int) -> list[_Line]:
    """Split lines into fields, the first of which is a host that no other line has."""
    contents = _contents(texts)
    lines: dict[str, _Line] = {}
    for number, content in enumerate(contents, start=1):
        if not content:
            continue
        line = _Line(file, number, tuple(field.strip() for field in content.split(":")))
        if what := _misshapen(line, lines.get(line.host), content, layout=layout, required=required):
            raise line.error(_recognised(contents, number - 1, layout) or what)
        lines[line.host] = line
    if not lines:
        raise ConfigurationError(f"no host in it, expected lines of {layout}", file=file)
    return list(lines.values())


def _misshapen(line: _Line, before: _Line | None, content: str, *, layout: str, required: int) -> str:
    """Say what is wrong with the form of a line, empty if nothing is; ``before`` is the line that has its host too."""
    if not required <= len(line.fields) <= layout.count(":") + 1:
        amount = "not enough" if len(line.fields) < required else "too many"
        return f"{amount} fields, expected {layout}, got {content!r}"
    if not _is_name(line.host):
        return f"host must be one word of letters, digits, '.', '_' and '-', got {line.host!r}"
    if before is not None:
        return f"host must be there once, got {line.host!r} again after line {before.number}"
    if re.search(r"[\s,]", line.field(1)):
        return f"{_counted(layout)} must be one number, got {line.field(1)!r}"
    return ""


def _recognised(contents: Sequence[str], at: int, layout: str) -> str | None:
    """Say which program's file a line is of and what to do; None where that is not known."""
    if (found := recognise(contents, at)) is None:
        return None
    ways = [f"give it to {found.option}"] if found.option is not None else []
    if found.host and layout != SCHEDULE_LAYOUT:
        count = _counted(layout).upper() if found.slots is None else str(found.slots)
        ways.append(f"write '{found.host}:{count}'")
    return (
        f"expected {layout}, got {contents[at]!r}, a line of {found.what}" + (": " if ways else "") + ", or ".join(ways)
    )


def _counted(layout: str) -> str:
    return "cores" if "cores" in layout else "ranks"


def _contents(texts: Iterable[str]) -> list[str]:
    """Return lines without comments, and without blanks around them."""
    return [text.partition("#")[0].strip() for text in texts]


def _read_text(path: Path, *, file: str) -> str:
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=file) from None
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(
            f"not UTF-8 text, got byte 0x{content[error.start]:02x}", file=file, line=line
        ) from None


def _is_name(text: str) -> bool:
    # A leading '-' would be an option to mpiexec and sbatch; '[1-4]' is no host list here and must not look like one.
    return re.fullmatch(r"\w[\w.-]*", text) is not None


def _number(text: str) -> float | None:
    try:
        value = float(text) if text.isascii() and "_" not in text else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _cores(line: _Line) -> int:
    cores = whole_number(line.field(1))
    if not cores:
        raise line.error(f"cores must be a positive integer, got {line.field(1)!r}")
    return cores


def _cost(line: _Line) -> float:
    cost = _number(line.field(3) or "0")
    if cost is None or cost < 0:
        raise line.error(f"cost must be a number, 0 or more, got {line.field(3)!r}")
    return cost


def _speed(line: _Line) -> float | None:
    speed = _number(line.field(4) or "-1")
    if speed == -1:
        return None
    if speed is None or speed <= 0:
        raise line.error(f"speed must be a positive number, or -1 for unknown, got {line.field(4)!r}")
    return speed
