"""`flexmpi doctor`: what this machine or cluster offers to elastic jobs, a line each, with the remedy where it does not."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

import click

from flexmpi.errors import AuthenticationError
from flexmpi.runtime.machine.counters import parse_probe, probe_command
from flexmpi.runtime.machine.energy import POWERCAP, EnergyMeter
from flexmpi.slurm.site import TO_SEE_ALL, private_data
from flexmpi.trust.munge import Munge

LIMIT_S = 60.0
EVENT = "PAPI_TOT_INS"
PARANOID = Path("/proc/sys/kernel/perf_event_paranoid")

PROBE = """
import flexmpi
with flexmpi.session() as flex:
    for _ in flex.iterate(2):
        size = flex.comm.allreduce(1)
    if flex.rank == 0:
        print("joined", size)
"""


KNOCK = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=10).close()"


class Verdict(Enum):
    """What became of a check."""

    GOOD = "ok"
    MISSING = "missing"
    BAD = "FAILS"
    UNKNOWN = "not checked"


@dataclass(frozen=True)
class Finding:
    """The result of one check, and what to do about it."""

    subject: str
    verdict: Verdict
    detail: str
    remedy: str = ""

    def line(self) -> str:
        """Return it as a line for a person."""
        remedy = f"  -> {self.remedy}" if self.remedy else ""
        return f"{self.subject:<24} {self.verdict.value:<12} {self.detail}{remedy}"


def asked(*command: str, given: str = "") -> tuple[bool, str]:
    """Run a command with a limit; return whether it succeeded, and what it printed."""
    try:
        done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return False, str(error)
    return done.returncode == 0, (done.stdout if done.returncode == 0 else done.stderr or done.stdout).strip()


def check_join() -> Finding:
    """Have two separately started worlds join, on two nodes of this job where it has two."""
    two_real_nodes = int(os.environ.get("SLURM_JOB_NUM_NODES", "1")) > 1
    where = "two nodes of this job" if two_real_nodes else "two virtual nodes here"
    with tempfile.TemporaryDirectory(prefix="flexmpi-doctor-") as folder:
        script, corefile = Path(folder) / "probe.py", Path(folder) / "nodes.core"
        script.write_text(PROBE)
        corefile.write_text("first:1\nsecond:1\n")
        nodes = ["-n2"] if two_real_nodes else ["--nodes=2", f"--corefile={corefile}", "-n2"]
        good, text = asked(sys.executable, "-m", "flexmpi.cli", "run", "--quiet", *nodes, str(script))
    if good and "joined 2" in text:
        return Finding("MPI Connect/Accept", Verdict.GOOD, f"two worlds joined on {where}")
    remedy = "pip install mpich" if not two_real_nodes else "see 'ports between nodes'"
    return Finding("MPI Connect/Accept", Verdict.BAD, (text.splitlines() or ["no answer"])[-1], remedy)


def check_mpi_library() -> Finding:
    """Name the MPI library."""
    good, text = asked(sys.executable, "-c", "from mpi4py import MPI; print(MPI.Get_library_version().split('\\n')[0])")
    if good:
        return Finding("MPI library", Verdict.GOOD, " ".join(text.replace("\0", "").split()))
    return Finding("MPI library", Verdict.BAD, text.splitlines()[-1], "pip install mpich")


def check_slurm() -> Iterator[Finding]:
    """Look at Slurm's commands, and at what its configuration means for elastic jobs."""
    needed = ("sbatch", "squeue", "scancel", "sinfo", "scontrol")
    absent = [name for name in needed if shutil.which(name) is None]
    if absent:
        yield Finding(
            "Slurm commands", Verdict.MISSING, f"no {', '.join(absent)}", "local virtual nodes work without Slurm"
        )
        return
    good, version = asked("sinfo", "--version")
    yield Finding("Slurm commands", Verdict.GOOD if good else Verdict.BAD, (version.splitlines() or ["no answer"])[-1])
    good, configuration = asked("scontrol", "show", "config")
    if not good:
        yield Finding(
            "Slurm controller", Verdict.BAD, configuration.splitlines()[-1], "is SLURM_CONF right? does slurmctld run?"
        )
        return
    yield check_private_data(configuration)
    yield check_nested_sbatch()


def check_private_data(configuration: str) -> Finding:
    """See what Slurm hides from ordinary users, of what an agent needs, and of what a job needs."""
    hidden = sorted(private_data(configuration, uid=None))
    found = re.search(r"^PrivateData\s*=\s*(.*)$", configuration, re.MULTILINE)
    detail = found[1].strip() if found else "none"
    if not hidden:
        return Finding("PrivateData", Verdict.GOOD, detail)
    needs = f"the agent's user must see all {' and '.join(hidden)}: {TO_SEE_ALL}"
    if hidden != ["jobs"]:
        needs += "; no ordinary user's job can be elastic while nodes or partitions are hidden"
    return Finding("PrivateData", Verdict.BAD, detail, needs)


