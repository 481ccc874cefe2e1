"""Who asks Slurm what it hides is told what it hides from this user."""

from __future__ import annotations

import os
import re

import pytest

from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers.slurm_cli import SlurmCli
from flexmpi.scheduler.managers.slurm_site import read_site
from flexmpi.slurm.site import TO_SEE_ALL, Site
from tests.scheduler.managers.shims import Shims


@pytest.mark.parametrize(
    ("sacctmgr", "hidden"),
    [
        ('case "$*" in *name=daemon*) echo Operator;; esac', set()),
        ("echo None", {"jobs"}),
        ("echo 'You are not running a supported accounting_storage plugin' >&2; exit 1", {"jobs"}),
        (None, {"jobs"}),
    ],
)
def test_an_operator_sees_what_is_hidden_from_others(tmp_path, monkeypatch, sacctmgr, hidden):
    shims = Shims(tmp_path)
    shims.put("scontrol", "printf 'PrivateData = jobs\\nSlurmUser = slurm(64030)\\n'\n")
    if sacctmgr is not None:
        shims.put("sacctmgr", f"{sacctmgr}\n")
    monkeypatch.setattr(os, "getuid", lambda: 1)
    assert read_site(environment=shims.environment, limit_s=20) == Site((22, 5), frozenset(hidden))


@pytest.mark.parametrize("json", [True, False])
@pytest.mark.parametrize("private", ["nodes", "partitions"])
def test_where_nodes_are_hidden_the_setting_and_the_right_are_named_even_if_that_has_just_been_set(
    tmp_path, monkeypatch, private, json
):
    shims = Shims(tmp_path)
    monkeypatch.setattr(os, "getuid", lambda: 1)
    manager = SlurmCli(environment=shims.environment, json=json)
    assert manager.site().hidden == frozenset()
    shims.put("scontrol", f"printf 'PrivateData = {private}\\nSlurmUser = slurm(64030)\\n'\n")
    shims.reading("sinfo", "echo 'slurm_load_node: Access/permission denied' >&2; exit 1\n")
    with pytest.raises(
        ManagerError, match=re.escape(f"PrivateData hides {private} from the agent's user; {TO_SEE_ALL}")
    ):
        manager.snapshot()
