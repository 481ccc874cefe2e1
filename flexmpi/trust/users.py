"""Users of this system by name, where people read of them."""

from __future__ import annotations

import pwd
from functools import cache


@cache
def name_of_user(uid: int) -> str:
    """Return a user's name; ``uid 1234`` where this system has none for him."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"uid {uid}"