def check_nested_sbatch() -> Finding:
    """See whether a job may be submitted from here."""
    inside = "SLURM_JOB_ID" in os.environ
    place = "from this compute node" if inside else "from here; not yet tried inside a job"
    environment = {name for name in os.environ if name.startswith(("SLURM_", "SBATCH_")) and name != "SLURM_CONF"}
    unset = [f"--unset={name}" for name in sorted(environment)]
    good, text = asked("env", *unset, "sbatch", "--test-only", "--nodes=1", given="#!/bin/sh\n")
    if good:
        return Finding("sbatch", Verdict.GOOD if inside else Verdict.UNKNOWN, f"works {place}")
    last = (text.splitlines() or ["no answer"])[-1]
    return Finding(
        "sbatch", Verdict.BAD, last, "AllocNodes of the partition must hold the compute nodes" if inside else ""
    )


def check_munge() -> Finding:
    """Make a munge credential and read it, by the munged that Slurm uses where it names one."""
    if shutil.which("munge") is None:
        return Finding("munge", Verdict.MISSING, "no munge command", "needed for an agent of several users")
    named = re.search(r"^AuthInfo\s*=.*\bsocket=([^,\s]+)", asked("scontrol", "show", "config")[1], re.MULTILINE)
    munge = Munge(Path(named[1]) if named else None)
    try:
        signed = munge.read(munge.sign("flexmpi doctor"))
    except AuthenticationError as error:
        return Finding("munge", Verdict.BAD, str(error), "start munged")
    return Finding("munge", Verdict.GOOD, f"it vouches for uid {signed.identity.uid}")


def check_ports() -> Finding:
    """See whether the other nodes of this job reach this one at any port, which both supervisor and MPI need."""
    count = int(os.environ.get("SLURM_JOB_NUM_NODES", "1"))
    if count < 2:
        return Finding(
            "ports between nodes", Verdict.UNKNOWN, "needs a job of two nodes", "run flexmpi doctor inside one"
        )
    host = socket.gethostname()
    with socket.create_server(("", 0), backlog=count) as listener:
        port = str(listener.getsockname()[1])
        each = ("srun", "--overlap", f"--nodes={count}", f"--ntasks={count}", "--ntasks-per-node=1")
        good, text = asked(*each, sys.executable, "-c", KNOCK, host, port)
    if good:
        return Finding(
            "ports between nodes", Verdict.GOOD, f"all {count} nodes of this job reach {host} at port {port}"
        )
    remedy = "open all TCP ports between compute nodes"
    return Finding("ports between nodes", Verdict.BAD, (text.splitlines() or ["no answer"])[0], remedy)


def check_events() -> Finding:
    """Count an event that every processor has, in a process of its own."""
    remedy = "flops and instructions are shown as n/a"
    if importlib.util.find_spec("pypapi") is None:
        return Finding("PAPI events", Verdict.MISSING, "python-papi is not installed", "pip install python-papi")
    good, text = asked(*probe_command([EVENT]))
    if not good:
        return Finding("PAPI events", Verdict.BAD, (text.splitlines() or [""])[-1], remedy)
    refused = parse_probe(text).refused
    if not refused:
        return Finding("PAPI events", Verdict.GOOD, f"{EVENT} can be counted")
    return Finding("PAPI events", Verdict.MISSING, f"{EVENT}: {refused[EVENT]}", remedy)


def check_counters() -> Iterator[Finding]:
    """Look for hardware counters and the permission to read them."""
    yield check_events()
    level = PARANOID.read_text().strip() if PARANOID.exists() else None
    if level is None:
        yield Finding(
            "counters' permission", Verdict.MISSING, f"no {PARANOID}", "this kernel has no performance events"
        )
    else:
        enough = int(level) <= 2 or os.geteuid() == 0
        yield Finding(
            "counters' permission",
            Verdict.GOOD if enough else Verdict.BAD,
            f"perf_event_paranoid is {level}",
            "" if enough else "sysctl kernel.perf_event_paranoid=2",
        )


def check_energy(root: Path = POWERCAP) -> Finding:
    """Look for the energy meters of RAPL, as a node launcher does."""
    meter = EnergyMeter(root)
    if meter.sources:
        return Finding("RAPL energy", Verdict.GOOD, ", ".join(meter.sources))
    why = "; ".join(f"{folder}: {problem}" for folder, problem in meter.missing.items())
    if str(root) in meter.missing:
        return Finding("RAPL energy", Verdict.MISSING, why, "declare watts in agent.toml instead")
    return Finding("RAPL energy", Verdict.BAD, why, f"chmod a+r {root}/intel-rapl:*/energy_uj at boot")


CHECKS: tuple[Callable[[], Finding | Iterator[Finding]], ...] = (
    check_mpi_library,
    check_join,
    check_ports,
    check_slurm,
    check_munge,
    check_counters,
    check_energy,
)


@click.command()
def doctor() -> None:
    """Check what elastic jobs need of this machine or cluster; best run inside a job of two nodes.

    The exit status is 1 if anything fails; what is merely missing or could not be checked is said and does not count.
    """
    failed = False
    for check in CHECKS:
        found = check()
        for finding in [found] if isinstance(found, Finding) else found:
            click.echo(finding.line())
            failed = failed or finding.verdict is Verdict.BAD
    sys.exit(1 if failed else 0)
