"""`flexmpi submit`: give the agent's own manager of virtual nodes a job, as `sbatch` gives Slurm one."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import click

from flexmpi.cli.ask_agent import asked_folder
from flexmpi.cli.changes import CHANGE_ENDING, carry_out, change_options
from flexmpi.cli.run import node_range
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.requests import Submit
from flexmpi.slurm.commands import slurm_environment
from flexmpi.slurm.times import seconds_of
from flexmpi.trust.agent_folder import VARIABLE

STANDARD_INPUT = "-"
FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_NO_LIMIT = ("UNLIMITED", "INFINITE")
_OF_ANOTHER_JOB = "FLEXMPI_"
"""What tells the job from which this is called about itself, and its agent."""


def time_limit(text: str) -> float:
    """Return the seconds that a time limit means, in the forms of `sbatch`, see `times.seconds_of`; infinity for none.

    Raises
    ------
    ConfigurationError
        It is none of these, or 0.
    """
    if text.upper() in _NO_LIMIT:
        return math.inf
    if (limit := seconds_of(text)) is None:
        raise ConfigurationError(f"--time: expected minutes, [days-]hours:minutes:seconds or UNLIMITED, got {text!r}")
    if limit == 0:
        raise ConfigurationError(f"--time: expected more than 0, or UNLIMITED for no limit, got {text!r}")
    return float(limit)


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """Return what a job gets of an environment: all but what tells of another job, and what is no text."""
    return {
        name: value
        for name, value in slurm_environment(environment).items()
        if not name.startswith(_OF_ANOTHER_JOB) and _is_text(name + value)
    }


def read_script(path: str) -> str:
    """Return the text of a script, that on standard input for ``-``.

    Raises
    ------
    ConfigurationError
        It cannot be read, or does not begin with ``#!``.
    """
    where = "standard input" if path == STANDARD_INPUT else path
    try:
        with click.open_file(path, encoding="utf-8") as file:
            text: str = file.read()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"this script cannot be read: {error}", file=where) from None
    if not text.startswith("#!"):
        raise ConfigurationError("a script must begin with '#!', for example #!/bin/sh", file=where, line=1)
    return text


@click.command(epilog=CHANGE_ENDING, context_settings={"allow_interspersed_args": False})
@click.option("-N", "--nodes", default="1", show_default=True, metavar="MIN[-MAX]", help="How many nodes.")
@click.option("-n", "--tasks", type=click.IntRange(min=1), help="How many tasks, as the job is told.")
@click.option("-J", "--job-name", help="Its name.  [default: the script's]")
@click.option("-o", "--output", help="File for its output; %j is its number.  [default: flexmpi-%j.out]")
@click.option("-D", "--chdir", type=FOLDER, help="Where it runs.  [default: here]")
@click.option("-t", "--time", metavar="LIMIT", help="Minutes, or [DAYS-]HOURS:MINUTES:SECONDS.  [default: no limit]")
@partial(change_options, short=False)
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def submit(script: str, arguments: tuple[str, ...], **options: Any) -> None:
    """Submit SCRIPT to the agent's virtual nodes.

    An agent of a Slurm cluster has none: use sbatch there. "-" reads the script from standard input. It runs with this
    environment, less what belongs to another job.

    For example: flexmpi submit -N 2 -t 10 job.sh
    """
    minimum, maximum = node_range(options["nodes"])
    limit_s = math.inf if options["time"] is None else time_limit(options["time"])
    carry_out(
        Submit,
        options,
        accepted_words=lambda accepted: f"Submitted job {accepted.job}",
        script=read_script(script),
        arguments=arguments,
        name=options["job_name"] or (None if script == STANDARD_INPUT else Path(script).name),
        nodes=minimum,
        maximum_nodes=maximum,
        tasks=options["tasks"],
        time_limit_s=None if math.isinf(limit_s) else limit_s,
        output=options["output"],
        directory=str((options["chdir"] or Path()).absolute()),
        environment=passed_on(os.environ) | {VARIABLE: str(asked_folder(options))},
    )


def _is_text(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
