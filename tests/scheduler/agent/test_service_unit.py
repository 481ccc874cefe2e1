"""The systemd unit: systemd understands all of it, and it agrees with the settings' defaults."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from flexmpi.scheduler.agent.agent import LONGEST_SILENCE_S
from flexmpi.scheduler.agent.settings import AgentSettings
from tests.applications import REPOSITORY

UNIT = REPOSITORY / "slurm/flexmpi-agent.service"
LIMIT_S = 120


def values(name: str) -> list[str]:
    return [line.partition("=")[2] for line in UNIT.read_text().splitlines() if line.startswith(f"{name}=")]


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="this machine has no systemd-analyze")
def test_systemd_has_nothing_to_say_against_the_unit(tmp_path):
    unit = tmp_path / UNIT.name
    installed = Path(sys.executable).with_name("flexmpi")  # systemd asks for the command to be there
    unit.write_text(UNIT.read_text().replace("/opt/flexmpi/bin/flexmpi", str(installed)))
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", unit],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"},
    )
    # Units of this machine that are mentioned in ours may have faults of their own.
    assert [line for line in verified.stderr.splitlines() if unit.name in line] == []
    assert verified.returncode == 0, verified.stderr


def test_the_unit_gives_the_agent_the_folder_of_its_files():
    (folder,), (mode,) = values("StateDirectory"), values("StateDirectoryMode")
    default = AgentSettings().agent
    assert default.folder == default.journal.parent == Path("/var/lib") / folder
    assert int(mode, 8) & 0o022 == 0  # or the keys in it would be refused


def test_the_unit_waits_until_the_agent_says_that_it_is_ready():
    assert values("Type") == ["notify"]
    assert values("User") == ["flexmpi"]


def test_the_unit_ends_an_agent_that_hangs_and_none_whose_slurm_is_slow():
    (watchdog,), (restart,) = values("WatchdogSec"), values("Restart")
    assert restart == "on-failure"
    assert float(watchdog.removesuffix("s")) >= 3 * AgentSettings().manager.limit_s + 3 * LONGEST_SILENCE_S


def test_the_unit_lets_zeromq_set_the_scheduling_of_its_threads():
    """Otherwise ZeroMQ ends the process, with "Operation not permitted (src/thread.cpp:…)", and with no word before."""
    refused = [group for value in values("SystemCallFilter") if value.startswith("~") for group in value[1:].split()]
    assert refused == ["@privileged"]
