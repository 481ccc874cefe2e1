"""The environment that ``mpiexec`` gets and hands to its ranks: what suits any MPI library, and nothing of another launcher.

Pure; standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from flexmpi.protocol.rank_start import NAMES, names_as_text

SMALL_BUFFERS = {
    f"UCX_{transport}_{option}": "64" for transport in ("POSIX", "SYSV") for option in ("FIFO_SIZE", "RX_BUFS_GROW")
}
"""
MPICH never closes its endpoint to a rank that has joined, so every rank of its node keeps that rank's receive buffers mapped
until it ends itself. With 64 buffers in place of UCX's 512 these are 0.5 MB, not 4.2 MB, at the same speed.
"""


OF_LAUNCHERS = ("SLURM_", "PMI", "HYDRA_", "I_MPI_HYDRA_", "I_MPI_PMI_", "OMPI_", "PRTE_", "MPI_LOCAL", "FLEXMPI_")
"""
What the names of variables begin with that are for processes which a resource manager, Hydra (of MPICH, of Intel MPI) or PRRTE
(of Open MPI) has started, or that have a library start them by other means than ours.
"""
OF_USERS = ("OMPI_MCA_", "PRTE_MCA_", "PMIX_MCA_")
"""But these are what users set, for Open MPI."""
DEFAULTS = {
    "UCX_LOG_FILE": "/dev/stderr",
    "HWLOC_XMLFILE": "",
    "I_MPI_PIN": "off",
    **SMALL_BUFFERS,
}


def ranks_environment(inherited: Mapping[str, str], own: Mapping[str, str], folder: Path) -> dict[str, str]:
    """Return the environment of ``mpiexec``, which hands it to its ranks.

    Ranks compute with one thread each unless the user has set ``OMP_NUM_THREADS``: there is one rank a core. What UCX, below
    MPI, has to say must not get into the program's output. Ranks find out for themselves what the machine looks like, which
    takes no time: hydra would tell them by a file, always in /tmp, that stays there when it is killed. No library binds them to
    cores by itself, for two worlds compute on the same cores while one takes over, and each would take the first.
    Nothing of Slurm, of another MPI launcher or of the job's key goes in; ``TMPDIR`` is private to the process set, and a rank
    puts back the one its user had. What is in neither of these two, the user's variables and ``OMP_NUM_THREADS``, ranks hide from
    their children.
    """
    kept = {
        name: value
        for name, value in inherited.items()
        if not name.startswith(OF_LAUNCHERS) or name.startswith(OF_USERS) or name == "SLURM_CONF"
    }
    kept.setdefault("OMP_NUM_THREADS", "1")
    names = names_as_text(kept)
    own = {**own, NAMES: names, "FLEXMPI_TMPDIR": inherited.get("TMPDIR", "")}
    return {**DEFAULTS, **kept, **own, "TMPDIR": str(folder)}
