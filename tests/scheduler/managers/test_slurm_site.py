"""Who asks Slurm what it hides is told what it hides from this user."""

from __future__ import annotations

import os

import pytest

from flexmpi.scheduler.managers.slurm_site import read_site
from flexmpi.slurm.site import Site
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
