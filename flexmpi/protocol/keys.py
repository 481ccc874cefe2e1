"""Key files: made on first use with the right modes, read only where nobody else could have read or changed them.

A key is one line of text. What is proved with the keys is `auth`'s, what is encrypted with them is `curve`'s.
"""

from __future__ import annotations

import os
import re
import secrets
import stat
import tempfile
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from flexmpi.errors import AuthenticationError
from flexmpi.protocol.auth import ROOT, Identity, SharedKey

SECRET_NAME = "agent.secret"
PUBLIC_NAME = "agent.public"
LOCAL_NAME = "agent.local"
LARGEST_FILE_BYTES = 4096
LOCAL_KEY_BYTES = 32

SECRET_MODE, PUBLIC_MODE = 0o600, 0o644
READABLE_BY_OTHERS, WRITABLE_BY_OTHERS = 0o077, 0o022

_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")
_HEX = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class CurveKeys:
    """A key pair for CURVE, both in Z85 (40 characters, https://rfc.zeromq.org/spec/32)."""

    public: str
    secret: str = field(repr=False)

    @classmethod
    def fresh(cls) -> CurveKeys:
        """Make a pair that is kept in memory only, as clients use it."""
        public, secret = zmq.curve_keypair()
        return cls(public.decode(), secret.decode())


def agent_keys(folder: Path) -> CurveKeys:
    """Return the agent's key pair, made on first use.

    The folder then holds ``agent.secret`` (mode 0600) and ``agent.public`` (mode 0644), which clients are given.

    Raises
    ------
    AuthenticationError
        A file cannot be made or is no key; the secret one is not this user's, or others can read it; others can write to
        the folder.
    """
    path = folder / SECRET_NAME
    secret = _made_or_read(path, lambda: CurveKeys.fresh().secret, form=_Z85)
    public = zmq.curve_public(secret.encode()).decode()
    try:
        if not (shown := folder / PUBLIC_NAME).exists() or shown.read_bytes().strip() != public.encode():
            _write(shown, public, mode=PUBLIC_MODE, replace=True)
    except OSError as error:
        raise _cannot("write", folder / PUBLIC_NAME, error) from None
    return CurveKeys(public, secret)


def agent_public_key(path: Path, *, owners: Collection[int] | None = None) -> str:
    """Return the agent's public key, as a client has it: who could change the file could pass for the agent.

    Parameters
    ----------
    owners
        The uids that may own it: root and this user if None.

    Raises
    ------
    AuthenticationError
        It is not there, not owned by any of these, can be changed by others, or is no key.
    """
    owners = (ROOT, os.geteuid()) if owners is None else owners
    return _read(path, owners=owners, forbidden=WRITABLE_BY_OTHERS, form=_Z85)[0]


def local_key(folder: Path, *, make: bool) -> SharedKey:
    """Return the authority of an agent that serves its own user only, from ``agent.local`` (mode 0600).

    Parameters
    ----------
    make
        Make it if it is not there, as the agent does; a client does not.

    Raises
    ------
    AuthenticationError
        It is not there or cannot be made, is no key, is not this user's, or others can read it.
    """
    path = folder / LOCAL_NAME
    if make:
        _made_or_read(path, lambda: secrets.token_hex(LOCAL_KEY_BYTES), form=_HEX)
    text, status = _read(path, owners=(os.geteuid(),), forbidden=READABLE_BY_OTHERS, form=_HEX)
    return SharedKey(bytes.fromhex(text), Identity(status.st_uid, status.st_gid))


def _made_or_read(path: Path, new: Callable[[], str], *, form: re.Pattern[str]) -> str:
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check_folder(path.parent, owners=(os.geteuid(),))
        if not path.exists():
            _write(path, new(), mode=SECRET_MODE, replace=False)
    except OSError as error:
        raise _cannot("make", path, error) from None
    return _read(path, owners=(os.geteuid(),), forbidden=READABLE_BY_OTHERS, form=form)[0]


def _write(path: Path, text: str, *, mode: int, replace: bool) -> None:
    """Make a file appear with all its text and its mode; without ``replace``, one that is there meanwhile stays."""
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
        pass  # two agents were started at once: both use the key of the first
    finally:
        Path(name).unlink(missing_ok=True)


def _read(path: Path, *, owners: Collection[int], forbidden: int, form: re.Pattern[str]) -> tuple[str, os.stat_result]:
    try:
        _check_folder(path.parent, owners=owners)
        # Not blocking: a pipe in place of the file must not hold the reader up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            status = os.fstat(descriptor)
            _check_file(path, status, owners=owners, forbidden=forbidden)
            text = file.read(LARGEST_FILE_BYTES).decode("ascii", "replace").strip()
    except OSError as error:
        raise _cannot("read", path, error) from None
    if not form.fullmatch(text):
        raise AuthenticationError(f"key file {path} holds no key: expected one line that matches {form.pattern}")
    return text, status


def _check_folder(folder: Path, *, owners: Collection[int]) -> None:
    """Refuse a folder in which somebody else could put another file in place of a key."""
    status = folder.stat()
    if status.st_uid not in (ROOT, *owners):
        raise AuthenticationError(f"the folder {folder} of a key file is {_owned(status, (ROOT, *owners))}")
    if status.st_mode & WRITABLE_BY_OTHERS and not status.st_mode & stat.S_ISVTX:
        raise AuthenticationError(
            f"others can change the folder {folder} of a key file {_mode(status)}: chmod go-w {folder}"
        )


def _check_file(path: Path, status: os.stat_result, *, owners: Collection[int], forbidden: int) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise AuthenticationError(f"key file {path} is not a regular file")
    if status.st_uid not in owners:
        raise AuthenticationError(f"key file {path} is {_owned(status, owners)}")
    if status.st_mode & forbidden:
        how, mend = ("read", "go-rwx") if forbidden == READABLE_BY_OTHERS else ("change", "go-w")
        raise AuthenticationError(f"others can {how} key file {path} {_mode(status)}: chmod {mend} {path}")


def _owned(status: os.stat_result, owners: Collection[int]) -> str:
    expected = " or ".join(f"uid {uid}" for uid in dict.fromkeys(owners))
    return f"owned by uid {status.st_uid}, expected {expected}"


def _mode(status: os.stat_result) -> str:
    return f"(mode {stat.S_IMODE(status.st_mode):04o})"


def _cannot(do: str, path: Path, error: OSError) -> AuthenticationError:
    return AuthenticationError(f"cannot {do} key file {path}: {error.strerror or error}")
