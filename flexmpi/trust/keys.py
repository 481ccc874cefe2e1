"""Key files: made on first use with the right modes, read only where nobody else could have read or changed them.

A key is one line of text. What is proved with the keys is `auth`'s, what is encrypted with them is `curve`'s.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path

import zmq

from flexmpi.protocol.auth import ROOT, Identity, SharedKey
from flexmpi.trust.agent_folder import LOCAL_NAME, PUBLIC_NAME, SECRET_NAME
from flexmpi.trust.guarded_files import (
    HEX_KEY,
    KEY_FILE,
    PUBLIC_MODE,
    READABLE_BY_OTHERS,
    WRITABLE_BY_OTHERS,
    cannot,
    read_key,
    secret_made_or_read,
    write_whole,
)

LOCAL_KEY_BYTES = 32

_Z85 = re.compile(r"[0-9a-zA-Z.\-:+=^!/*?&<>()\[\]{}@%$#]{40}")


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
    secret = secret_made_or_read(path, lambda: CurveKeys.fresh().secret, form=_Z85)
    public = zmq.curve_public(secret.encode()).decode()
    try:
        if not (shown := folder / PUBLIC_NAME).exists() or shown.read_bytes().strip() != public.encode():
            write_whole(shown, public, mode=PUBLIC_MODE, replace=True)
    except OSError as error:
        raise cannot("write", folder / PUBLIC_NAME, error, what=KEY_FILE) from None
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
    return read_key(path, owners=owners, forbidden=WRITABLE_BY_OTHERS, form=_Z85)[0]


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
        secret_made_or_read(path, lambda: secrets.token_hex(LOCAL_KEY_BYTES), form=HEX_KEY)
    text, status = read_key(path, owners=(os.geteuid(),), forbidden=READABLE_BY_OTHERS, form=HEX_KEY)
    return SharedKey(bytes.fromhex(text), Identity(status.st_uid, status.st_gid))
