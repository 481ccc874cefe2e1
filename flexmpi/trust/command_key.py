"""The key by which a user's commands to jobs are signed, where the kernel cannot tell whose they are. Standard library only.

It lies in the user's home, which a job's nodes and the machines that commands are sent from share.
"""

from __future__ import annotations

import secrets
from pathlib import Path

from flexmpi.errors import AuthenticationError
from flexmpi.trust.guarded_files import HEX_KEY, KEY_FILE, cannot, secret_made_or_read

FOLDER, NAME = ".flexmpi", "commands.key"
KEY_BYTES = 32


def command_key(*, make: bool) -> bytes | None:
    """Return this user's key, from ``~/.flexmpi/commands.key`` (mode 0600); None where there is none.

    Parameters
    ----------
    make
        Make it if it is not there, in a home that is.

    Raises
    ------
    AuthenticationError
        It cannot be made, is no key, is not this user's, or others can read it or change its folder.
    """
    try:
        folder = Path.home() / FOLDER
    except RuntimeError as error:
        if make:
            raise AuthenticationError(f"cannot make a {KEY_FILE}: {error}") from None
        return None
    path = folder / NAME
    try:
        if make:
            folder.mkdir(mode=0o700, exist_ok=True)
        elif not path.exists():
            return None
    except OSError as error:
        raise cannot("make" if make else "read", path, error, what=KEY_FILE) from None
    return bytes.fromhex(secret_made_or_read(path, lambda: secrets.token_hex(KEY_BYTES), form=HEX_KEY))
