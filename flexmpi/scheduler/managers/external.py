"""Running a manager's commands: together, with one time limit for all, leaving no process behind.

Nothing here knows what the commands are for.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from flexmpi.errors import ManagerError
from flexmpi.slurm.commands import quoted


@dataclass(frozen=True)
class Output:
    """What a command did: its exit status (negative: the signal that killed it), its output and its errors."""

    command: Sequence[str]
    status: int
    text: str
    errors: str

    def checked(self, doing: str) -> str:
        """Return the output of a command that succeeded.

        Raises
        ------
        ManagerError
            It failed; the message has its words.
        """
        if self.status == 0:
            return self.text
        how = f"status {self.status}" if self.status > 0 else f"killed by signal {-self.status}"
        raise ManagerError(f"{self.command[0]} did not {doing}: {quoted(self.errors) or quoted(self.text) or how}")


def run(
    commands: Sequence[Sequence[str]], *, environment: Mapping[str, str], limit_s: float, given: str = ""
) -> list[Output]:
    """Run commands beside each other, and wait for all.

    Parameters
    ----------
    environment
        Their whole environment; its PATH is where they are looked for.
    limit_s
        For all of them together, in seconds.
    given
        What each finds on its standard input.

    Raises
    ------
    ManagerError
        One cannot be started or has not ended in time. Then none of them runs any more, nor what they started.
    """
    end = time.monotonic() + limit_s
    processes: list[subprocess.Popen[str]] = []
    try:
        for command in commands:
            processes.append(_start(command, environment))
        return [_finish(process, end, given=given, limit_s=limit_s) for process in processes]
    finally:
        for process in processes:
            _end(process)


def _start(command: Sequence[str], environment: Mapping[str, str]) -> subprocess.Popen[str]:
    try:
        # A session of its own, so that all of it can be ended: a site's sbatch may be a script that starts the real one.
        return subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=dict(environment),
            start_new_session=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise ManagerError(f"{command[0]} cannot be run: {error.strerror}; it is looked for on PATH") from None


def _finish(process: subprocess.Popen[str], end: float, *, given: str, limit_s: float) -> Output:
    assert isinstance(process.args, Sequence)
    command = [str(word) for word in process.args]
    try:
        text, errors = process.communicate(given, timeout=max(0.0, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ManagerError(f"{command[0]} did not answer within {limit_s:.3g} s") from None
    return Output(command, process.returncode, text, errors)


def _end(process: subprocess.Popen[str]) -> None:
    """Kill a command that still runs, with all it started; close its pipes."""
    if process.returncode is None:
        # Not collected yet, so its number, and that of its group, cannot be another's.
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    for pipe in (process.stdin, process.stdout, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
