"""Which ``mpiexec`` there is, and how it is told to start ranks on this machine and nowhere else. Standard library only.

There are two families: Hydra, of MPICH, Intel MPI and others, and PRRTE, of Open MPI. mpi4py takes the MPI library of its own
environment first, as the ``mpiexec`` beside this Python is taken first; where the two do not fit each other ranks find worlds of
one, which their session reports.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ASK_LIMIT_S = 30.0
OF_MPICH = ("-launcher", "fork", "-rmk", "user")
"""Keep hydra, the ``mpiexec`` of MPICH and its relatives, from using Slurm by itself inside a Slurm job."""
OF_OPEN_MPI = ("--allow-run-as-root", "--map-by", ":OVERSUBSCRIBE", "--bind-to", "none")
"""Take as many ranks as there are to be, and leave them to the machine's scheduler, as hydra does."""


@dataclass(frozen=True)
class Starter:
    """An ``mpiexec`` and the options it needs."""

    path: str
    options: tuple[str, ...] = OF_MPICH

    def command(self, ranks: int, program: Sequence[str]) -> list[str]:
        """Return the command line that starts so many ranks of a script (with its arguments) on this machine."""
        rank_program = [sys.executable, "-P", "-m", "flexmpi.runtime.rank.shim"]
        return [self.path, *self.options, "-n", str(ranks), *rank_program, *program]


def options_for(version: str) -> tuple[str, ...]:
    """Return the options for an ``mpiexec`` by what it says of its version."""
    return OF_OPEN_MPI if "Open MPI" in version or "OpenRTE" in version else OF_MPICH


async def find_starter(folder: Path = Path(sys.executable).parent) -> Starter:
    """Find an ``mpiexec``, first where this Python is.

    Raises
    ------
    OSError
        There is none, or it does not run.
    """
    beside = folder / "mpiexec"
    # Of MPICH's wheel, or of Intel MPI's.
    if beside.exists() and (folder / "hydra_pmi_proxy").exists():
        return Starter(str(beside))
    path = str(beside) if beside.exists() else shutil.which("mpiexec")
    if path is None:
        raise OSError("there is no mpiexec; install an MPI, for example: pip install mpich")
    asking = await asyncio.create_subprocess_exec(path, "--version", stdin=DEVNULL, stdout=PIPE, stderr=DEVNULL)
    try:
        async with asyncio.timeout(ASK_LIMIT_S):
            version, _ = await asking.communicate()
    except TimeoutError:
        asking.kill()
        await asking.wait()
        raise OSError(f"{path} --version does not answer within {ASK_LIMIT_S:g} s") from None
    return Starter(path, options_for(version.decode(errors="replace")))
