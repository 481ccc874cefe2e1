"""What the tests of the journal share."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from flexmpi.errors import JournalError
from flexmpi.protocol.messages import Cost
from flexmpi.scheduler.ordering.journal import Entry, Journal

PROGRAMS = Path(__file__).parent / "programs"
LIMIT_S = 120
COST = Cost(start_s=0.5, join_s=0.1, balance_s=0.0, move_s=0.2, part_s=0.0, stall_s=0.3, moved_bytes=1000)


def entry(entry_id: str = "a1", **fields: object) -> Entry:
    return Entry(
        **{"decided_at": 1.0, "what": "expand 12 by node3", "cause": "fill", "epoch": 1, **fields}, id=entry_id
    )


def refused(path: Path) -> str:
    with pytest.raises(JournalError) as error:
        Journal.open(path)
    assert "\n" not in str(error.value)
    return str(error.value).removeprefix(f"journal {path}: ")


def run(command: list[object]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(map(str, command)), capture_output=True, text=True, timeout=LIMIT_S, check=False, cwd=PROGRAMS
    )
