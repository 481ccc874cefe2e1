"""What is read of a Slurm installation: its release, and what PrivateData hides from whom."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexmpi.errors import ManagerError
from flexmpi.slurm.site import DENIED, TO_SEE_ALL, Site, explained, parse_release, private_data

CONFIGURATION = """Configuration data as of 2026-11-23T13:48:57
AccountingStorageEnforce = none
PrivateData             = {hidden}
SlurmUser               = slurm(64030)
SLURM_VERSION           = 22.05.8
"""


@pytest.mark.parametrize(("release", "number"), [("22.05", (22, 5)), ("24.11", (24, 11)), ("26.05", (26, 5))])
def test_the_release_is_read_as_packagers_print_it(release, number):
    assert parse_release((Path(__file__).with_name("data") / release / "version").read_text()) == number


@pytest.mark.parametrize("text", ["", "slurm\n", "slurm 5\n"])
def test_a_version_without_a_release_is_refused(text):
    with pytest.raises(ManagerError, match="expected a release such as"):
        parse_release(text)


@pytest.mark.parametrize(
    ("release", "squeue", "scontrol"),
    [((20, 11), False, False), ((22, 5), True, False), ((23, 2), True, True), ((26, 5), True, True)],
)
def test_which_commands_print_json_follows_from_the_release(release, squeue, scontrol):
    site = Site(release, frozenset())
    assert (site.prints_json, site.scontrol_prints_json) == (squeue, scontrol)


@pytest.mark.parametrize(
    ("private", "uid", "hidden"),
    [
        ("none", 1000, set()),
        ("accounts,jobs,nodes,usage", 1000, {"jobs", "nodes"}),
        ("jobs", 0, set()),
        ("jobs", 64030, set()),
        ("cloud,reservations", 1000, set()),
    ],
)
def test_private_data_hides_from_ordinary_users_only(private, uid, hidden):
    assert private_data(CONFIGURATION.format(hidden=private), uid=uid) == hidden


@pytest.mark.parametrize(
    ("words", "hidden", "said"),
    [
        (f"x: {DENIED}", {"nodes"}, f"x: {DENIED}: PrivateData hides nodes from the agent's user; {TO_SEE_ALL}"),
        (f"x: {DENIED}", {"jobs", "partitions"}, "hides partitions from"),
        (f"x: {DENIED}", {"nodes", "partitions"}, "hides nodes and partitions from"),
        (f"x: {DENIED}", {"jobs"}, f"x: {DENIED}"),
        ("sinfo --json: Unspecified error", {"nodes"}, "hides nodes from"),
        ("no controller", {"nodes"}, "no controller"),
    ],
)
def test_what_is_denied_is_said_with_the_right_that_is_needed_and_nothing_else_is(words, hidden, said):
    told = explained(words, frozenset(hidden))
    assert told.startswith(words) and said in told
    assert (told == words) is (said == words)
