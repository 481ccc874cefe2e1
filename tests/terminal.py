"""A command on a pseudo-terminal, as a person has it."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
import threading
from collections.abc import Sequence
from pathlib import Path

from tests.applications import wait_until

LIMIT_S = 60.0
LINES = 50


class Terminal:
    """A terminal that a command has to itself.

    Attributes
    ----------
    screen
        All that was written to it.
    """

    def __init__(
        self, command: Sequence[str], *, folder: Path, columns: int = 120, environment: dict[str, str] | None = None
    ) -> None:
        self.master, end = pty.openpty()
        fcntl.ioctl(end, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, columns, 0, 0))
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES", "NO_COLOR")}
        self.process = subprocess.Popen(
            command,
            stdin=end,
            stdout=end,
            stderr=end,
            cwd=folder,
            env={**inherited, "TERM": "xterm", **(environment or {})},
            start_new_session=True,
        )
        os.close(end)
        self.screen = b""
        self._reading = threading.Thread(target=self._read)
        self._reading.start()

    def _read(self) -> None:
        try:
            while data := os.read(self.master, 4096):
                self.screen += data
        except OSError:
            # The other end is closed.
            pass

    def press(self, keys: str) -> None:
        """Type keys."""
        os.write(self.master, keys.encode())

    def wait_for(self, text: str) -> None:
        """Wait until something has been written."""
        wait_until(lambda: text.encode() in self.screen, what=f"{text!r} is shown", limit_s=LIMIT_S)

    def finish(self) -> int:
        """Wait for the command's end, and for all that it wrote; return its status."""
        status = self.process.wait(LIMIT_S)
        self._reading.join(LIMIT_S)
        return status

    def close(self) -> None:
        """End the command, if it has not ended."""
        self.process.terminate()
        self.finish()
        os.close(self.master)
