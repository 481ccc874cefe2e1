"""MPI is finalised when the session has ended, not inside it: the session would end in error messages of MPI's own."""

from __future__ import annotations

from typing import NoReturn

from mpi4py import MPI

from flexmpi.errors import UsageError

_WHY = (
    "MPI.Finalize() was called inside the session, which needs MPI until its with block ends; mpi4py calls it by itself"
)
_finalize = MPI.Finalize


def forbid() -> None:
    """Have ``MPI.Finalize()`` refused from now on."""
    MPI.Finalize = _refuse


def allow() -> None:
    """Have it do again what it does."""
    MPI.Finalize = _finalize


def check() -> None:
    """Raise UsageError if MPI has been finalised all the same, by a library or by a name that was kept from before."""
    if MPI.Is_finalized():
        raise UsageError(_WHY)


def _refuse() -> NoReturn:
    raise UsageError(_WHY)
