"""Whether a program leaves alone, before it opens its session, what is settled earlier in a rank that is started warm.

That is the environment, which libraries read when they are loaded and when MPI is initialised, and ``mpi4py.rc``.
"""

from __future__ import annotations

import os

_environment: dict[str, str] = {}


def remember() -> None:
    """Keep the environment with which the program begins."""
    _environment.clear()
    _environment.update(os.environ)


def forget(name: str) -> None:
    """Leave a variable out that has been taken away in the meantime, and not by the program."""
    _environment.pop(name, None)


def is_untouched() -> bool:
    """Tell whether environment and ``mpi4py.rc`` are what they were when the program began."""
    import mpi4py

    return dict(os.environ) == _environment and not vars(mpi4py.rc)
