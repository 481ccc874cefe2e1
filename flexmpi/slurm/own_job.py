"""What Slurm says of a job to the job itself, and the allocation that it is.

Text in, values out; who asks Slurm is `runtime.providers.allocation`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from flexmpi.cluster.platform import Node
from flexmpi.errors import ConfigurationError, ManagerError
from flexmpi.numerals import whole_number
from flexmpi.slurm.times import moment, time_left_s

LIMIT_FORMAT = "%A %l %e"
"""Of ``squeue``: no users' words are in it."""
SHARING_FORMAT = "%A %h"
"""Of ``squeue``, as the JSON of some releases says nothing both of a job that shares its nodes and of one that does not."""
CORES_FORMAT = "%N|%c"
"""Of ``sinfo --Node``."""
ADDRESS_FORMAT = "%o"
"""Of ``sinfo --Node``."""
OUTPUT_FORMAT = "STDOUT:4096"
"""Of ``squeue --Format``: one field, and wide enough for any path."""
_FIELDS = "%A %P %a %q %v %f %b %m %F %K %u %j %Z".split()
_SHARES = ("OK", "YES")
_SYMBOL = re.compile(r"%(?:(%)|([0-9]*)([A-Za-z]))")
_DEVICES = Path("/dev")


@dataclass(frozen=True)
class ParentJob:
    """What companions inherit from the Slurm job that `flexmpi run` runs in; None where it has none.

    Attributes
    ----------
    memory, memory_per_core
        What it asked for on each node, or on each core.
    exclusive
        Whether it shares no node, or does not say.
    output_folder
        Where its output goes; None where that is thrown away.
    """

    job_id: str
    partition: str | None
    account: str | None
    qos: str | None
    reservation: str | None
    constraint: str | None
    memory: str | None
    memory_per_core: str | None
    gres: str | None
    exclusive: bool
    output_folder: Path | None


@dataclass(frozen=True)
class Allocation:
    """The Slurm job that `flexmpi run` runs in.

    Attributes
    ----------
    nodes
        Its nodes, the batch node first.
    cores
        Of every node of its partition; of its own nodes, those that it was given.
    addresses
        How other nodes may reach this one, the best first.
    tasks
        The tasks it asked for, if it said so.
    """

    parent: ParentJob
    batch_node: str
    nodes: list[str]
    cores: Mapping[str, int]
    addresses: tuple[str, ...]
    tasks: int | None

    def platform(self) -> tuple[Node, ...]:
        """Return the nodes the application may have: its own first, then the others of the partition."""
        others = [name for name in self.cores if name not in self.nodes]
        return tuple(Node(name, self.cores[name], alias=name) for name in (*self.nodes, *others))


def parent_format(mark: str) -> str:
    """Return what to give ``squeue --format``, for a Slurm that prints no JSON.

    Parameters
    ----------
    mark
        Stands between fields: a random one, for users choose names and folders.
    """
    return mark + mark.join(_FIELDS) + mark


