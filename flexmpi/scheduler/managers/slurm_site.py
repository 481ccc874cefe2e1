"""Asks Slurm's commands what is true of the installation for longer than a snapshot; what they say is read in `slurm.site`."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping

from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import external
from flexmpi.slurm.site import Site, parse_release, private_data

# Operators and administrators see everything; so do SlurmUser and root.
_SEES_ALL = ("Operator", "Administrator")


def read_site(*, environment: Mapping[str, str], limit_s: float) -> Site:
    """Ask Slurm's commands.

    Raises
    ------
    ManagerError
        They do not answer in time, or are not understood.
    """
    commands = [["squeue", "--version"], ["scontrol", "show", "config"]]
    version, configuration = external.run(commands, environment=environment, limit_s=limit_s)
    hidden = private_data(configuration.checked("show the configuration"), uid=os.getuid())
    if hidden and _admin_level(environment, limit_s) in _SEES_ALL:
        hidden = frozenset()
    return Site(parse_release(version.checked("tell its version")), hidden)


def _admin_level(environment: Mapping[str, str], limit_s: float) -> str:
    """Return what slurmdbd makes of this user; nothing where there is no slurmdbd, and so no operator."""
    try:
        name = pwd.getpwuid(os.getuid()).pw_name
        command = ["sacctmgr", "--noheader", "--parsable2", "show", "user", f"name={name}", "format=AdminLevel"]
        (level,) = external.run([command], environment=environment, limit_s=limit_s)
    except (KeyError, ManagerError):
        return ""
    return level.text.strip() if level.status == 0 else ""
