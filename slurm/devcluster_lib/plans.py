"""What a cluster consists of: its folder, nodes, addresses and ports; kept in the folder as devcluster.json.

Plain data and its files. No process is started here.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pwd
import random
import re
import socket
from pathlib import Path
from string import Template
from typing import Any

from devcluster_lib.waiting import DevclusterError

CONFIGURATION = Path(__file__).resolve().parent.parent / "conf"
NAME = "devcluster.json"
MAXIMUM_NODES = 64
MAXIMUM_SOCKET_PATH_BYTES = 107
"""Of a Unix socket (sun_path of unix(7), less its final zero)."""
PORTS = range(10_000, 32_000)
"""Below the ports that Linux gives to outgoing connections (net.ipv4.ip_local_port_range)."""
NODE_PORT_OF_HOSTS = 6818
CAN_DISABLE_CGROUPS = (23, 11)
"""The first Slurm that takes this plugin's name; earlier ones end at it, later ones end without it where no cgroups are."""
LOOPBACK = "127.0.0.1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Node:
    """One node: its name, and where its slurmd listens."""

    name: str
    address: str
    port: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """One cluster.

    ``network`` is the third and second byte of its addresses, 198.18.0.0/24 being 0, where nodes are hosts of their own,
    else ``None``: then all of them are this machine, on ports of their own.
    """

    folder: Path
    cores: int
    controller_port: int
    network: int | None
    slurm_version: tuple[int, int]
    nodes: tuple[Node, ...]

    @property
    def controller_address(self) -> str:
        """Where slurmctld listens."""
        return LOOPBACK if self.network is None else host_address(self.network, 1)

    @property
    def slurm_conf(self) -> Path:
        """The file that SLURM_CONF names."""
        return self.folder / "slurm.conf"

    @property
    def cgroup_plugin(self) -> str:
        """What keeps slurmd off the machine's cgroups."""
        return "disabled" if self.slurm_version >= CAN_DISABLE_CGROUPS else "cgroup/v1"

    @property
    def munge_socket(self) -> Path:
        """Where munged listens."""
        return self.folder / "munge" / "munge.sock"

    @property
    def hosts_file(self) -> Path:
        """What nodes that are hosts of their own see as /etc/hosts."""
        return self.folder / "hosts"

    def log(self, daemon: str) -> Path:
        """Where a daemon's standard output and errors go; Slurm's daemons repeat them in a .log beside it."""
        return self.folder / "log" / f"{daemon}.err"


def make(folder: Path, *, nodes: int, cores: int, network: int | None, slurm_version: tuple[int, int]) -> Plan:
    """Plan a cluster; without a ``network``, on ports that are free now."""
    if network is None:
        first = _free_ports(nodes + 1)
        where = [(LOOPBACK, first + 1 + index) for index in range(nodes)]
    else:
        first = _free_ports(1)
        where = [(host_address(network, 10 + index), NODE_PORT_OF_HOSTS) for index in range(nodes)]
    return Plan(
        folder=folder,
        cores=cores,
        controller_port=first,
        network=network,
        slurm_version=slurm_version,
        nodes=tuple(Node(name=f"node{i}", address=address, port=port) for i, (address, port) in enumerate(where)),
    )


def host_address(network: int, host: int) -> str:
    """Return an address of 198.18.0.0/15, which no real network uses (RFC 2544)."""
    return f"198.{18 + network // 256}.{network % 256}.{host}"


def check_folder(folder: Path, *, nodes: int) -> None:
    """Check that Slurm can work with this folder's name.

    Raises
    ------
    DevclusterError
        It has characters with a meaning in slurm.conf, or it is too long for the Unix sockets in it.
    """
    if not re.fullmatch(r"/[\w./+@~-]+", str(folder), re.ASCII):
        raise DevclusterError(f"folder {folder}: expected only letters, digits and ./_+@~- in its path, for slurm.conf")
    node = f"node{nodes - 1}"
    longest = f"{folder}/spool/{node}/{node}_4294967295.4294967295"
    excess = len(os.fsencode(longest)) - MAXIMUM_SOCKET_PATH_BYTES
    if excess > 0:
        raise DevclusterError(f"folder {folder}: its path is {excess} bytes too long for Slurm's Unix sockets")


def save(plan: Plan) -> None:
    """Write everything that the daemons read; ``devcluster.json`` first, which marks the folder as ours."""
    plain = dataclasses.asdict(plan) | {"folder": str(plan.folder)}
    (plan.folder / NAME).write_text(json.dumps(plain, indent=1) + "\n")
    for name in ("munge", "state", "spool", "run", "log"):
        (plan.folder / name).mkdir(mode=0o700)
    key = plan.folder / "munge" / "key"
    key.touch(mode=0o600)
    key.write_bytes(os.urandom(1024))
    plan.slurm_conf.write_text(_slurm_conf(plan))
    (plan.folder / "cgroup.conf").write_text(_filled("cgroup.conf", cgroup_plugin=plan.cgroup_plugin))
    if plan.network is not None:
        plan.hosts_file.write_text(_hosts(plan))


def load(folder: Path) -> Plan | None:
    """Read the plan of the cluster in a folder; none where there is no cluster or its plan was not written to the end."""
    try:
        plain: dict[str, Any] = json.loads((folder / NAME).read_text())
        nodes = tuple(Node(**node) for node in plain["nodes"])
        version = (int(plain["slurm_version"][0]), int(plain["slurm_version"][1]))
        return Plan(**plain | {"folder": Path(plain["folder"]), "nodes": nodes, "slurm_version": version})
    except (FileNotFoundError, NotADirectoryError, ValueError, TypeError, LookupError):
        return None


def user_name() -> str:
    """Return who runs this, by name where there is one."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _slurm_conf(plan: Plan) -> str:
    lines = [
        f"NodeName={node.name} NodeHostname={'localhost' if plan.network is None else node.name} "
        f"NodeAddr={node.address} Port={node.port} CPUs={plan.cores} RealMemory=1000 State=UNKNOWN"
        for node in plan.nodes
    ]
    filled = _filled(
        "devcluster.conf",
        controller_address=plan.controller_address,
        controller_port=plan.controller_port,
        folder=plan.folder,
        nodes="\n".join(lines),
        user=user_name(),
    )
    return filled + "\n" + (CONFIGURATION / "partition.conf").read_text()


def _filled(name: str, **values: object) -> str:
    return Template((CONFIGURATION / name).read_text()).substitute(values)


def _hosts(plan: Plan) -> str:
    """Return the names that a node knows: itself, its fellows, and the machine the cluster runs on."""
    lines = [f"{LOOPBACK} localhost", f"{plan.controller_address} {socket.gethostname()}"]
    return "\n".join([*lines, *(f"{node.address} {node.name}" for node in plan.nodes)]) + "\n"


def _free_ports(count: int) -> int:
    """Return the first of ``count`` successive ports on which nothing listens."""
    starts = range(PORTS.start, PORTS.stop - count, count)
    for start in random.sample(starts, k=100):
        if all(_is_free(port) for port in range(start, start + count)):
            return start
    raise DevclusterError(f"no {count} successive free ports in {PORTS.start}..{PORTS.stop} after 100 tries")


def _is_free(port: int) -> bool:
    with socket.socket() as listener:
        try:
            listener.bind(("", port))
        except OSError:
            return False
    return True
