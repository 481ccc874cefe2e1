"""The controller's folder: a rankfile, an execution script and a log for each application. Nothing is written outside it."""

from __future__ import annotations

import fcntl
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from flexmpi.cluster.platform import Node
from flexmpi.errors import ConfigurationError

SUBFOLDERS = ("rankfiles", "execscripts", "logs")


class RunFolder:
    """The files of one controller. Those of an earlier one with the same names are overwritten.

    Files are numbered from 1, as the manual has it; applications from 0.

    Parameters
    ----------
    path
        Made where it is not there.

    Raises
    ------
    ConfigurationError
        It cannot be made or written, or another controller is using it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path.resolve()
        try:
            for name in SUBFOLDERS:
                (self.path / name).mkdir(parents=True, exist_ok=True)
            self._lock = (self.path / "lock").open("w")
        except OSError as error:
            raise ConfigurationError(f"cannot be used: {error.strerror}", file=f"folder {path}") from None
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self._lock.close()
            raise ConfigurationError("another controller is using it; give --folder", file=f"folder {path}") from None

    def rankfile(self, number: int) -> Path:
        """Return where an application's rankfile is."""
        return self.path / "rankfiles" / f"rankfile{number + 1}"

    def script(self, number: int) -> Path:
        """Return where an application's execution script is."""
        return self.path / "execscripts" / f"exec{number + 1}"

    def output(self, number: int) -> Path:
        """Return where an application's output goes."""
        return self.path / "logs" / f"output{number + 1}"

    @property
    def history(self) -> Path:
        """Where the commands typed are kept."""
        return self.path / "history"

    def write_rankfile(self, number: int, *, nodes: Sequence[Node], placement: Mapping[str, int]) -> None:
        """Write the ranks of every node; those with ranks come first, in their order."""
        empty = {node.name: 0 for node in nodes if node.name not in placement}
        lines = [f"{name}:{ranks}\n" for name, ranks in {**placement, **empty}.items()]
        self._write(self.rankfile(number), "".join(lines))

    def write_script(self, number: int, *, command: Sequence[str], directory: Path, port: int) -> None:
        """Write a script that runs an application as the controller does; ``port`` is that of its reports."""
        lines = [
            "#!/bin/sh",
            f"# Runs application {number} of the controller again. Its I/O phases wait for a controller at UDP port {port};",
            "# without one, take --io-controller out.",
            f"cd {shlex.quote(str(directory))} || exit",
            f"exec {shlex.join(command)}",
        ]
        self._write(self.script(number), "\n".join(lines) + "\n")
        self.script(number).chmod(0o755)

    def _write(self, path: Path, text: str) -> None:
        try:
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(f"cannot be written: {error.strerror}", file=str(path)) from None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        # Closing gives the lock back; the file stays, or two controllers could hold locks on two files of that name.
        self._lock.close()


def flexmpi_run(python: Path) -> list[str]:
    """Return the start of a command line that means `flexmpi run` of the installation that ``python`` belongs to."""
    beside = python.with_name("flexmpi")
    if os.access(beside, os.X_OK):
        return [str(beside), "run"]
    return [str(python), "-m", "flexmpi.cli", "run"]
