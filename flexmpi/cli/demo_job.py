"""The first part of `flexmpi demo`: one Jacobi solver grows and shrinks by text commands, and its answer is checked."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any

import click
from rich.console import Console
from rich.table import Table

import flexmpi
from flexmpi.cli.send import ask
from flexmpi.errors import FlexMPIError
from flexmpi.protocol.address import Address

COMMANDS = ("6:lhost:2", "6:lhost:-1", "6:node2:2", "6:node2:-2")
ORDER = 1200
STARTING_RANKS = 2
TOLERANCE = 1e-10
LARGEST_ERROR = 1e-6
ITERATIONS = 2_000
"""About what the solver needs to that tolerance."""
TERMINATED = 128 + signal.SIGTERM
WANTED_S = 7.0
LIMIT_S = 120.0
"""How long the solver may take where the machine is busy with other things."""


def shipped(path: str) -> Path:
    """Return a file that comes with FlexMPI: inside the installed package, or beside it in a checkout.

    Raises
    ------
    FlexMPIError
        It is in neither place.
    """
    package = Path(flexmpi.__file__).parent
    for folder in (package, package.parent):
        if (folder / path).is_file():
            return folder / path
    raise FlexMPIError(f"{path} is not part of this installation; run the demo from a checkout")


def chosen_intensity(core_seconds: float) -> int:
    """Return how often each iteration repeats its product, so that the solver needs so many seconds of one core here."""
    product_s = computed(f"""
        import numpy, time
        A, x = numpy.ones(({ORDER}, {ORDER})), numpy.ones({ORDER})
        start = time.process_time()
        for _ in range(20):
            A @ x
        print((time.process_time() - start) / 20)
    """)
    return max(1, round(core_seconds / ITERATIONS / product_s))


def computed(program: str, *arguments: Path) -> float:
    """Run a program in a process of its own, with one thread as in a rank, and return the number it prints."""
    command = [sys.executable, "-c", textwrap.dedent(program), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout)


def show_one_job(console: Console) -> bool:
    """Grow and shrink a solver on two virtual nodes of this machine, print what it cost, and return whether all is right."""
    with tempfile.TemporaryDirectory(prefix="flexmpi-demo-") as folder:
        solution = Path(folder) / "x.npy"
        script = [
            str(shipped("examples/jacobi.py")),
            f"--dim={ORDER}",
            f"--diff-tol={TOLERANCE}",
            f"--output={solution}",
        ]
        script.append(f"--cpu-intensity={chosen_intensity(WANTED_S * STARTING_RANKS)}")
        status, records = play(script, corefile=shipped("configuration_files/corefiles/demo.core"))
        console.print(reconfiguration_table(records))
        error = solution_error(solution) if status == 0 else None
    done = [record for record in records if record["outcome"] == "done"]
    if error is None:
        late = f": it did not end within {LIMIT_S:g} s" if status == TERMINATED else ""
        console.print(f"The solver ended with status {status}{late}.", highlight=False)
    else:
        console.print(f"Largest difference from a one-process numpy solve: {error:.1e}")
    right = error is not None and error < LARGEST_ERROR and len(done) == len(COMMANDS)
    console.print(f"{len(done)} of {len(COMMANDS)} reconfigurations done. {'All is right.' if right else 'FAILED.'}")
    return right


def play(script: list[str], *, corefile: Path) -> tuple[int, list[dict[str, Any]]]:
    """Run the solver, send it the commands one after the other, and return its status and its reconfigurations."""
    reading, writing = os.pipe()
    command = [sys.executable, "-m", "flexmpi.cli", "run", "--quiet", f"-n{STARTING_RANKS}", f"--corefile={corefile}"]
    command += ["--listen=0", "--interval=0.2s", f"--json-log=/dev/fd/{writing}", *script]
    process = subprocess.Popen(command, pass_fds=[writing])
    os.close(writing)
    limit = Timer(LIMIT_S, process.terminate)
    limit.start()
    records: list[dict[str, Any]] = []
    try:
        with os.fdopen(reading) as log:
            send_when_ready(map(json.loads, log), records)
        return process.wait(), records
    finally:
        limit.cancel()
        with suppress(ProcessLookupError):
            process.terminate()
        process.wait()


def send_when_ready(events: Iterator[dict[str, Any]], records: list[dict[str, Any]]) -> None:
    """Send each command when the one before is done and some intervals have passed since."""
    waiting, address, samples = list(COMMANDS), None, 0
    for event in events:
        match event["event"]:
            case "listening":
                address = Address(event["host"], event["port"])
                click.echo(
                    f"A Jacobi solver of order {ORDER} runs on {STARTING_RANKS} ranks and takes commands at UDP {address}."
                )
            case "reconfiguration":
                records.append(event)
                samples = 0
                click.echo(f"    reconfiguration {event['id']} {event['outcome']}: {event['ranks_after']} ranks now")
            case "sample":
                samples += 1
                if samples == 3 and address is not None and waiting:
                    click.echo(f"{waiting[0]:<10}  {ask(address, waiting.pop(0))}")


def reconfiguration_table(records: list[dict[str, Any]]) -> Table:
    """Return the table of reconfigurations: times in ms, the largest of all ranks."""
    table = Table(
        title="Reconfigurations (times in ms)", caption="start: beside the running computation; stall: all it felt"
    )
    for heading in ("id", "cause"):
        table.add_column(heading, no_wrap=True)
    for heading in ("ranks", "nodes", "start", "join", "move", "balance", "stall", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    for record in records:
        if record["outcome"] != "done":
            table.add_row(str(record["id"]), record["cause"], f"failed: {record['why']}")
            continue
        table.add_row(
            str(record["id"]),
            record["cause"],
            f"{record['ranks_before']} → {record['ranks_after']}",
            f"{record['nodes_before']} → {record['nodes_after']}",
            "-" if record["start_s"] is None else f"{1e3 * record['start_s']:.0f}",
            "-" if record["start_s"] is None else f"{1e3 * record['join_s']:.1f}",
            *(f"{1e3 * record[name]:.1f}" for name in ("move_s", "balance_s", "stall_s")),
            f"{record['bytes']:,}",
        )
    return table


def solution_error(solution: Path) -> float:
    """Return the largest difference from the solution that one process finds by ``numpy.linalg.solve``."""
    return computed(
        f"""
        import numpy, runpy, sys
        A = runpy.run_path(sys.argv[1])["matrix_rows"]({ORDER}, range({ORDER}), seed=0)
        print(numpy.abs(numpy.load(sys.argv[2]) - numpy.linalg.solve(A, numpy.ones({ORDER}))).max())
        """,
        shipped("examples/plain/jacobi.py"),
        solution,
    )
