"""The energy that a machine spends, by RAPL's meters as Linux shows them below ``/sys/class/powercap``.

Read by node launchers, once for a node: the meters count all that a machine does, whoever does it. What cannot be read is
missing (None), never 0. PAPI's powercap component reads the same files, and adds nothing.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
CONTROL = "intel-rapl"
"""AMD's processors have their meters under this name too; ``intel-rapl-mmio`` shows the same packages a second time."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


def used_uj(before: int, after: int, *, range_uj: int | None) -> int | None:
    """Return what a meter has counted between two readings, which begins anew at 0 behind ``range_uj``.

    Parameters
    ----------
    before, after
        Two readings in microjoules, less than a whole range apart.
    range_uj
        The highest reading there is; None where that is not known.

    Returns
    -------
    int or None
        Microjoules; None where the readings do not tell.
    """
    if range_uj is None:
        return after - before if after >= before else None
    if max(before, after) > range_uj:
        return None
    return (after - before) % (range_uj + 1)


@dataclass
class _Zone:
    """One meter: what it showed last, and what it has counted in this period; None where it could not be read, and why."""

    folder: Path
    range_uj: int | None
    last_uj: int | None = None
    period_uj: int | None = 0
    problem: str | None = None

    def update(self) -> None:
        now_uj, problem = _read_number(self.folder / "energy_uj")
        spent_uj = None
        if now_uj is not None and self.last_uj is not None:
            spent_uj = used_uj(self.last_uj, now_uj, range_uj=self.range_uj)
            if spent_uj is None:
                problem = self._contradiction
        self.period_uj = None if self.period_uj is None or spent_uj is None else self.period_uj + spent_uj
        self.problem = problem or self.problem
        self.last_uj = now_uj

    @property
    def _contradiction(self) -> str:
        """Why two readings do not tell what was counted between them."""
        if self.range_uj is None:
            return "energy_uj went back, and how far it counts is not known (max_energy_range_uj)"
        return f"energy_uj is above its range of {self.range_uj} (max_energy_range_uj)"

    def begin_period(self) -> None:
        self.period_uj = 0 if self.last_uj is not None else None
        self.problem = None


class EnergyMeter:
    """The meters of this machine.

    Parameters
    ----------
    root
        Where the kernel shows them.
    clock
        Seconds that only grow.

    Attributes
    ----------
    missing
        Why there is no meter at all, or which cannot be read and why, by their folders.
    lost
        Why, for each source whose joules are missing in the period that ended last.
    """

    def __init__(self, root: Path = POWERCAP, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._zones = _find_zones(root)
        for zone in self._zones.values():
            zone.last_uj, zone.problem = _read_number(zone.folder / "energy_uj")
        self._since = clock()
        self.missing = {str(zone.folder): zone.problem for zone in self._zones.values() if zone.problem is not None}
        for zone in self._zones.values():
            zone.begin_period()
        if not self._zones:
            self.missing = {str(root): _why_empty(root)}
        self.lost: dict[str, str] = {}

    @property
    def sources(self) -> list[str]:
        """The meters that could be read last time."""
        return [source for source, zone in self._zones.items() if zone.last_uj is not None]

    def update(self) -> None:
        """Read all meters; to be called more often than one of them can wrap around twice."""
        for zone in self._zones.values():
            zone.update()

    def spent(self) -> tuple[float, dict[str, float | None]]:
        """End a period and begin the next.

        Returns
        -------
        seconds
            Since the last call, or since this meter was made.
        joules
            Spent in that time, by source; None where a meter could not be read all the time.
        """
        self.update()
        now = self._clock()
        seconds, self._since = now - self._since, now
        joules = {
            source: None if zone.period_uj is None else zone.period_uj / 1e6 for source, zone in self._zones.items()
        }
        self.lost = {
            source: zone.problem
            for source, zone in self._zones.items()
            if zone.period_uj is None and zone.problem is not None
        }
        for zone in self._zones.values():
            zone.begin_period()
        return seconds, joules


def machine_identity(boot_id: Path = BOOT_ID) -> str | None:
    """Return what all nodes that are really one machine have in common; None where that is not known."""
    try:
        return boot_id.read_text().strip() or None
    except OSError:
        return None


def _why_empty(root: Path) -> str:
    try:
        os.listdir(root)
    except OSError as error:
        return str(error.strerror)
    return f"no {CONTROL} zone there"


def _find_zones(root: Path) -> dict[str, _Zone]:
    """Find the meters and give each a name of its own, that of the package it belongs to first."""
    folders = {folder.name: folder for folder in sorted(root.glob(f"{CONTROL}:*"))}
    zones: dict[str, _Zone] = {}
    for identifier, folder in folders.items():
        names = []
        while identifier in folders:
            names.append(_read_text(folders[identifier] / "name") or identifier)
            identifier = identifier.rpartition(":")[0]
        source = "rapl:" + "/".join(reversed(names))
        if source in zones:
            source = f"{source} ({folder.name})"
        range_uj, _ = _read_number(folder / "max_energy_range_uj")
        zones[source] = _Zone(folder, range_uj or None)
    return zones


def _read_text(path: Path) -> str | None:
    try:
        return path.read_text().strip() or None
    except (OSError, UnicodeDecodeError):
        return None


def _read_number(path: Path) -> tuple[int | None, str | None]:
    """Return a file's number, >= 0, or why there is none."""
    try:
        text = path.read_text().strip()
    except OSError as error:
        return None, f"{path.name}: {error.strerror}"
    except UnicodeDecodeError:
        return None, f"{path.name} holds no number"
    return (int(text), None) if text.isdecimal() and text.isascii() else (None, f"{path.name} holds no number")
