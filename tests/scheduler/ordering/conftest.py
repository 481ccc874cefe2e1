"""A journal, and its place."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.scheduler.ordering.journal import Journal


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path) -> Iterator[Journal]:
    with Journal.open(path) as journal:
        yield journal
