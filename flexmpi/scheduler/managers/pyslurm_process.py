"""The child process with pyslurm in it: starting it, asking it one thing at a time with a time limit, ending it.

What is asked is not known here. Nothing but the child imports pyslurm.
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flexmpi.errors import ManagerError
from flexmpi.slurm.commands import quoted

READ_BYTES = 1 << 16


class ChildError(Exception):
    """The child ended, hangs, or says something else than answers. It is of no use any more."""


class Child:
    """The child process, started when it is first asked something or has ended meanwhile.

    Parameters
    ----------
    command
        Of the child.
    environment
        Its whole environment, with Slurm's configuration.
    """

    def __init__(self, command: list[str], environment: Mapping[str, str]) -> None:
        self._command = command
        self._environment = environment
        self._process: subprocess.Popen[bytes] | None = None
        self._errors: int | None = None

    def ask(self, request: Mapping[str, Any], *, end: float) -> dict[str, Any]:
        """Send a request and return its answer.

        Parameters
        ----------
        end
            Until when to wait, by the monotonic clock.

        Raises
        ------
        ChildError
            There is no answer.
        ManagerError
            There is no Slurm configuration, so there can be no child.
        """
        if self._process is None or self._process.poll() is not None:
            self.stop()
            self._start()
            self._answer(end)
        assert self._process is not None and self._process.stdin is not None and self._errors is not None
        os.ftruncate(self._errors, 0)
        self._send(json.dumps(request).encode() + b"\n", end)
        return self._answer(end)

    def stop(self) -> None:
        """End it, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                pipe.close()
        if self._errors is not None:
            os.close(self._errors)
            self._errors = None

    def _start(self) -> None:
        require_configuration(self._environment)
        # A file in memory, of which nobody need read while it is written.
        self._errors = os.memfd_create("errors")
        try:
            self._process = subprocess.Popen(
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=self._errors,
                env=dict(self._environment),
                bufsize=0,
            )
        except OSError as error:
            raise ChildError(f"{self._command[0]} cannot be run: {error.strerror}") from None

    def _send(self, data: bytes, end: float) -> None:
        assert self._process is not None and self._process.stdin is not None
        pipe = self._process.stdin.fileno()
        while data:
            _, ready, _ = select.select([], [pipe], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise ChildError("it did not take the request in time")
            try:
                # So much never blocks where select finds room.
                data = data[os.write(pipe, data[: select.PIPE_BUF]) :]
            except OSError:
                raise self._ended() from None

    def _answer(self, end: float) -> dict[str, Any]:
        assert self._process is not None and self._process.stdout is not None
        pipe, data = self._process.stdout.fileno(), bytearray()
        while not data.endswith(b"\n"):
            ready, _, _ = select.select([pipe], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                raise ChildError("it did not answer in time")
            if not (more := os.read(pipe, READ_BYTES)):
                raise self._ended()
            data += more
        try:
            answer = json.loads(data)
        except ValueError:
            answer = None
        if not isinstance(answer, dict) or not {"result", "error"} & answer.keys():
            raise ChildError(f"it said {bytes(data[:80])!r}, expected an answer")
        return answer

    def _ended(self) -> ChildError:
        assert self._errors is not None
        size = os.fstat(self._errors).st_size
        words = os.pread(self._errors, READ_BYTES, max(0, size - READ_BYTES)).decode(errors="replace")
        last = words.strip("\0\n ").rpartition("\n")[2]
        return ChildError(f"its process ended: {quoted(last) or 'without a word'}")


def require_configuration(environment: Mapping[str, str]) -> None:
    """Check that Slurm's library will find a configuration: without one, importing pyslurm ends the process.

    Raises
    ------
    ManagerError
        There is none where it would look.
    """
    if path := environment.get("SLURM_CONF"):
        if not os.access(path, os.R_OK):
            raise ManagerError(f"SLURM_CONF is {path}, which cannot be read; expected Slurm's configuration")
        return
    places = [Path("/etc/slurm/slurm.conf"), Path("/run/slurm/conf/slurm.conf")]
    if found := shutil.which("squeue", path=environment.get("PATH")):
        prefix = Path(found).resolve().parent.parent
        places += [prefix / "etc/slurm.conf", prefix / "etc/slurm/slurm.conf"]
    if "SLURM_CONF_SERVER" not in environment and not any(place.exists() for place in places):
        raise ManagerError(f"no Slurm configuration in {', '.join(map(str, places))}; SLURM_CONF may name one")
