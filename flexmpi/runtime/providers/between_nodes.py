"""How ranks reach ranks of other worlds: what this MPI library has to be told for that.

Here are its name and version alone, read from a command, for an MPI that is initialised can be told nothing any more.
"""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

NETWORK = "MPIR_CVAR_CH4_NETMOD"
LIBFABRIC_PROVIDERS = "FI_PROVIDER"
WITHOUT_SOCKETS = "^sockets"
"""All of libfabric's providers but one.

Where there is no fast network MPICH 5.0 takes ``sockets``, which sends what is left of a message only in the sender's next MPI
call: a barrier between worlds takes as long as the next iteration's computing. ``tcp`` sends it at once.
"""
LIMIT_S = 20.0


def library() -> str:
    """Return what MPICH's ``mpichversion`` says, that beside this Python or else the first on the path; nothing if none."""
    beside = Path(sys.executable).with_name("mpichversion")
    command = str(beside) if beside.exists() else "mpichversion"
    try:
        return subprocess.run(
            [command], capture_output=True, text=True, timeout=LIMIT_S, check=False, errors="replace"
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def loses_requests(described: str, inherited: Mapping[str, str]) -> bool:
    """Whether this MPI library corrupts its memory when ranks join over a network.

    MPICH 5.0 (to 5.0.2, the latest) does with UCX, which it prefers. In every MPI_Comm_connect whose first message cannot go at
    once, as none can over a network, it gives one request back twice. From there on two messages under way share one
    request: ranks that have joined crash at their end, or before. In shared memory the message goes at once.

    Parameters
    ----------
    described
        What ``mpichversion`` says.
    inherited
        The environment; what is chosen there counts.
    """
    version, devices = _version(described), _devices(described)
    return version >= (5, 0) and inherited.get(NETWORK, devices[0] if devices else "") == "ucx"


def rank_environment(described: str, inherited: Mapping[str, str], *, across_nodes: bool) -> dict[str, str]:
    """Return what ranks need in their environment to reach other worlds, where the user has not chosen it.

    Parameters
    ----------
    described, inherited
        As for `loses_requests`.
    across_nodes
        Whether they reach other nodes: then by libfabric where UCX would do harm.
    """
    devices, needed = _devices(described), dict[str, str]()
    if across_nodes and NETWORK not in inherited and loses_requests(described, inherited) and "ofi" in devices:
        needed[NETWORK] = "ofi"
    network = {**inherited, **needed}.get(NETWORK, devices[0] if devices else "")
    if network == "ofi" and LIBFABRIC_PROVIDERS not in inherited:
        needed[LIBFABRIC_PROVIDERS] = WITHOUT_SOCKETS
    return needed


def _version(described: str) -> tuple[int, ...]:
    found = re.search(r"^MPICH Version:\s*(\d+)\.(\d+)", described, re.MULTILINE)
    return tuple(map(int, found.groups())) if found else ()


def _devices(described: str) -> list[str]:
    """Return the networks that it has been built with, the preferred one first."""
    found = re.search(r"^MPICH Device:\s*ch4:(.*)$", described, re.MULTILINE)
    return re.split(r"[ ,]+", found[1].strip()) if found else []