def parse_parent(
    job_id: str, described: str, mark: str, *, output: str, exclusive: bool, memory_is_per_core: bool
) -> ParentJob:
    """Read what ``squeue`` says of a job in its text.

    Parameters
    ----------
    described
        By ``squeue --format``, see `parent_format`; the last element of a job array has the array's own number, by which
        Slurm names all of its elements.
    output
        What ``squeue --Format`` says of its output, see `OUTPUT_FORMAT`.
    exclusive
        See `is_exclusive`.
    memory_is_per_core
        What ``squeue`` does not tell: whether its memory was asked for on each core.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    pieces = described.split(mark)[1:]
    records = [pieces[start : start + len(_FIELDS)] for start in range(0, len(pieces), len(_FIELDS) + 1)]
    own = next((record for record in records if record[0] == job_id and len(record) == len(_FIELDS)), None)
    if own is None:
        raise ConfigurationError(
            f"squeue says {described.strip()[:80]!r} of job {job_id}, expected {len(_FIELDS)} fields"
        )
    fields = dict(zip(_FIELDS, own, strict=True))
    memory = fields["%m"] if re.match("[1-9]", fields["%m"]) else None
    array, task = (job_id, None) if fields["%K"] == "N/A" else (fields["%F"], fields["%K"])
    symbols = symbols_of(job_id, array=array, task=task, name=fields["%j"], user=fields["%u"])
    return ParentJob(
        job_id,
        partition=told_or_none(fields["%P"]),
        account=told_or_none(fields["%a"]),
        qos=told_or_none(fields["%q"]),
        reservation=told_or_none(fields["%v"]),
        constraint=told_or_none(fields["%f"]),
        memory=None if memory_is_per_core else memory,
        memory_per_core=memory if memory_is_per_core else None,
        gres=asked_gres(fields["%b"]),
        exclusive=exclusive,
        output_folder=output_folder(output.strip(), fields["%Z"], symbols),
    )


def told_or_none(text: str) -> str | None:
    """Return what Slurm tells of a job; None where it says that there is nothing. An account may be called ``none``."""
    return None if text in ("", "(null)", "N/A") else text


def asked_gres(told: str) -> str | None:
    """Return gres as they are asked for, ``gpu:2``: Slurm tells ``gres:gpu:2``, from 23.11 on ``gres/gpu:2``."""
    return re.sub(r"\bgres[:/]", "", told_or_none(told) or "") or None


def is_exclusive(job_id: str, described: str) -> bool:
    """Whether a job shares no node, or does not say, from what ``squeue`` (see `SHARING_FORMAT`) says."""
    return not any(line.split() in ([job_id, word] for word in _SHARES) for line in described.splitlines())


def symbols_of(job_id: str, *, array: str, task: str | None, name: str, user: str) -> dict[str, str]:
    """Return what Slurm puts in place of the letters of sbatch(1), filename pattern, for a batch script's output."""
    return {"j": job_id, "J": job_id, "A": array, "a": task or "4294967294", "x": name, "u": user, "n": "0", "t": "0"}


def output_folder(pattern: str, directory: str, symbols: Mapping[str, str]) -> Path | None:
    """Return the folder of a job's output; None for a device.

    Parameters
    ----------
    pattern
        As the job asked for it; empty for Slurm's usual place.
    directory
        The job's.
    symbols
        See `symbols_of`.
    """

    def put(found: re.Match[str]) -> str:
        percent, width, letter = found.groups()
        if percent:
            return "%"
        value = symbols.get(letter)
        return found[0] if value is None else value.zfill(min(int(width[:9] or 0), 10))

    # A backslash anywhere: no letters are looked for.
    path = pattern.replace("\\\\", "\\") if "\\" in pattern else _SYMBOL.sub(put, pattern)
    output = Path(directory, path or "slurm.out")
    return None if output.is_relative_to(_DEVICES) else output.parent


def parse_counts(text: str) -> list[int]:
    """Read what Slurm counts of each node of a job: 4, 4 and 2 of ``4(x2),2``.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    counts = []
    for part in filter(None, text.split(",")):
        if not (found := re.fullmatch(r"([0-9]{1,9})(?:\(x([0-9]{1,6})\))?", part)):
            raise ConfigurationError(f"Slurm says {text!r} cores of this job's nodes, expected a form like 4(x2),2")
        counts += [int(found[1])] * int(found[2] or 1)
    return counts


def parse_cores(listed: str) -> dict[str, int]:
    """Read the cores of each node from what ``sinfo`` (see `CORES_FORMAT`) says of a partition.

    Raises
    ------
    ConfigurationError
        It is not the expected form.
    """
    cores = {}
    for line in listed.splitlines():
        name, _, count = line.partition("|")
        if (number := whole_number(count)) is None:
            raise ConfigurationError(f"sinfo says {line!r} of a node, expected its name and cores as {CORES_FORMAT}")
        cores[name] = number
    return cores


def parse_time_left(job_id: str, described: str, *, now: float) -> int | None:
    """Read how long a job may still run, see `times.time_left_s`, from what ``squeue`` (see `LIMIT_FORMAT`) says.

    Parameters
    ----------
    now
        Seconds of the epoch.

    Raises
    ------
    ManagerError
        It is not the expected form.
    """
    for line in described.splitlines():
        match line.split():
            case [number, limit, ends_at] if number == job_id:
                return time_left_s(limit, ends_at=moment(ends_at), now=now)
    raise ManagerError(f"squeue says {described.strip()[:80]!r} of job {job_id}, expected its time limit and end")
