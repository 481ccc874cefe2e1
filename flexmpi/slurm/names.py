"""Slurm's names for what nodes and jobs are in, as ours; the same names are in its JSON, its text and its library. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from flexmpi.cluster.state import JobState, NodeState

# node_state_base_string, node_state_flag_string and node_state_string of Slurm's src/common/slurm_protocol_defs.c, 22.05 to
# 26.05. The last of them hides the base state of some: only `idle` alone may be read as idle.
_NODE_STATES = {
    "IDLE": {NodeState.IDLE},
    "MIXED": {NodeState.MIXED},
    "ALLOCATED": {NodeState.ALLOCATED},
    "DOWN": {NodeState.DOWN},
    "ERROR": {NodeState.ERROR},
    "FUTURE": {NodeState.FUTURE},
    "UNKNOWN": {NodeState.UNKNOWN},
    "COMPLETING": {NodeState.COMPLETING},
    "DRAIN": {NodeState.DRAIN},
    "DRAINED": {NodeState.IDLE, NodeState.DRAIN},
    "DRAINING": {NodeState.ALLOCATED, NodeState.DRAIN},
    "POWER_DRAIN": {NodeState.DRAIN},
    "FAIL": {NodeState.FAIL},
    "FAILING": {NodeState.ALLOCATED, NodeState.FAIL},
    "MAINTENANCE": {NodeState.MAINTENANCE},
    "MAINT": {NodeState.MAINTENANCE},
    "RESERVED": {NodeState.RESERVED},
    "PLANNED": {NodeState.PLANNED},
    "POWERED_DOWN": {NodeState.POWERED_DOWN},
    "POWERING_DOWN": {NodeState.POWERING_DOWN},
    "POWER_DOWN": {NodeState.POWERING_DOWN},
    "POWERING_UP": {NodeState.POWERING_UP},
    "POWER_UP": {NodeState.POWERING_UP},
    "REBOOT": {NodeState.REBOOT},
    "REBOOT_REQUESTED": {NodeState.REBOOT},
    "REBOOT_ISSUED": {NodeState.REBOOT},
    "NOT_RESPONDING": {NodeState.NOT_RESPONDING},
    "NO_RESPOND": {NodeState.NOT_RESPONDING},
    # How the node came to be there; jobs run on it as on any other.
    "CLOUD": set(),
    "DYNAMIC_NORM": set(),
    "EXTERNAL": set(),
}

# What sinfo puts behind a state's name, see NODE STATE CODES in sinfo(1).
_NODE_SUFFIXES = {
    "*": {NodeState.NOT_RESPONDING},
    "~": {NodeState.POWERED_DOWN},
    "#": {NodeState.POWERING_UP},
    "!": {NodeState.POWERING_DOWN},
    "%": {NodeState.POWERING_DOWN},
    "$": {NodeState.MAINTENANCE},
    "@": {NodeState.REBOOT},
    "^": {NodeState.REBOOT},
    "-": {NodeState.PLANNED},
}

# job_state_string of the same file. Flags come first: COMPLETED with COMPLETING still holds its nodes.
_JOB_STATES = {
    "COMPLETING": JobState.COMPLETING,
    "STAGE_OUT": JobState.COMPLETING,
    "CONFIGURING": JobState.CONFIGURING,
    "POWER_UP_NODE": JobState.CONFIGURING,
    "REQUEUED": JobState.PENDING,
    "REQUEUE_FED": JobState.PENDING,
    "REQUEUE_HOLD": JobState.PENDING,
    "SPECIAL_EXIT": JobState.PENDING,
    "RESV_DEL_HOLD": JobState.PENDING,
    "RESIZING": JobState.RUNNING,
    "SIGNALING": JobState.RUNNING,
    "STOPPED": JobState.SUSPENDED,
    "REVOKED": JobState.CANCELLED,
    "PENDING": JobState.PENDING,
    "RUNNING": JobState.RUNNING,
    "SUSPENDED": JobState.SUSPENDED,
    "COMPLETED": JobState.COMPLETED,
    "CANCELLED": JobState.CANCELLED,
    "FAILED": JobState.FAILED,
    "BOOT_FAIL": JobState.FAILED,
    "LAUNCH_FAILED": JobState.FAILED,
    "DEADLINE": JobState.TIMEOUT,
    "TIMEOUT": JobState.TIMEOUT,
    "NODE_FAIL": JobState.NODE_FAIL,
    "PREEMPTED": JobState.PREEMPTED,
    "OUT_OF_MEMORY": JobState.OUT_OF_MEMORY,
}

# Where Slurm says this much, its code is Resources.
_UNAVAILABLE = "Nodes required for job are DOWN"


def node_states(names: Iterable[str]) -> frozenset[NodeState]:
    """Return what Slurm's names for a node's state and flags mean, with or without sinfo's signs behind them."""
    states: set[NodeState] = set()
    for name in names:
        word = name.rstrip("".join(_NODE_SUFFIXES)).upper()
        states |= _NODE_STATES.get(word, {NodeState.OTHER})
        for sign in name[len(word) :]:
            states |= _NODE_SUFFIXES[sign]
    return frozenset(states) or frozenset({NodeState.OTHER})


def job_state(names: Iterable[str]) -> JobState:
    """Return the state that Slurm's names for a job's state and flags mean together."""
    given = {name.upper() for name in names}
    return next((state for name, state in _JOB_STATES.items() if name in given), JobState.OTHER)


def reason_word(text: str) -> str | None:
    """Return the one word by which Slurm calls a reason, from that word or from a longer description."""
    if text.startswith(_UNAVAILABLE):
        return "Resources"
    word = re.split(r"[\s,(]", text.strip("() "), maxsplit=1)[0]
    return word if word not in ("", "None", "null") else None


def present(text: str | None) -> str | None:
    """Return a value, or None for the many ways in which Slurm says that there is none."""
    return None if text in (None, "", "(null)", "N/A", "n/a", "none", "None") else text
