"""The cluster as a whole: bringing it up, taking it down, saying how it is.

`up` and `down` look at what is there and do what is missing, so both may be repeated, after a crash too.
"""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Collection
from pathlib import Path

from devcluster_lib import network, packages, plans
from devcluster_lib.daemons import Daemon, end_all, environment, pid_of, start
from devcluster_lib.folders import clear, locked
from devcluster_lib.plans import Plan
from devcluster_lib.waiting import DevclusterError, tail, wait_until

NODES, CORES = 6, 4
UP_LIMIT_S = 30.0
COMMAND_LIMIT_S = 15.0
CANCEL_LIMIT_S = 3.0
"""A second more than KillWait of conf/devcluster.conf, after which jobs are killed that ignore SIGTERM."""
NOT_REGISTERED = ("unknown", "down", "*")
"""What the states of nodes contain whose slurmd has not told slurmctld of itself."""


def up(folder: Path, *, nodes: int | None, cores: int | None, hosts: bool) -> Plan:
    """Bring the cluster in a folder up, or what is dead of it; ``None`` stands for what it has, or 6 nodes of 4 cores.

    Where nothing of an earlier cluster lives its remains are removed first; where some daemons live the others are started
    and jobs go on.

    Returns
    -------
    Plan
        What runs now, all of its nodes registered.

    Raises
    ------
    MissingError
        Debian packages are missing, or ``hosts`` and namespaces are not permitted.
    DevclusterError
        The folder is another's, the cluster there has another shape, or a daemon did not get ready.
    """
    packages.require(hosts=hosts)
    plans.check_folder(folder, nodes=nodes or NODES)
    with locked(folder, create=True):
        plan = plans.load(folder)
        if plan is not None and _can_be_repaired(plan):
            _check_shape(plan, nodes=nodes, cores=cores, hosts=hosts)
            _start_missing(plan)
            return plan
        _end_everything(folder, plan)
        clear(folder)
        number = network.free_network() if hosts else None
        version = packages.slurm_version()
        plan = plans.make(folder, nodes=nodes or NODES, cores=cores or CORES, network=number, slurm_version=version)
        plans.save(plan)
        try:
            if hosts:
                network.lay(plan)
            _start_missing(plan)
        except BaseException:
            # The logs stay until the next up or down.
            _end_everything(folder, plan)
            raise
        return plan


def down(folder: Path) -> None:
    """End every job and daemon of the cluster in a folder and remove the folder; nothing happens where there is none.

    Raises
    ------
    DevclusterError
        The folder is not a cluster's, this is one of its jobs, or a process could not be killed.
    """
    mine = {"SLURM_CONF": f"{folder}/slurm.conf", "SLURM_CLUSTER_NAME": "devcluster"}
    if mine.items() <= os.environ.items():
        raise DevclusterError(f"this is a job of the cluster in {folder}, expected down from outside of it")
    if not folder.exists():
        _end_everything(folder, None)
        return
    with locked(folder, create=False):
        plan = plans.load(folder)
        if plan is not None and _can_be_asked(plan):
            _cancel_jobs(plan)
        # The daemons keep nothing outside of the folder, so they need not end in order.
        _end_everything(folder, plan)
        clear(folder)
        folder.rmdir()


def status(plan: Plan) -> tuple[list[str], bool]:
    """Return one line a daemon and node, and whether all of them live and all nodes are registered."""
    # Without munged, Slurm's commands try for long before they give up.
    states = _node_states(plan) if _can_be_asked(plan) else {}
    rows = [
        ("munged", "munged", str(plan.munge_socket), ""),
        ("slurmctld", "slurmctld", f"{plan.controller_address}:{plan.controller_port}", ""),
    ]
    for node, daemon in zip(plan.nodes, _slurmd_names(plan), strict=True):
        rows.append((node.name, daemon, f"{node.address}:{node.port}", states.get(node.name, "unknown")))
    lines = []
    for name, daemon, where, state in rows:
        pid = pid_of(plan, daemon)
        life = f"pid {pid}" if pid else "dead"
        lines.append(f"{name:<10} {life:<12} {where:<22} {state}".rstrip())
    daemons = ["munged", "slurmctld", *_slurmd_names(plan)]
    return lines, all(pid_of(plan, name) for name in daemons) and _registered(plan, states)


def _can_be_repaired(plan: Plan) -> bool:
    """Tell whether something lives that is worth keeping; of networks, all of it must."""
    daemons = ("munged", "slurmctld", *_slurmd_names(plan))
    holders = network.holders(plan)
    return any(pid_of(plan, name) for name in daemons) and all(pid_of(plan, holder.name) for holder in holders)


