"""What a node launcher measures on its node: the energy that its machine spends, and which hardware events it can count.

Standard library only, and no MPI.
"""

from __future__ import annotations

import asyncio
import os
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

from flexmpi.runtime.machine import this_process
from flexmpi.runtime.machine.counters import Probe, parse_probe, probe_command
from flexmpi.runtime.machine.energy import EnergyMeter, machine_identity

PROBE_LIMIT_S = 3.0
"""How long a machine may take to find out what it counts; whoever asked waits a little longer."""


class NodeMeter:
    """The measuring instruments of one node.

    Parameters
    ----------
    powercap
        Where the kernel shows its energy meters.

    Attributes
    ----------
    children
        The processes that this has started and waits for.
    """

    def __init__(self, powercap: Path) -> None:
        self._energy = EnergyMeter(powercap)
        self.children: set[int] = set()

    def introduction(self) -> dict[str, object]:
        """Return which machine this is, and which meters it has."""
        meters = {"sources": self._energy.sources, "missing": self._energy.missing}
        return {"machine": machine_identity(), "energy": meters}

    def update(self) -> None:
        """Read the energy meters, so that none wraps around unseen; every some seconds."""
        self._energy.update()

    def spent(self) -> dict[str, object]:
        """Return the seconds since the last call, the joules of each source, and why some are missing."""
        seconds, joules = self._energy.spent()
        return {"seconds": seconds, "joules": joules, "missing": self._energy.lost}

    async def probe(self, events: Sequence[str]) -> dict[str, object]:
        """Find out which events can be counted here, in a process of its own: a C library must not end a launcher."""
        try:
            return asdict(await self._probe(events))
        except TimeoutError:
            why = f"no answer within {PROBE_LIMIT_S:g} s"
        except (OSError, ValueError) as error:
            why = str(error)
        return asdict(Probe(dict.fromkeys(events, f"PAPI could not be asked: {why}")))

    async def _probe(self, events: Sequence[str]) -> Probe:
        child = await asyncio.create_subprocess_exec(
            *probe_command(events),
            stdin=DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            preexec_fn=partial(this_process.die_with, os.getpid()),
        )
        self.children.add(child.pid)
        try:
            async with asyncio.timeout(PROBE_LIMIT_S):
                printed, errors = await child.communicate()
        finally:
            if child.returncode is None:
                child.kill()
                await child.wait()
            self.children.discard(child.pid)
        if child.returncode != 0:
            last = errors.decode(errors="replace").strip().rpartition("\n")[2]
            raise ValueError(last or f"it ended with status {child.returncode}")
        try:
            return parse_probe(printed.decode())
        except (ValueError, KeyError, TypeError):
            raise ValueError(f"it answered {printed[:60]!r}") from None
