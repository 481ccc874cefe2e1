"""The process that runs one job of the local manager: it starts the script and ends all that came of it.

A program of its own, standard library only. Standard input is its line to the manager: when that closes, or at SIGTERM, the job
gets SIGTERM and, where some of it has not ended after a grace period, SIGKILL. So does what the script leaves behind.

    python local_job.py GRACE_S SCRIPT [ARGUMENT…]
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 127
KILL_AGAIN_S = 0.05
# Python ignores them, and so would the job.
_IGNORED = (signal.SIGPIPE, signal.SIGXFSZ)


def main(grace_s: float, command: list[str]) -> int:
    """Run the script and return its exit status, or 128 and the number of the signal that ended it."""
    # Orphans of the job become children of this process, so that none can escape it.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    asked = _Asked()
    nowhere = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
    try:
        script = os.posix_spawn(command[0], command, os.environ, file_actions=nowhere, setsid=True, setsigdef=_IGNORED)
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr)
        return CANNOT_RUN
    status: int | None = None
    end: float | None = None
    while True:
        ended, any_left = _reap()
        status = ended.get(script, status)
        if not any_left:
            assert status is not None
            if asked.manager_is_gone:
                _remove(Path(command[0]))
            return os.waitstatus_to_exitcode(status)
        if end is None and (asked.to_end or status is not None):
            end = time.monotonic() + grace_s
            if status is None:
                _signal_group(script)
            else:
                _signal_children(signal.SIGTERM)
        left_s = None if end is None else end - time.monotonic()
        if left_s is not None and left_s <= 0:
            _signal_children(signal.SIGKILL)
            left_s = KILL_AGAIN_S
        asked.wait(left_s)


class _Asked:
    """Whether the job must end: by SIGTERM, or because the manager is gone."""

    def __init__(self) -> None:
        self.to_end = self.manager_is_gone = False
        self._woken, wake = os.pipe()
        os.set_blocking(wake, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGTERM, self._note)
        signal.signal(signal.SIGCHLD, lambda *_: None)

    def _note(self, *_: object) -> None:
        self.to_end = True

    def wait(self, limit_s: float | None) -> None:
        """Wait for a signal, a child's end among them, or for the manager's end."""
        ready, _, _ = select.select([self._woken] if self.manager_is_gone else [self._woken, 0], [], [], limit_s)
        if self._woken in ready:
            os.read(self._woken, 4096)
        if 0 in ready and not os.read(0, 1):
            self.to_end = self.manager_is_gone = True


def _reap() -> tuple[dict[int, int], bool]:
    """Collect the children that have ended, with how they did, and tell whether there are others."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if pid == 0:
            return ended, True
        ended[pid] = status


def _remove(script: Path) -> None:
    """Remove the script and its folder, of which nobody else takes care any more."""
    script.unlink(missing_ok=True)
    with suppress(OSError):
        script.parent.rmdir()


def _signal_group(leader: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGTERM)


def _signal_children(number: signal.Signals) -> None:
    for pid in map(int, Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()):
        with suppress(ProcessLookupError):
            os.kill(pid, number)


if __name__ == "__main__":
    code = main(float(sys.argv[1]), sys.argv[2:])
    sys.exit(code if code >= 0 else 128 - code)
