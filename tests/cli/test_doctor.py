"""`flexmpi doctor` says what a machine offers, a line each, with the remedy where it does not."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from flexmpi.cli.doctor import Verdict, check_energy, check_private_data
from tests.powercap import Powercap


def run_doctor(**environment: str) -> tuple[int, dict[str, str]]:
    command = [sys.executable, "-m", "flexmpi.cli", "doctor"]
    run = subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, env={**os.environ, **environment}
    )
    assert run.stderr == ""
    return run.returncode, {line[:24].strip(): line[25:] for line in run.stdout.splitlines()}


def test_it_joins_two_worlds_and_names_the_library(tmp_path):
    _, lines = run_doctor(PATH=f"{tmp_path}")
    assert lines["MPI library"].startswith("ok")
    assert lines["MPI Connect/Accept"].startswith("ok"), lines
    assert lines["RAPL energy"]
    assert lines["PAPI events"]


def test_a_missing_slurm_is_said_and_is_no_failure(tmp_path):
    status, lines = run_doctor(PATH=f"{tmp_path}")
    assert lines["Slurm commands"].startswith("missing")
    assert lines["munge"].startswith("missing")
    assert status == 0, lines


def test_a_slurm_that_does_not_answer_is_a_failure_with_its_words(tmp_path):
    for name in ("sbatch", "squeue", "scancel", "sinfo", "scontrol"):
        command = tmp_path / name
        command.write_text("#!/bin/sh\necho 'slurm_load: Unable to contact slurm controller' >&2\nexit 1\n")
        command.chmod(0o755)
    status, lines = run_doctor(PATH=f"{tmp_path}:/usr/bin:/bin")
    assert "Unable to contact" in lines["Slurm controller"]
    assert "->" in lines["Slurm controller"]
    assert status == 1


@pytest.mark.parametrize(
    ("private", "verdict", "needs"),
    [
        ("none", Verdict.GOOD, ""),
        ("accounts,usage", Verdict.GOOD, ""),
        ("jobs", Verdict.BAD, "must see all jobs: make it an operator (sacctmgr"),
        ("nodes", Verdict.BAD, "no ordinary user's job can be elastic while nodes or partitions are hidden"),
        ("jobs,partitions", Verdict.BAD, "must see all jobs and partitions: make it an operator (sacctmgr"),
    ],
)
def test_what_slurm_hides_is_found_and_who_needs_to_see_it(private, verdict, needs):
    found = check_private_data(f"PriorityType = x\nPrivateData             = {private}\nSlurmUser = slurm(1)\n")
    assert (found.verdict, found.detail) == (verdict, private)
    assert needs in found.remedy


def test_energy_is_judged_as_launchers_read_it(tmp_path):
    assert check_energy(tmp_path).verdict is Verdict.MISSING
    powercap = Powercap(tmp_path / "powercap")
    powercap.add("intel-rapl:0", "package-0", range_uj=1000)
    powercap.add("intel-rapl:0:0", "dram", range_uj=1000)
    found = check_energy(powercap.root)
    assert (found.verdict, found.detail) == (Verdict.GOOD, "rapl:package-0, rapl:package-0/dram")
    for zone in ("intel-rapl:0", "intel-rapl:0:0"):
        powercap.file(zone).unlink()
    unread = check_energy(powercap.root)
    assert unread.verdict is Verdict.BAD
    assert "energy_uj: No such file or directory" in unread.detail and "chmod a+r" in unread.remedy
