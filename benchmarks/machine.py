"""What the figures were measured on: processor, memory, kernel, MPI, and how busy the machine was meanwhile."""

from __future__ import annotations

import os
import platform
import subprocess
import sys
import time
from importlib.metadata import version
from pathlib import Path

import flexmpi

HUGE_PAGES = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def describe() -> dict[str, str]:
    """Describe this machine and the software on it; nothing that names the machine itself."""
    return {
        "processor": f"{_processor()}, {len(os.sched_getaffinity(0))} cores{', virtual machine' if _virtual() else ''}",
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB, huge pages: {_huge_pages()}",
        "kernel": f"{platform.system()} {platform.release().split('-')[0]}",
        "MPI": mpi_library(),
        "Python": f"{platform.python_version()}, numpy {version('numpy')}, mpi4py {version('mpi4py')}",
        "FlexMPI": flexmpi.__version__,
        "date": time.strftime("%Y-%m-%d", time.gmtime()),
    }


class Load:
    """Reads the machine's load average, for figures measured beside others' work are not what they seem."""

    def __init__(self) -> None:
        self._before = os.getloadavg()[0]

    def described(self) -> str:
        """Say what it was at the start and is now."""
        return f"{self._before:.1f} before, {os.getloadavg()[0]:.1f} after (one minute's mean; the benchmark itself counts)"


def busy_s() -> float:
    """Return the processor seconds that all cores have been busy with since the machine started."""
    fields = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
    user, nice, system, _, _, interrupts, soft, stolen = map(int, fields[:8])
    return (user + nice + system + interrupts + soft + stolen) / os.sysconf("SC_CLK_TCK")


def mpi_library(python: Path = Path(sys.executable)) -> str:
    """Return the name and version of an environment's MPI library.

    Found out in another process, for this one must not become an MPI one.

    Raises
    ------
    OSError, subprocess.SubprocessError
        There is no such interpreter, or no MPI library in its environment.
    """
    program = "import mpi4py; mpi4py.rc.initialize = False; from mpi4py import MPI; print(MPI.Get_library_version())"
    command = [str(python), "-c", program]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True).stdout
    return " ".join(said.split("\n")[0].split(",")[0].replace("\t", " ").replace("Version:", "").split())


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _virtual() -> bool:
    return any(
        line.startswith("flags") and " hypervisor" in line for line in Path("/proc/cpuinfo").read_text().splitlines()
    )


def _huge_pages() -> str:
    try:
        return HUGE_PAGES.read_text().partition("[")[2].partition("]")[0]
    except OSError:
        return "none"
