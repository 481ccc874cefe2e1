"""What a cluster needs of this machine: commands and the Debian packages they are in, and for --hosts, namespaces.

Nothing is installed here.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

from devcluster_lib.waiting import MissingError

PACKAGES = {
    "slurmctld": ("slurmctld",),
    "slurmd": ("slurmd",),
    "slurm-client": ("sbatch", "scancel", "scontrol", "sinfo", "squeue", "srun"),
    "munge": ("munged",),
}
PACKAGES_OF_HOSTS = {"iproute2": ("ip",), "util-linux": ("nsenter", "unshare")}

# All that `network` does, tried in a namespace of its own that is gone at once.
PROBE = "ip link add name br type bridge && ip link add name end1 type veth peer name end2 && mount --bind /etc/hosts /etc/hosts"


def search_path() -> str:
    """Return PATH with the sbin folder beside every bin folder: ordinary users' PATH often lacks where daemons are."""
    folders = os.environ.get("PATH", os.defpath).split(os.pathsep)
    beside = [folder.removesuffix("bin") + "sbin" for folder in folders if folder.endswith("/bin")]
    return os.pathsep.join(dict.fromkeys(folders + beside))


def require(*, hosts: bool) -> None:
    """Check that a cluster can run here.

    Raises
    ------
    MissingError
        Commands are not there, with the line that installs their Debian packages; or ``hosts``, and this user or this
        machine cannot make namespaces.
    """
    wanted = PACKAGES | (PACKAGES_OF_HOSTS if hosts else {})
    missing = [
        package
        for package, commands in wanted.items()
        if not all(shutil.which(command, path=search_path()) for command in commands)
    ]
    if missing:
        names = " ".join(missing)
        raise MissingError(f"missing Debian packages: {names}; install them with: sudo apt-get install {names}")
    if hosts:
        _require_namespaces()


def slurm_version() -> tuple[int, int]:
    """Return the release of the slurmd that is installed: (22, 5) of "slurm-wlm 22.05.8"."""
    command = [shutil.which("slurmd", path=search_path()) or "slurmd", "-V"]
    run = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    found = re.search(r" (\d+)\.(\d+)", run.stdout)
    if not found:
        raise MissingError(f"slurmd -V says {run.stdout.strip()!r}, expected a version")
    return int(found[1]), int(found[2])


def _require_namespaces() -> None:
    if os.geteuid() != 0:
        raise MissingError(f"--hosts makes network namespaces, which needs root, but this is user id {os.geteuid()}")
    command = ["unshare", "--net", "--uts", "--ipc", "--mount", "sh", "-c", PROBE]
    probe = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    if probe.returncode != 0:
        reason = " ".join(probe.stderr.split())
        raise MissingError(f"--hosts needs network, UTS, IPC and mount namespaces, not permitted here: {reason}")
