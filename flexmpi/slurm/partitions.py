"""What ``scontrol show partition --oneliner`` prints, of every release: nothing in it is an ordinary user's text. Pure."""

from __future__ import annotations

import re

from flexmpi.cluster.state import Partition
from flexmpi.errors import ManagerError
from flexmpi.numerals import whole_number

_ACCEPTS = ("UP", "DOWN")
_STARTS = ("UP", "DRAIN")
_NO_PARTITION = "No partitions in the system"


def parse_partitions(text: str, *, accounts_are_trees: bool, source: str) -> tuple[Partition, ...]:
    """Read the partitions.

    Parameters
    ----------
    accounts_are_trees
        Whether an account that is allowed or denied stands for those below it too.
    source
        The command that printed it, for messages.

    Raises
    ------
    ManagerError
        It is not in this form.
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith(_NO_PARTITION)]
    return tuple(_partition(line, accounts_are_trees, source) for line in lines)


def _partition(line: str, accounts_are_trees: bool, source: str) -> Partition:
    fields = dict(re.findall(r"(\S+?)=(\S*)", line))
    name, state = fields.get("PartitionName"), fields.get("State")
    if not name or not state:
        raise ManagerError(f"{source} printed {line[:40]!r}, expected PartitionName=… State=…")
    return Partition(
        name=name,
        accepts_jobs=state in _ACCEPTS,
        starts_jobs=state in _STARTS,
        minimum_nodes=whole_number(fields.get("MinNodes", "")) or 0,
        maximum_nodes=whole_number(fields.get("MaxNodes", "")),
        allowed_groups=_names(fields.get("AllowGroups", "ALL")),
        allowed_accounts=_names(fields.get("AllowAccounts", "ALL")),
        denied_accounts=_names(fields.get("DenyAccounts", "ALL")) or frozenset(),
        accounts_are_trees=accounts_are_trees,
        allowed_qos=_names(fields.get("AllowQos", "ALL")),
        denied_qos=_names(fields.get("DenyQos", "ALL")) or frozenset(),
    )


def _names(text: str) -> frozenset[str] | None:
    """Return the names of a list; None where all are meant."""
    return None if text in ("ALL", "(null)", "") else frozenset(text.split(","))
