"""Which folder tells of the agent, and what its files are called. Standard library only: `flexmpi run` starts with it.

What is in the files is `contact`'s (the agent's card) and `keys`'s.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

DEFAULT_FOLDER = Path("/etc/flexmpi")
VARIABLE = "FLEXMPI_AGENT"
NO_AGENT = "none"
"""Said instead of a folder by who wants no agent."""

CARD_NAME = "agent.json"
SECRET_NAME = "agent.secret"
PUBLIC_NAME = "agent.public"
LOCAL_NAME = "agent.local"


def agent_folder(option: str | None, environment: Mapping[str, str]) -> Path | None:
    """Return the folder that an option, else ``FLEXMPI_AGENT``, else nobody names; None where ``none`` is said."""
    named = option or environment.get(VARIABLE) or str(DEFAULT_FOLDER)
    return None if named == NO_AGENT else Path(named).absolute()


def wanted_agent(option: str | None, environment: Mapping[str, str], *, in_a_job: bool) -> Path | None:
    """Return the folder of the agent that `flexmpi run` is to follow.

    Parameters
    ----------
    in_a_job
        It runs in a job of a resource manager; else only an agent that somebody names is looked for.
    """
    folder = agent_folder(option, environment)
    if folder is None or option or environment.get(VARIABLE):
        return folder
    return folder if in_a_job and has_card(folder) else None


def has_card(folder: Path) -> bool:
    """Say whether an agent has told of itself in a folder."""
    try:
        return (folder / CARD_NAME).exists()
    except OSError:  # a folder that this user may not look into
        return False
