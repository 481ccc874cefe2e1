"""The second part of `flexmpi demo`: an agent, two elastic solvers, and a job of fixed size that comes later."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from flexmpi.cli.ask_agent import Agent, connected
from flexmpi.cli.demo_job import LARGEST_ERROR, ORDER, TOLERANCE, chosen_intensity, shipped, solution_error
from flexmpi.cli.demo_places import LocalPlace, Place, SlurmPlace
from flexmpi.errors import FlexMPIError
from flexmpi.protocol.replies import HistoryList, HistoryRow, JobList, JobRow, NodeList
from flexmpi.protocol.requests import History, Jobs, Nodes

CORE_SECONDS = 20.0
"""Of each solver: together about twice that on two cores, and somewhat more where ranks share them."""
START_LIMIT_S = 30.0
LIMIT_S = 150.0
"""How long all may take where the machine is busy with other things."""
LOOK_S = 0.3
RIGID_NODES = 2
RIGID_S = 4
SOLVERS = ("solver-a", "solver-b")
RIGID = "visitor"
COLOURS = {"solver-a": "green", "solver-b": "cyan", RIGID: "yellow"}


@dataclass
class Story:
    """What has happened so far: the allotments in their order, each once."""

    began: float = field(default_factory=time.monotonic)
    seen: list[dict[str, str]] = field(default_factory=list)
    finished: set[str] = field(default_factory=set)

    def sizes(self, allotment: dict[str, str]) -> dict[str, int]:
        """Return how many nodes each job has."""
        return {name: list(allotment.values()).count(name) for name in (*SOLVERS, RIGID)}

    def shared_equally(self, allotment: dict[str, str]) -> bool:
        """Whether the solvers have all nodes, in equal shares."""
        sizes = self.sizes(allotment)
        return sizes[SOLVERS[0]] == sizes[SOLVERS[1]] == len(allotment) // 2

    def made_room(self, allotment: dict[str, str]) -> bool:
        """Whether the job that came later has its nodes, and both solvers still run."""
        sizes = self.sizes(allotment)
        return sizes[RIGID] == RIGID_NODES and min(sizes[name] for name in SOLVERS) > 0

    @property
    def went_well(self) -> bool:
        """Whether nodes moved from the solvers to the job that came later, and back."""
        room = [number for number, allotment in enumerate(self.seen) if self.made_room(allotment)]
        return bool(room) and any(self.shared_equally(allotment) for allotment in self.seen[room[-1] :])


def show_cluster(console: Console, *, slurm: bool) -> bool:
    """Play it, print what moved and what it cost, and return whether all is right."""
    with tempfile.TemporaryDirectory(prefix="flexmpi-demo-") as name:
        folder = Path(name)
        place: Place = SlurmPlace(folder) if slurm else LocalPlace(folder)
        with running_agent(place, folder), connected({"agent": str(place.agent_folder), "answer_limit": 10.0}) as agent:
            console.print(place.describe(), highlight=False)
            solutions = {solver: folder / f"{solver}.npy" for solver in SOLVERS}
            intensity = chosen_intensity(CORE_SECONDS)
            for solver, solution in solutions.items():
                script = str(shipped("examples/jacobi.py"))
                arguments = [f"--dim={ORDER}", f"--diff-tol={TOLERANCE}", f"--output={solution}"]
                place.submit_elastic(agent, solver, [script, *arguments, f"--cpu-intensity={intensity}"])
            story = watch(console, agent, place)
            history = agent.ask(History, HistoryList).entries
            for solver in SOLVERS:
                place.show_failure(solver, solutions[solver], console)
        console.print(history_table(history))
        errors = {solver: solution_error(path) for solver, path in solutions.items() if path.exists()}
    for solver, error in errors.items():
        console.print(f"{solver}: largest difference from a one-process numpy solve: {error:.1e}")
    right = len(errors) == len(SOLVERS) and max(errors.values()) < LARGEST_ERROR
    moved = "moved to the job that came later and back" if story.went_well else "did NOT move there and back"
    console.print(f"Nodes {moved}. {'All is right.' if right and story.went_well else 'FAILED.'}")
    return right and story.went_well


@contextmanager
def running_agent(place: Place, folder: Path) -> Iterator[None]:
    """Run an agent in a process of its own until the end, and show why if it cannot start."""
    settings, log = folder / "agent.toml", folder / "agent.log"
    settings.write_text(place.settings())
    with log.open("wb") as output:
        command = [sys.executable, "-m", "flexmpi.cli", "agent", f"--config={settings}"]
        process = subprocess.Popen(command, stdout=output, stderr=output, stdin=subprocess.DEVNULL)
    try:
        end = time.monotonic() + START_LIMIT_S
        while not (place.agent_folder / "agent.json").exists():
            if process.poll() is not None or time.monotonic() > end:
                raise FlexMPIError(f"the agent did not start: {log.read_text().strip()[-500:]}")
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.wait(START_LIMIT_S)


def watch(console: Console, agent: Agent, place: Place) -> Story:
    """Follow the nodes until the solvers have ended; submit the job that comes later once they share the nodes."""
    story, visitor_came = Story(), False
    screen = Live(console=console, refresh_per_second=8) if console.is_terminal else None
    with screen or nothing():
        while time.monotonic() - story.began < LIMIT_S:
            jobs, allotment = look(agent)
            if not story.seen or story.seen[-1] != allotment:
                story.seen.append(allotment)
                if screen is None:
                    console.print(line(allotment, time.monotonic() - story.began))
            if screen is not None:
                screen.update(picture(allotment, jobs, time.monotonic() - story.began))
            # Once they compute on them: growth that is still under way would be taken back.
            if not visitor_came and story.shared_equally(allotment) and not any(job.why for job in jobs):
                visitor_came = True
                place.submit_rigid(agent, RIGID, nodes=RIGID_NODES, seconds=RIGID_S)
            if visitor_came and not any(job.name in SOLVERS for job in jobs):
                break
            time.sleep(LOOK_S)
    return story


@contextmanager
def nothing() -> Iterator[None]:
    """Do nothing around something."""
    yield


def look(agent: Agent) -> tuple[tuple[JobRow, ...], dict[str, str]]:
    """Return the jobs, and the name of the job on each node."""
    jobs = agent.ask(Jobs, JobList).jobs
    names = {job.job: job.name for job in jobs}
    nodes = agent.ask(Nodes, NodeList).nodes
    return jobs, {node.node: names.get(node.job or "", "") for node in nodes}


def line(allotment: dict[str, str], elapsed_s: float) -> str:
    """Return one line about who has which node."""
    shown = "  ".join(f"{node}: {name or '-':<8}" for node, name in allotment.items())
    return f"{elapsed_s:6.1f} s   {shown}".rstrip()


def picture(allotment: dict[str, str], jobs: tuple[JobRow, ...], elapsed_s: float) -> Table:
    """Return what is shown on a terminal: a column a node, and what each job is doing."""
    table = Table(title=f"{elapsed_s:.0f} s", caption=_doing(jobs), expand=False)
    for node in allotment:
        table.add_column(node, min_width=10, justify="center")
    table.add_row(*(Text(name or "idle", style=COLOURS.get(name, "dim")) for name in allotment.values()))
    return table


def _doing(jobs: tuple[JobRow, ...]) -> str:
    return "   ".join(f"{job.name}: {job.why}" for job in jobs if job.why) or "all quiet"


def history_table(entries: tuple[HistoryRow, ...]) -> Table:
    """Return the agent's decisions and what each cost."""
    table = Table(title="What the agent decided")
    for heading in ("what", "cause", "outcome"):
        table.add_column(heading)
    for heading in ("stall ms", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for entry in entries:
        cost = entry.cost
        table.add_row(
            entry.what,
            entry.cause,
            entry.outcome if entry.why is None else f"{entry.outcome}: {entry.why}",
            "-" if cost is None else f"{1e3 * cost.stall_s:.1f}",
            "-" if cost is None else f"{cost.moved_bytes:,}",
        )
    return table
