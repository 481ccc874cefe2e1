"""Elastic MPI jobs: an iterative mpi4py program gains and loses ranks while it runs.

The names an application imports are here. They load when first used, so that the command line starts no MPI; what they
load is the standard library, numpy and mpi4py, and nothing else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from flexmpi.errors import FlexMPIError, RankLeaves, UsageError
    from flexmpi.runtime.rank.session import Session, session

__all__ = ["FlexMPIError", "RankLeaves", "Session", "UsageError", "session"]


def __getattr__(name: str) -> Any:
    if name in ("Session", "session"):
        from flexmpi.runtime.rank import session as module
    elif name in __all__:
        from flexmpi import errors as module  # type: ignore[no-redef]
    else:
        raise AttributeError(f"module 'flexmpi' has no attribute {name!r}; it has {', '.join(__all__)}")
    return getattr(module, name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
