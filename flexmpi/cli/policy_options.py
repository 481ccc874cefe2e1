"""What `flexmpi run` is told of policies: their names and numbers, and the power of nodes that have no energy meter."""

from __future__ import annotations

from collections.abc import Sequence
from math import inf

from flexmpi.cluster.platform import Node, names_text
from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.runtime.job.policies import JobPolicy


def policy_from(text: str | None, *, has_schedule: bool) -> JobPolicy | None:
    """Read ``--policy``.

    Raises
    ------
    ConfigurationError
        It is no policy, or ``schedule`` where there is none.
    """
    if text is None:
        return None
    try:
        policy = JobPolicy.parse(text)
    except CommandError as error:
        raise ConfigurationError(f"--policy: {error}") from None
    if policy.name == "schedule" and not has_schedule:
        raise ConfigurationError("--policy schedule needs --schedule FILE")
    return policy


def watts_from(texts: Sequence[str], nodes: Sequence[Node]) -> dict[str, tuple[float, float]]:
    """Read ``--node-watts``: by alias, or under the empty name for all nodes without one of their own.

    Raises
    ------
    ConfigurationError
        One of them is not of the form, or no node has the alias.
    """
    found = {}
    for text in texts:
        *aliases, idle, core = ["", *text.split(":")]
        alias = aliases[-1] if aliases else ""
        try:
            idle_w, core_w = float(idle), float(core)
        except ValueError:
            idle_w = core_w = -1.0
        if len(aliases) > 2 or not (0 <= idle_w < inf and 0 <= core_w < inf):
            raise ConfigurationError(f"--node-watts must be [ALIAS:]IDLE:CORE with watts from 0 on, got {text!r}")
        if alias and alias not in (known := dict.fromkeys(node.alias for node in nodes)):
            raise ConfigurationError(
                f"--node-watts: no node has the alias {alias!r}, expected one of {names_text(known)}"
            )
        found[alias] = (idle_w, core_w)
    return found
