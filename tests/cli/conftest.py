"""A scripted agent, and `flexmpi` run in this process as its users call it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flexmpi.cli.main import main
from tests.cli.scripted_agent import Script, ScriptedAgent


@dataclass(frozen=True)
class Ended:
    """How a command ended, and what it printed."""

    status: int
    output: str
    errors: str


Flexmpi = Callable[..., Ended]
Serve = Callable[[Script], ScriptedAgent]


@pytest.fixture
def flexmpi(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Flexmpi:
    """Run the command line, not on a terminal; `FLEXMPI_AGENT` is the agent's folder where there is one."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["flexmpi", *arguments])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main()
        printed = capsys.readouterr()
        code = ended.value.code
        assert code is None or isinstance(code, int)
        return Ended(code or 0, printed.out, printed.err)

    return run


@pytest.fixture
def serve(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start an agent that answers by a script, and have commands find it."""
    agents: list[ScriptedAgent] = []

    def start(script: Script) -> ScriptedAgent:
        agents.append(ScriptedAgent(tmp_path / f"agent{len(agents)}", script))
        monkeypatch.setenv("FLEXMPI_AGENT", str(agents[-1].folder))
        return agents[-1]

    yield start
    for agent in agents:
        agent.close()
