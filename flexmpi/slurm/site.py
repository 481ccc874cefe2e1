"""What is true of a Slurm installation for longer than a snapshot: its commands' release, what it hides from this user."""

from __future__ import annotations

import re
from dataclasses import dataclass

from flexmpi.errors import ManagerError

JSON_SINCE = (21, 8)
SCONTROL_JSON_SINCE = (23, 2)
ACCOUNTS_ARE_TREES_SINCE = (23, 11)
"""From here on at the latest a partition's AllowAccounts and DenyAccounts are meant with the accounts below them."""

TO_SEE_ALL = "make it an operator (sacctmgr modify user NAME set adminlevel=operator), or run it as SlurmUser"
"""What lets the agent's user see what PrivateData hides from an ordinary one."""

DENIED = "Access/permission denied"
"""Slurm's words, in every release, where PrivateData has nodes or partitions and an ordinary user asks for them."""
_DENIED_IN_JSON = "Unspecified error"
"""What 22.05 says then where it prints JSON."""

_HIDES = ("jobs", "nodes", "partitions")


@dataclass(frozen=True)
class Site:
    """A Slurm installation.

    Attributes
    ----------
    release
        Of its commands, as (year, month).
    hidden
        What PrivateData hides from this user, of jobs, nodes, partitions.
    """

    release: tuple[int, int]
    hidden: frozenset[str]

    @property
    def prints_json(self) -> bool:
        """Whether ``squeue`` and ``sinfo`` have ``--json``."""
        return self.release >= JSON_SINCE

    @property
    def scontrol_prints_json(self) -> bool:
        """Whether ``scontrol`` has it too; from then on ``sinfo`` prints groups of nodes in it, not nodes."""
        return self.release >= SCONTROL_JSON_SINCE

    @property
    def accounts_are_trees(self) -> bool:
        """Whether an account that a partition allows or denies may stand for those below it too."""
        return self.release >= ACCOUNTS_ARE_TREES_SINCE


def parse_release(text: str) -> tuple[int, int]:
    """Read ``slurm 22.05.8`` or a packager's ``slurm-wlm 24.11.5``.

    Raises
    ------
    ManagerError
        There is no release in it.
    """
    if found := re.search(r"\b([0-9]{2})\.([0-9]{1,2})\b", text):
        return int(found[1]), int(found[2])
    raise ManagerError(f"squeue --version printed {text[:40]!r}, expected a release such as 22.05.8")


def private_data(configuration: str, *, uid: int | None) -> frozenset[str]:
    """Return what the output of ``scontrol show config`` says is hidden from this user, or from any ordinary one."""
    settings = dict(re.findall(r"^(\w+)\s*= (.*)$", configuration, re.MULTILINE))
    owner = re.search(r"\(([0-9]+)\)", settings.get("SlurmUser", ""))
    if uid == 0 or (uid is not None and owner and int(owner[1]) == uid):
        return frozenset()
    return frozenset(settings.get("PrivateData", "").replace(" ", "").split(",")).intersection(_HIDES)


def may_be_denied(words: str) -> bool:
    """Whether Slurm may have refused to show something because of PrivateData."""
    return DENIED in words or _DENIED_IN_JSON in words


def explained(words: str, hidden: frozenset[str]) -> str:
    """Return what is to be said where nodes and jobs could not be read: why, and where Slurm hides them, what to do.

    Parameters
    ----------
    words
        Slurm's.
    hidden
        See `Site`; hidden jobs are left out of what Slurm lists, and nothing fails.
    """
    denied = [what for what in _HIDES if what in hidden and what != "jobs"]
    if not denied or not may_be_denied(words):
        return words
    return f"{words}: PrivateData hides {' and '.join(denied)} from the agent's user; {TO_SEE_ALL}"
