"""A Slurm that can be made to misbehave: scripts that are found on PATH before any real command."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(__file__).parents[2] / "slurm" / "data"
CONFIGURATION = "PrivateData             = none\\nSlurmUser               = root(0)\\n"
PARTITION = "PartitionName=main AllowGroups=ALL AllowAccounts=ALL MaxNodes=UNLIMITED MinNodes=0 State=UP"

# Like a site's wrapper: the command's own process waits for another one that does not end.
HANGS = 'sleep 600 &\necho "$$ $!" >> "$SHIM_PIDS"\nwait\n'


class Shims:
    """Stand-ins for Slurm's commands, which print what was recorded of a release until told otherwise.

    Parameters
    ----------
    folder
        An empty folder for them.
    release
        One of the folders of recorded output.
    """

    def __init__(self, folder: Path, release: str = "22.05") -> None:
        self.data = DATA / release
        self.folder = folder / "bin"
        self.folder.mkdir()
        self._pids = folder / "pids"
        self._pids.touch()
        self.environment = {
            "PATH": f"{self.folder}{os.pathsep}/usr/bin{os.pathsep}/bin",
            "SLURM_CONF": os.devnull,
            "SHIM_PIDS": str(self._pids),
        }
        # Asked for once by a manager, and good whatever the rest does.
        self._site = (
            f'case "$*" in --version) cat {self.data}/version; exit;; *config*) printf "{CONFIGURATION}"; exit;;'
            f" *partition*) echo {PARTITION}; exit;; *--Format=*) exit;; esac\n"
        )
        self.reading("squeue", f"cat {self.data}/squeue.json\n")
        for name in ("sinfo", "scontrol"):
            self.reading(name, f"cat {self.data}/nodes.json\n")
        self.put("sbatch", "cat > /dev/null; echo 7\n")
        self.put("scancel", "exit 0\n")

    def put(self, name: str, body: str) -> None:
        """Make a command do something else."""
        path = self.folder / name
        path.write_text("#!/bin/sh\n" + body)
        path.chmod(0o755)

    def reading(self, name: str, body: str) -> None:
        """Make a command list nodes or jobs differently."""
        self.put(name, self._site + body)

    def remove(self, name: str) -> None:
        """Take a command away, and with it all that are in other folders."""
        (self.folder / name).unlink()
        self.environment["PATH"] = str(self.folder)

    @property
    def pids(self) -> list[int]:
        """The processes of commands that hang."""
        return [int(word) for word in self._pids.read_text().split()]
