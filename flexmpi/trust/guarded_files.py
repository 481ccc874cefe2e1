"""Small files that say whom to believe: written whole with their mode, read only where nobody else could have changed them.

What they mean is `keys`, `command_key` and `contact`'s.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Callable, Collection
from pathlib import Path

from flexmpi.errors import AuthenticationError
from flexmpi.protocol.auth import ROOT

LARGEST_FILE_BYTES = 4096
READABLE_BY_OTHERS, WRITABLE_BY_OTHERS = 0o077, 0o022
KEY_FILE = "key file"
SECRET_MODE, PUBLIC_MODE = 0o600, 0o644
HEX_KEY = re.compile(r"[0-9a-f]{64}")


def write_whole(path: Path, text: str, *, mode: int, replace: bool) -> None:
    """Make a file appear with all its text, as a line, and its mode; without ``replace``, one that is there stays."""
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
            os.fchmod(file.fileno(), mode)
        if replace:
            Path(name).replace(path)
        else:
            os.link(name, path)
    except FileExistsError:
        pass  # two agents were started at once: both use what the first has written
    finally:
        Path(name).unlink(missing_ok=True)


def read_guarded(
    path: Path, *, what: str, owners: Collection[int] | None, forbidden: int
) -> tuple[str, os.stat_result]:
    """Return the text of a file, without the blanks around it, and its status.

    Parameters
    ----------
    what
        What it is, for messages: ``key file``.
    owners
        The uids that may own it and, beside root, its folder; None where the owner does not matter.
    forbidden
        The bits that its mode must not have.

    Raises
    ------
    AuthenticationError
        It cannot be read, is not a regular file, belongs to somebody else, or others can do what they must not.
    """
    try:
        if owners is not None:
            check_folder(path.parent, what=what, owners=owners)
        # Not blocking: a pipe in place of the file must not hold the reader up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _check_file(path, status, what=what, owners=owners, forbidden=forbidden)
            return file.read(LARGEST_FILE_BYTES).decode("ascii", "replace").strip(), status
    except OSError as error:
        raise cannot("read", path, error, what=what) from None


def secret_made_or_read(path: Path, new: Callable[[], str], *, form: re.Pattern[str]) -> str:
    """Return the secret of a key file of this user's (mode 0600), which is made if it is not there.

    Raises
    ------
    AuthenticationError
        It cannot be made, is no key, is not this user's, or others can read it or change its folder.
    """
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        check_folder(path.parent, what=KEY_FILE, owners=(os.geteuid(),))
        if not path.exists():
            write_whole(path, new(), mode=SECRET_MODE, replace=False)
    except OSError as error:
        raise cannot("make", path, error, what=KEY_FILE) from None
    return read_key(path, owners=(os.geteuid(),), forbidden=READABLE_BY_OTHERS, form=form)[0]


def read_key(
    path: Path, *, owners: Collection[int], forbidden: int, form: re.Pattern[str]
) -> tuple[str, os.stat_result]:
    """Return the key in a file and the file's status; raises AuthenticationError as `read_guarded`, and for what is no key."""
    text, status = read_guarded(path, what=KEY_FILE, owners=owners, forbidden=forbidden)
    if not form.fullmatch(text):
        raise AuthenticationError(f"key file {path} holds no key: expected one line that matches {form.pattern}")
    return text, status


def check_folder(folder: Path, *, what: str, owners: Collection[int]) -> None:
    """Refuse a folder in which somebody else could put another file in place of the right one.

    Raises
    ------
    AuthenticationError
        It belongs to somebody else, or others can change it.
    """
    status = folder.stat()
    if status.st_uid not in (ROOT, *owners):
        raise AuthenticationError(f"the folder {folder} of a {what} is {_owned(status, (ROOT, *owners))}")
    if status.st_mode & WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
        raise AuthenticationError(
            f"others can change the folder {folder} of a {what} {_mode(status)}: chmod go-w {folder}"
        )


def cannot(do: str, path: Path, error: OSError, *, what: str) -> AuthenticationError:
    """Return the error to raise where the system refuses."""
    return AuthenticationError(f"cannot {do} {what} {path}: {error.strerror or error}")


def _check_file(
    path: Path, status: os.stat_result, *, what: str, owners: Collection[int] | None, forbidden: int
) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AuthenticationError(f"{what} {path} is not a regular file")
    if owners is not None and status.st_uid not in owners:
        raise AuthenticationError(f"{what} {path} is {_owned(status, owners)}")
    if status.st_mode & forbidden:
        how, mend = ("read", "go-rwx") if forbidden == READABLE_BY_OTHERS else ("change", "go-w")
        raise AuthenticationError(f"others can {how} {what} {path} {_mode(status)}: chmod {mend} {path}")


def _owned(status: os.stat_result, owners: Collection[int]) -> str:
    expected = " or ".join(f"uid {uid}" for uid in dict.fromkeys(owners))
    return f"owned by uid {status.st_uid}, expected {expected}"


def _mode(status: os.stat_result) -> str:
    return f"(mode {stat.S_IMODE(status.st_mode):04o})"
