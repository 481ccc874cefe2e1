"""A cluster's folder: where it is, that it is ours and nobody else's, one command at a time in it, and emptying it."""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from devcluster_lib.plans import NAME, user_name
from devcluster_lib.waiting import DevclusterError, wait_until

LOCK_LIMIT_S = 60.0


def default() -> Path:
    """Return the user's own folder: below XDG_RUNTIME_DIR where that is this user's, else below /tmp."""
    runtime = Path(os.environ.get("XDG_RUNTIME_DIR") or "/nonexistent")
    # Under su and sudo the variable may be of the user before.
    if runtime.is_dir() and runtime.stat().st_uid == os.geteuid():
        return runtime.resolve() / "flexmpi-devcluster"
    return Path(f"/tmp/flexmpi-devcluster-{user_name()}")


@contextmanager
def locked(folder: Path, *, create: bool) -> Iterator[None]:
    """Hold a cluster's folder alone, made first if it should be and is not there.

    Raises
    ------
    DevclusterError
        It is not a folder that a cluster may use, or another command holds it for too long.
    """
    descriptor = _open_locked(folder, create=create)
    try:
        _check(folder)
        yield
    finally:
        os.close(descriptor)


def clear(folder: Path) -> None:
    """Empty a folder that has been checked; the mark goes last, so that what is interrupted can be repeated."""
    for path in sorted(folder.iterdir(), key=lambda path: path.name == NAME):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _open_locked(folder: Path, *, create: bool) -> int:
    while True:
        descriptor = _open(folder, create=create)
        try:
            _lock(descriptor, folder)
            # A `down` that held it may have removed it meanwhile.
            if os.fstat(descriptor).st_nlink > 0:
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)


def _open(folder: Path, *, create: bool) -> int:
    try:
        if create:
            folder.mkdir(mode=0o700, exist_ok=True)
        return os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError as error:
        raise DevclusterError(f"folder {folder}: {error.strerror}, expected a folder or a place for one") from None


def _lock(descriptor: int, folder: Path) -> None:
    def locked() -> bool:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    wait_until(locked, what=f"no other devcluster command works in {folder}", limit_s=LOCK_LIMIT_S)


def _check(folder: Path) -> None:
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise DevclusterError(f"folder {folder} belongs to user id {status.st_uid}, expected {os.geteuid()}")
    if any(folder.iterdir()) and not (folder / NAME).exists():
        raise DevclusterError(f"folder {folder} is not a cluster's: expected it empty, or {NAME} in it")
    folder.chmod(0o700)