def _check_shape(plan: Plan, *, nodes: int | None, cores: int | None, hosts: bool) -> None:
    has = (len(plan.nodes), plan.cores, plan.network is not None)
    wanted = (nodes or has[0], cores or has[1], hosts or has[2])
    if has != wanted:
        words = [f"{n} nodes of {c} cores{' with --hosts' if h else ''}" for n, c, h in (has, wanted)]
        raise DevclusterError(f"the cluster in {plan.folder} has {words[0]}, not {words[1]}: take it down first")


def _start_missing(plan: Plan) -> None:
    _start(plan, [_munged(plan)], lambda: _answers(plan.munge_socket), what=f"munged answers at {plan.munge_socket}")
    where = (plan.controller_address, plan.controller_port)
    controller = Daemon("slurmctld", ("slurmctld", "-D", "-f", str(plan.slurm_conf)))
    restarted = _start(plan, [controller], lambda: _answers(where), what=f"slurmctld answers at {where[0]}:{where[1]}")
    awaited = {node.name for node in plan.nodes if restarted or not pid_of(plan, f"slurmd.{node.name}")}
    _start(
        plan,
        [_slurmd(plan, node.name) for node in plan.nodes],
        lambda: _registered(plan, _node_states(plan), awaited),
        what=f"{', '.join(sorted(awaited))} registered with slurmctld",
        always=bool(awaited),
    )


def _start(
    plan: Plan, daemons: Collection[Daemon], ready: Callable[[], bool], *, what: str, always: bool = False
) -> bool:
    """Start those daemons that do not live, and wait until they are ready if there were any, or ``always``."""
    missing = [daemon for daemon in daemons if not pid_of(plan, daemon.name)]
    for daemon in missing:
        start(plan, daemon)

    def checked() -> bool:
        for daemon in daemons:
            if not pid_of(plan, daemon.name):
                raise DevclusterError(f"{daemon.name} ended before {what}{tail(plan.log(daemon.name))}")
        return ready()

    if missing or always:
        waited_for = missing or daemons
        wait_until(checked, what=what, limit_s=UP_LIMIT_S, logs=lambda: [plan.log(each.name) for each in waited_for])
    return bool(missing)


def _munged(plan: Plan) -> Daemon:
    folder = plan.munge_socket.parent
    # --force: a warning, not an error, that others cannot reach the socket; they are not meant to.
    options = {"key-file": "key", "socket": plan.munge_socket.name, "pid-file": "munged.pid", "seed-file": "seed"}
    files = (f"--{option}={folder / name}" for option, name in options.items())
    return Daemon("munged", ("munged", "--foreground", "--force", *files))


def _slurmd(plan: Plan, node: str) -> Daemon:
    inside = network.inside(plan, node)
    return Daemon(f"slurmd.{node}", (*inside, "slurmd", "-D", "-N", node, "-f", str(plan.slurm_conf)))


def _slurmd_names(plan: Plan) -> list[str]:
    return [f"slurmd.{node.name}" for node in plan.nodes]


def _answers(address: Path | tuple[str, int]) -> bool:
    family, name = (socket.AF_UNIX, str(address)) if isinstance(address, Path) else (socket.AF_INET, address)
    with socket.socket(family) as client:
        client.settimeout(1.0)
        return client.connect_ex(name) == 0


def _registered(plan: Plan, states: dict[str, str], names: Collection[str] | None = None) -> bool:
    wanted = [states.get(name, "unknown") for name in (names or [node.name for node in plan.nodes])]
    return not any(part in state for state in wanted for part in NOT_REGISTERED)


def _can_be_asked(plan: Plan) -> bool:
    return all(pid_of(plan, name) for name in ("munged", "slurmctld"))


def _node_states(plan: Plan) -> dict[str, str]:
    lines = _ask(plan, "sinfo", "--noheader", "--Node", "--format=%N %T")
    return {name: state for name, _, state in (line.partition(" ") for line in lines)}


def _cancel_jobs(plan: Plan) -> None:
    """Cancel all jobs, those submitted meanwhile too; what does not end is killed later."""
    cancelled: set[str] = set()

    def none_left() -> bool:
        jobs = set(_ask(plan, "squeue", "--noheader", "--format=%A"))
        if new := jobs - cancelled:
            _ask(plan, "scancel", "--quiet", *sorted(new))
            cancelled.update(new)
        return not jobs

    try:
        wait_until(none_left, what="no job is left", limit_s=CANCEL_LIMIT_S)
    except DevclusterError:
        return


def _ask(plan: Plan, *command: str) -> list[str]:
    """Run one of Slurm's commands and return the lines it printed; none where it failed or did not end in time."""
    try:
        run = subprocess.run(
            command, capture_output=True, text=True, env=environment(plan), timeout=COMMAND_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired:
        return []
    return run.stdout.splitlines()


def _end_everything(folder: Path, plan: Plan | None) -> None:
    end_all(folder)
    if plan is not None:
        network.wait_until_gone(plan)
