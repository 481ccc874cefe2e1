"""What an agent begins with: what people have set last, by the journal, else what the settings say."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping
from typing import TypeVar, get_args

from pydantic import ValidationError

from flexmpi.errors import ConfigurationError, JournalError
from flexmpi.protocol.requests import Mode
from flexmpi.protocol.wire import complaint
from flexmpi.scheduler.agent.settings import AgentSettings
from flexmpi.scheduler.deciding.policies import POLICIES
from flexmpi.scheduler.deciding.power import Power
from flexmpi.scheduler.deciding.second_looks import Doubt, doubts_of_text
from flexmpi.scheduler.ordering.journal import Journal

MODE, POLICY = "mode", "policy"
POWER_CAP = "power_cap_w"
"""The journal's setting that keeps it: watts, or ``none``."""
DOUBTS = "doubts"
"""The journal's setting that keeps them: which waiting jobs are left out until when."""
MODES: tuple[Mode, ...] = get_args(Mode)

Name = TypeVar("Name", bound=str)

log = logging.getLogger("flexmpi.agent")


def mode(journal: Journal, settings: AgentSettings) -> Mode:
    """Return the mode in force; ConfigurationError for one that there is not."""
    return _known(MODE, journal.setting(MODE) or settings.agent.mode, MODES)


def policy(journal: Journal, settings: AgentSettings) -> str:
    """Return the policy in force; ConfigurationError for one that there is not."""
    return _known(POLICY, journal.setting(POLICY) or settings.agent.policy, POLICIES)


def power(journal: Journal, settings: AgentSettings) -> Power:
    """Return what nodes draw and may draw: what people have set last counts."""
    declared, cap_w = settings.power.metering.watts, settings.power.cap_w
    if (text := journal.setting(POWER_CAP)) is not None:
        cap_w = None if text == "none" else _watts(text)
    if cap_w is not None and not declared:
        log.warning("the power cap of %g W is not kept: the settings declare no watts any more, see [power]", cap_w)
        cap_w = None
    return Power(declared, cap_w)


def doubts(journal: Journal) -> Mapping[int, Doubt]:
    """Return which waiting jobs are left out, and until when; JournalError where that cannot be read."""
    try:
        return doubts_of_text(journal.setting(DOUBTS) or "{}")
    except ValidationError as error:
        raise JournalError(f"journal {journal.path}: somebody has changed it: {complaint(error, DOUBTS)}") from None


def _known(kind: str, name: str, names: Iterable[Name]) -> Name:
    """Return a name that the settings or the journal give, if it is one; the journal may be a newer agent's, or edited."""
    for known in names:
        if known == name:
            return known
    raise ConfigurationError(f"unknown {kind} {name!r} (there are {', '.join(names)})")


def _watts(text: str) -> float:
    try:
        watts = float(text)
    except ValueError:
        watts = math.nan
    if not 0 <= watts < math.inf:
        raise ConfigurationError(f"unknown power cap {text!r} in the journal (expected watts, or none)")
    return watts
