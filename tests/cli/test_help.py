"""Every command has its help."""

from __future__ import annotations

import re

import pytest

from flexmpi.cli.main import MODULES
from tests.cli.conftest import Flexmpi

FOR_PEOPLE = (
    "balance",
    "expand",
    "explain",
    "history",
    "jobs",
    "mode",
    "nodes",
    "policy",
    "powercap",
    "shrink",
    "stop",
    "submit",
)


@pytest.mark.parametrize("command", FOR_PEOPLE)
def test_help_says_which_fields_there_are_and_what_the_exit_status_means(flexmpi: Flexmpi, command: str) -> None:
    shown = flexmpi(command, "-h")
    assert (shown.status, shown.errors) == (0, "")
    text = " ".join(shown.output.split())
    assert "--format FIELD,... Show these of the fields below." in text
    assert re.search(r"Fields: .*\b(why|watts)\b.* Exit status: 0 done", text)
    assert "2 wrong usage or no agent" in text
    assert "--agent FOLDER What tells of the agent. [default: FLEXMPI_AGENT, else /etc/flexmpi]" in text


def test_all_commands_are_listed_in_order(flexmpi: Flexmpi) -> None:
    listed = re.findall(r"^  ([a-z]+)  ", flexmpi("-h").output, re.MULTILINE)
    assert listed == sorted(listed)
    assert set(listed) == set(MODULES) > {"run", "send", *FOR_PEOPLE}


def test_a_command_that_there_is_not_is_refused(flexmpi: Flexmpi) -> None:
    refused = flexmpi("nothing")
    assert refused.status == 2
    assert "No such command 'nothing'" in refused.errors
