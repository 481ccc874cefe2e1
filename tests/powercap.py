"""A powercap tree on disk, with the files that Linux gives a RAPL zone."""

from __future__ import annotations

from pathlib import Path


class Powercap:
    """Zones below a folder, whose counters a test turns.

    Parameters
    ----------
    root
        The folder, to be made; in place of ``/sys/class/powercap``.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()

    def add(self, identifier: str, name: str, *, range_uj: int, energy_uj: int = 0) -> None:
        """Add a zone, such as ``intel-rapl:0:1``."""
        folder = self.root / identifier
        folder.mkdir()
        for file, content in (("name", name), ("max_energy_range_uj", range_uj), ("energy_uj", energy_uj)):
            (folder / file).write_text(f"{content}\n")

    def file(self, identifier: str) -> Path:
        """Return a zone's counter."""
        return self.root / identifier / "energy_uj"

    def use(self, identifier: str, joules: float) -> None:
        """Turn a zone's counter on; it begins anew behind its range."""
        range_uj = int((self.root / identifier / "max_energy_range_uj").read_text())
        turned = (int(self.file(identifier).read_text()) + round(joules * 1e6)) % (range_uj + 1)
        # At once, as the kernel's files change: whoever reads meanwhile sees the old number or the new.
        new = self.root / identifier / "energy_uj.new"
        new.write_text(f"{turned}\n")
        new.replace(self.file(identifier))
