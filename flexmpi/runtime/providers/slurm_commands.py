"""Runs one of Slurm's commands beside the rest, with a time limit, and leaves no process behind."""

from __future__ import annotations

import asyncio
import os
import signal
from asyncio.subprocess import PIPE
from collections.abc import Mapping, Sequence
from contextlib import suppress

from flexmpi.slurm.commands import slurm_environment

COMMAND_LIMIT_S = 20.0
NOT_FOUND, TOO_LATE = 127, 124
"""Exit statuses, as a shell and ``timeout`` have them, of a command that cannot be run and of one that took too long."""


async def run(
    command: Sequence[str],
    environment: Mapping[str, str] | None = None,
    *,
    given: str = "",
    limit_s: float = COMMAND_LIMIT_S,
) -> tuple[int, str, str]:
    """Run a command and return its status, output and errors; it ends with the task that waits for it.

    Parameters
    ----------
    environment
        Its own; that of Slurm's commands where None.
    given
        What it finds on its standard input.
    limit_s
        How long it may take, in seconds.
    """
    environment = slurm_environment(os.environ) if environment is None else environment
    try:
        # A process group of its own, so that all of it can be ended: a site's sbatch may be a script that starts the real one.
        # No session of its own: what is in another one than this process may be taken for what a dead launcher has left.
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**environment}, process_group=0
        )
    except OSError as error:
        return NOT_FOUND, "", f"{command[0]}: {error.strerror}"
    try:
        async with asyncio.timeout(limit_s):
            output, errors = await process.communicate(given.encode())
    except TimeoutError:
        return TOO_LATE, "", f"{command[0]} did not answer within {limit_s:g} s"
    finally:
        if process.returncode is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")
