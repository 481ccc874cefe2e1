"""Every command has its help, and those that speak to an agent say what they need where it is not installed."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from flexmpi.cli.main import WITH_AGENT
from tests.cli.conftest import Flexmpi

WITHOUT = "import sys; sys.modules.update(zmq=None); from flexmpi.cli.main import main; main()"


def without_zmq(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command line where there is no pyzmq."""
    command = [sys.executable, "-c", WITHOUT, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("command", sorted(WITH_AGENT))
def test_help_says_which_fields_there_are_and_what_the_exit_status_means(flexmpi: Flexmpi, command: str) -> None:
    shown = flexmpi(command, "-h")
    assert (shown.status, shown.errors) == (0, "")
    text = " ".join(shown.output.split())
    assert "--format FIELD,... Show these of the fields below." in text
    assert re.search(r"Fields: .*\bwhy\b.* Exit status: 0 done", text)
    assert "2 wrong usage or no agent" in text
    assert "--agent FOLDER What tells of the agent. [default: FLEXMPI_AGENT, else /etc/flexmpi]" in text


def test_all_commands_are_listed_in_order(flexmpi: Flexmpi) -> None:
    listed = re.findall(r"^  ([a-z]+)  ", flexmpi("-h").output, re.MULTILINE)
    assert listed == sorted(listed)
    assert {"run", "send", *WITH_AGENT} <= set(listed)


def test_where_no_agent_can_be_spoken_to_the_other_commands_work_and_the_remedy_is_named() -> None:
    for arguments in (["jobs"], ["expand", "12", "node3", "--wait"]):
        refused = without_zmq(*arguments)
        assert refused.returncode == 2
        assert refused.stderr == f"flexmpi: error: flexmpi {arguments[0]} needs pip install 'flexmpi[agent]'\n"
    listed = without_zmq("-h")
    assert (listed.returncode, listed.stderr) == (0, "")
    assert re.search(r"jobs +needs pip install 'flexmpi\[agent\]'", listed.stdout)
    assert re.search(r"run +Run the mpi4py program", listed.stdout)


def test_a_command_that_there_is_not_is_refused(flexmpi: Flexmpi) -> None:
    refused = flexmpi("nothing")
    assert refused.status == 2
    assert "No such command 'nothing'" in refused.errors
