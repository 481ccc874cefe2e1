"""The agent that a test plays, and the folder that tells of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.agents import ScriptedAgent


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "agent"


@pytest.fixture
def agent(folder: Path) -> Iterator[ScriptedAgent]:
    with ScriptedAgent(folder) as agent:
        yield agent
