"""`flexmpi demo`: one elastic job, then a small cluster with an agent; real processes, and the answers are checked."""

from __future__ import annotations

import sys

import click
from rich.console import Console


@click.command()
@click.option(
    "--slurm",
    is_flag=True,
    help="Show the cluster alone, on the Slurm that SLURM_CONF names, with sbatch and its nodes.",
)
def demo(slurm: bool) -> None:
    """Show elastic jobs on this machine, in about a minute, and check their answers.

    First a solver on two virtual nodes grows and shrinks by text commands. Then an agent shares four virtual nodes between two
    solvers, gives two of them to a job that comes later, and hands them back.

    The exit status is 0 only if all changes were done and all answers are right.
    """
    from flexmpi.cli.demo_cluster import show_cluster
    from flexmpi.cli.demo_job import show_one_job

    console = Console(width=None if sys.stdout.isatty() else 120)
    right = True
    if not slurm:
        right = show_one_job(console)
        console.print()
    right = show_cluster(console, slurm=slurm) and right
    sys.exit(0 if right else 1)
