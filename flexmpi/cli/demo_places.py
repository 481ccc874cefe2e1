"""Where the demo's cluster is: virtual nodes of this machine with the agent's own manager, or a Slurm."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Protocol

from rich.console import Console

from flexmpi.cli.ask_agent import Agent
from flexmpi.errors import FlexMPIError
from flexmpi.protocol.replies import Accepted
from flexmpi.protocol.requests import Submit
from flexmpi.trust.agent_folder import VARIABLE

NODES = 4
HYSTERESIS = "[hysteresis]\ncool_down_s = 1\nsettle_s = 0.5\n"
COMMAND_LIMIT_S = 30.0


class Place(Protocol):
    """Where jobs run."""

    agent_folder: Path

    def describe(self) -> str:
        """Say what will be seen."""

    def settings(self) -> str:
        """Return the agent's settings."""

    def submit_elastic(self, agent: Agent, name: str, program: list[str]) -> None:
        """Submit an elastic job of one to three nodes."""

    def submit_rigid(self, agent: Agent, name: str, *, nodes: int, seconds: int) -> None:
        """Submit a job of fixed size that keeps its nodes for a while."""

    def show_failure(self, name: str, result: Path, console: Console) -> None:
        """Print what a solver printed if it has left no result."""


class _InFolder:
    """What both places share: a folder with the agent's files and the jobs' output."""

    def __init__(self, folder: Path) -> None:
        self.folder = self.agent_folder = folder

    def elastic_script(self, program: list[str]) -> str:
        """Return the script of an elastic job."""
        command = [sys.executable, "-m", "flexmpi.cli", "run", "--quiet", "-n1", f"--nodes=1-{NODES - 1}"]
        command += ["--interval=0.2s", f"--agent={self.agent_folder}", *program]
        return f"#!/bin/sh\nexec {shlex.join(command)}\n"

    def show_failure(self, name: str, result: Path, console: Console) -> None:
        """Print what a solver printed if it has left no result."""
        output = self.folder / f"{name}.out"
        if not result.exists():
            printed = output.read_text(errors="replace").strip() if output.exists() else "it has not started"
            console.print(f"{name} has left no result: {printed[-2000:]}", highlight=False, markup=False)


class LocalPlace(_InFolder):
    """Virtual nodes of this machine."""

    def describe(self) -> str:
        """Say what will be seen."""
        return (
            f"An agent shares {NODES} virtual nodes of one core between two solvers; then somebody wants two of them."
        )

    def settings(self) -> str:
        """Return the agent's settings."""
        (self.folder / "nodes.core").write_text("".join(f"node{number}:1\n" for number in range(NODES)))
        return (
            f'[agent]\nfolder = "{self.folder}"\njournal = "{self.folder}/journal.sqlite"\n'
            'listen = "tcp://127.0.0.1:0"\nadvertise = "127.0.0.1"\nauthority = "local"\ntick_s = 0.25\n'
            f'mode = "on"\npolicy = "fair"\n[manager]\nkind = "local"\ncorefile = "nodes.core"\n{HYSTERESIS}'
        )

    def submit_elastic(self, agent: Agent, name: str, program: list[str]) -> None:
        """Submit an elastic job of one to three nodes."""
        self._submit(agent, name, self.elastic_script(program), nodes=1)

    def submit_rigid(self, agent: Agent, name: str, *, nodes: int, seconds: int) -> None:
        """Submit a job of fixed size that keeps its nodes for a while."""
        self._submit(agent, name, f"#!/bin/sh\nexec sleep {seconds}\n", nodes=nodes)

    def _submit(self, agent: Agent, name: str, script: str, *, nodes: int) -> None:
        output = str(self.folder / f"{name}.out")
        agent.ask(Submit, Accepted, script=script, name=name, nodes=nodes, output=output, directory=str(self.folder))
        agent.receive(COMMAND_LIMIT_S)


class SlurmPlace(_InFolder):
    """The Slurm that SLURM_CONF names, with sbatch."""

    def describe(self) -> str:
        """Say what will be seen."""
        return "An agent shares the nodes of this Slurm between two solvers; then somebody wants two of them."

    def settings(self) -> str:
        """Return the agent's settings; munge's socket is the one that this Slurm uses."""
        found = re.search(r"socket=([^\s,]+)", _run("scontrol", "show", "config"))
        socket = f'munge_socket = "{found[1]}"\n' if found else ""
        return (
            f'[agent]\nfolder = "{self.folder}"\njournal = "{self.folder}/journal.sqlite"\n'
            f'listen = "tcp://127.0.0.1:0"\nadvertise = "127.0.0.1"\nauthority = "munge"\n{socket}tick_s = 0.5\n'
            f'mode = "on"\npolicy = "fair"\n{HYSTERESIS}'
        )

    def submit_elastic(self, agent: Agent, name: str, program: list[str]) -> None:
        """Submit an elastic job of one to three nodes."""
        self._submit(name, self.elastic_script(program), nodes=1)

    def submit_rigid(self, agent: Agent, name: str, *, nodes: int, seconds: int) -> None:
        """Submit a job of fixed size that keeps its nodes for a while."""
        self._submit(name, f"#!/bin/sh\nexec sleep {seconds}\n", nodes=nodes)

    def _submit(self, name: str, script: str, *, nodes: int) -> None:
        path = self.folder / f"{name}.sh"
        path.write_text(script)
        options = [f"--job-name={name}", f"--nodes={nodes}", "--exclusive", f"--output={self.folder}/{name}.out"]
        _run("sbatch", "--parsable", *options, f"--chdir={self.folder}", str(path))


def _run(*command: str) -> str:
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            timeout=COMMAND_LIMIT_S,
            check=True,
            env={**os.environ, VARIABLE: ""},
        )
    except subprocess.CalledProcessError as error:
        raise FlexMPIError(f"{command[0]}: {error.stderr.strip()}") from None
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FlexMPIError(f"{command[0]}: {error}") from None
    return done.stdout
