"""Which applications are to run: the manual's workload file, and the ``app:size:…:procs`` of batch files.

Pure but for reading the file. When an application starts is batch.py's, where its ranks go where the file does not say
it, allocation.py's.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.controller.lines import content_lines, read_text
from flexmpi.controller.programs import PLACEHOLDERS, Program
from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.numerals import whole_number

PLACED = "NAME:NODE:RANKS:NODE:RANKS…"
SIZED = "NAME:SIZE:CPU:COM:IO:IOACTION:ITERATIONS:RANKS"


@dataclass(frozen=True)
class Submission:
    """One application that is to run.

    Attributes
    ----------
    ranks
        To start with, in all.
    placement
        Ranks on each node; empty where the controller is to choose.
    values
        Placeholder -> text; what is not there is the program's default.
    """

    program: Program
    ranks: int
    placement: Mapping[str, int] = field(default_factory=dict)
    values: Mapping[str, str] = field(default_factory=dict)

    @property
    def arguments(self) -> tuple[str, ...]:
        """The script's arguments."""
        return self.program.filled_arguments(self.values, ranks=self.ranks)


@dataclass(frozen=True)
class Platform:
    """What a submission may refer to: programs by name, and the nodes there are."""

    programs: Mapping[str, Program]
    nodes: Sequence[Node]


def read_workload(path: Path, *, platform: Platform) -> tuple[Submission, ...]:
    """Read a workload file: one application a line, ``name:node:ranks:node:ranks…``; ``#`` starts a comment.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is empty, or a line is not what `parse_placed` reads.
    """
    file = f"workload {path}"
    submissions = []
    for number, content in content_lines(read_text(path, file=file)):
        try:
            submissions.append(parse_placed(content, platform=platform))
        except ConfigurationError as error:
            raise ConfigurationError(str(error), file=file, line=number) from None
    if not submissions:
        raise ConfigurationError(f"no application in it, expected lines of {PLACED}", file=file)
    return tuple(submissions)


def parse_submission(text: str, *, platform: Platform) -> Submission:
    """Read an application as a workload file or a batch file has it; the number of fields tells which.

    Raises
    ------
    ConfigurationError
        It is neither.
    """
    if len(_fields(text)) == SIZED.count(":") + 1:
        return parse_sized(text, platform=platform)
    return parse_placed(text, platform=platform)


def parse_placed(text: str, *, platform: Platform) -> Submission:
    """Read an application of a workload file.

    A node goes by its host name, by ``localhost``, or by an alias that no other node has.

    Raises
    ------
    ConfigurationError
        A field is missing or not what it should be, a node or program is unknown, or a node has fewer cores.
    """
    name, *fields = _fields(text)
    if not fields or len(fields) % 2:
        raise ConfigurationError(f"expected {PLACED}, got {text!r}")
    program = _program(name, platform)
    placement: dict[str, int] = {}
    for node_name, count in zip(fields[::2], fields[1::2], strict=True):
        node = _node(node_name, platform.nodes)
        ranks = whole_number(count)
        if not ranks or ranks > node.cores:
            raise ConfigurationError(f"ranks on {node.name} must be 1 to its {node.cores} cores, got {count!r}")
        if node.name in placement:
            raise ConfigurationError(f"node must be there once, got {node.name} again")
        placement[node.name] = ranks
    return Submission(program, sum(placement.values()), placement=placement)


def parse_sized(text: str, *, platform: Platform) -> Submission:
    """Read an application of a batch file, for which the controller chooses the nodes.

    Raises
    ------
    ConfigurationError
        A field is missing or not what it should be, the program is unknown, or all nodes together have fewer cores.
    """
    name, *fields = _fields(text)
    if len(fields) != len(PLACEHOLDERS) + 1:
        raise ConfigurationError(f"expected {SIZED}, got {text!r}")
    program = _program(name, platform)
    values = dict(zip(PLACEHOLDERS, fields[:-1], strict=True))
    for placeholder, value in values.items():
        if placeholder == "io_action":
            if not re.fullmatch(r"[+-]?[0-9]{1,9}(\.[0-9]{1,9})?", value):
                raise ConfigurationError(f"io_action must be a number, got {value!r}")
        elif whole_number(value) is None:
            raise ConfigurationError(f"{placeholder} must be an integer, 0 or more, got {value!r}")
    ranks, cores = whole_number(fields[-1]), sum(node.cores for node in platform.nodes)
    if not ranks or ranks > cores:
        raise ConfigurationError(f"ranks must be 1 to the {cores} cores of all nodes, got {fields[-1]!r}")
    return Submission(program, ranks, values=values)


def _fields(text: str) -> list[str]:
    return [field.strip() for field in text.split(":")]


def _program(name: str, platform: Platform) -> Program:
    if name not in platform.programs:
        raise ConfigurationError(f"no application {name!r}, expected one of {', '.join(platform.programs)}")
    return platform.programs[name]


def _node(name: str, nodes: Sequence[Node]) -> Node:
    by_host = [node for node in nodes if node.name == name]
    try:
        found = by_host or find_nodes(nodes, name)
    except CommandError:
        known = ", ".join(node.name for node in nodes[:8]) + (" and more" if len(nodes) > 8 else "")
        raise ConfigurationError(f"no node {name!r} in the corefile, expected one of {known}") from None
    if len(found) > 1:
        raise ConfigurationError(f"node must be one, got {name!r}, the alias of {len(found)} nodes")
    return found[0]
