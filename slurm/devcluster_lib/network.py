"""Nodes as hosts of their own: each in its own network, UTS and mount namespace, joined by a switch. Needs root.

A process that sleeps holds each namespace. The bridge is in a namespace too, and the machine has just the end of one cable
to it; so when the holders end, for whatever reason, the kernel removes everything that was made here.
"""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

from devcluster_lib.daemons import HOLDER, Daemon, environment, holds_namespace, namespace, pid_of, start
from devcluster_lib.plans import Plan, host_address
from devcluster_lib.waiting import DevclusterError, tail, wait_until

LIMIT_S = 20.0
PREFIX_BITS = 24
SWITCH = f"{HOLDER}switch"
HOSTS = Path("/etc/hosts")


def holders(plan: Plan) -> list[Daemon]:
    """Return the processes that hold namespaces: one for the switch, one a node; none where nodes are this machine."""
    if plan.network is None:
        return []
    kept = ("sleep", "infinity")
    # With slave propagation the nodes see what is mounted on this machine later, and it sees none of theirs.
    own = ("unshare", "--net", "--uts", "--ipc", "--mount", "--propagation", "slave")
    switch = Daemon(SWITCH, ("unshare", "--net", *kept))
    return [switch, *(Daemon(HOLDER + node.name, (*own, *kept)) for node in plan.nodes)]


def inside(plan: Plan, node: str) -> tuple[str, ...]:
    """Return what to put before a command to run it on a node."""
    if plan.network is None:
        return ()
    return _enter(plan, HOLDER + node)


def free_network() -> int:
    """Return the number of a /24 network of 198.18.0.0/15 from which this machine has no address."""
    run = subprocess.run(["ip", "-json", "-4", "address"], capture_output=True, text=True, timeout=LIMIT_S, check=True)
    used = {entry["local"] for link in json.loads(run.stdout) for entry in link.get("addr_info", ())}
    free = (number for number in range(512) if host_address(number, 1) not in used and not _link_exists(number))
    try:
        return next(free)
    except StopIteration:
        raise DevclusterError("no free network for --hosts: all of 198.18.0.0/15 is in use on this machine") from None


def lay(plan: Plan) -> None:
    """Start the holders and connect their namespaces.

    Raises
    ------
    DevclusterError
        A holder died, or a command failed; the message has its words.
    """
    assert plan.network is not None
    for holder in holders(plan):
        start(plan, holder)
    for holder in holders(plan):
        _wait_for_namespace(plan, holder.name)
    _connect(plan, plan.network)
    for node in plan.nodes:
        # Hosts share no memory; an MPI library that took two nodes for one machine would try to.
        hosts = f"hostname {node.name} && mount --bind {plan.hosts_file} {HOSTS} && mount -t tmpfs tmpfs /dev/shm"
        _run(plan, (*inside(plan, node.name), "sh", "-c", hosts))


def wait_until_gone(plan: Plan) -> None:
    """Wait until the kernel has removed the machine's end of the cable; it does so some time after the holders ended."""
    number = plan.network
    if number is not None:
        what = f"the link {_link(number)} is gone"
        wait_until(lambda: not _link_exists(number), what=what, limit_s=LIMIT_S)


def _connect(plan: Plan, number: int) -> None:
    """Plug the machine and every node into a bridge in the switch's namespace; addresses as planned."""
    lines = ["link add name lan type bridge", "link set lan up"]
    cables = [("login", _link(number), os.getpid())]
    cables += [(node.name, "eth0", _pid(plan, HOLDER + node.name)) for node in plan.nodes]
    for port, far_end, pid in cables:
        lines.append(f"link add name {port} type veth peer name {far_end} netns {pid}")
        lines.append(f"link set {port} master lan up")
    _ip(plan, _enter(plan, SWITCH), lines)
    ends: list[tuple[tuple[str, ...], str, str]] = [((), _link(number), plan.controller_address)]
    ends += [(inside(plan, node.name), "eth0", node.address) for node in plan.nodes]
    for enter, link, address in ends:
        lines = [f"address add {address}/{PREFIX_BITS} dev {link}", f"link set {link} up", "link set lo up"]
        _ip(plan, enter, lines)


def _wait_for_namespace(plan: Plan, holder: str) -> None:
    def made() -> bool:
        pid = pid_of(plan, holder)
        if pid is None:
            raise DevclusterError(f"{holder} ended before it had made its namespaces{tail(plan.log(holder))}")
        return holds_namespace(pid) and namespace(pid) != namespace(os.getpid())

    wait_until(made, what=f"{holder} has made its namespaces", limit_s=LIMIT_S, logs=lambda: [plan.log(holder)])


def _enter(plan: Plan, holder: str) -> tuple[str, ...]:
    own = ("--net",) if holder == SWITCH else ("--net", "--uts", "--ipc", "--mount")
    return ("nsenter", "--target", str(_pid(plan, holder)), *own, "--")


def _pid(plan: Plan, holder: str) -> int:
    pid = pid_of(plan, holder)
    if pid is None:
        raise DevclusterError(f"{holder} is not running in {plan.folder}{tail(plan.log(holder))}")
    return pid


def _link(number: int) -> str:
    return f"devcluster{number}"


def _link_exists(number: int) -> bool:
    return Path(f"/sys/class/net/{_link(number)}").exists()


def _ip(plan: Plan, enter: tuple[str, ...], lines: list[str]) -> None:
    _run(plan, (*enter, "ip", "-batch", "-"), "\n".join(lines) + "\n")


def _run(plan: Plan, command: tuple[str, ...], text: str = "") -> None:
    run = subprocess.run(
        command, input=text, capture_output=True, text=True, timeout=LIMIT_S, check=False, env=environment(plan)
    )
    if run.returncode != 0:
        raise DevclusterError(f"{' '.join(command)}: status {run.returncode}: {' '.join(run.stderr.split())}")
