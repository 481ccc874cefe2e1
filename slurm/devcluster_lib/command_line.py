"""The command line of devcluster: options, what is printed, exit statuses (0 well, 1 failed, 2 wrong use, 3 missing)."""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from devcluster_lib import cluster, folders, packages, plans
from devcluster_lib.daemons import SLURM_VARIABLES
from devcluster_lib.plans import MAXIMUM_NODES, Plan
from devcluster_lib.waiting import DevclusterError


def main() -> int:
    """Run the command line; an error is one line on stderr, below it the end of a daemon's log where that explains it."""
    options = _parser().parse_args()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _stop)
    try:
        folder = _absolute(options.folder) if options.folder else folders.default()
        return int(options.run(folder, options))
    except DevclusterError as error:
        print(f"devcluster: error: {error}", file=sys.stderr)
        return error.status
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _up(folder: Path, options: argparse.Namespace) -> int:
    began = time.monotonic()
    plan = cluster.up(folder, nodes=options.nodes, cores=options.cores, hosts=options.hosts)
    took_s = time.monotonic() - began
    print(f"{len(plan.nodes)} nodes of {plan.cores} cores are up in {folder} ({took_s:.2f} s)")
    return 0


def _down(folder: Path, options: argparse.Namespace) -> int:
    cluster.down(folder)
    return 0


def _env(folder: Path, options: argparse.Namespace) -> int:
    plan = _existing(folder)
    for name in sorted(os.environ):
        if name.startswith(SLURM_VARIABLES) and name != "SLURM_CONF":
            print(f"unset {name};")
    print(f"export SLURM_CONF={shlex.quote(str(plan.slurm_conf))};")
    return 0


def _status(folder: Path, options: argparse.Namespace) -> int:
    packages.require(hosts=False)
    lines, well = cluster.status(_existing(folder))
    print("\n".join(lines))
    return 0 if well else 1


def _existing(folder: Path) -> Plan:
    plan = plans.load(folder)
    if plan is None:
        raise DevclusterError(f"no cluster in {folder}, expected one made by `devcluster up`")
    return plan


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="devcluster", description="A real Slurm on one machine.")
    commands = parser.add_subparsers(required=True, metavar="up | down | env | status")
    up = commands.add_parser("up", help="start the cluster, or what is dead of it")
    up.add_argument("--nodes", type=_count(MAXIMUM_NODES), help=f"number of nodes ({cluster.NODES})")
    up.add_argument("--cores", type=_count(1024), help=f"cores a node; the machine may have fewer ({cluster.CORES})")
    up.add_argument("--hosts", action="store_true", help="each node a host of its own, in namespaces (root only)")
    up.set_defaults(run=_up)
    down = commands.add_parser("down", help="end its jobs and daemons and remove its folder")
    down.set_defaults(run=_down)
    env = commands.add_parser("env", help='print shell commands: eval "$(devcluster env)" selects the cluster')
    env.set_defaults(run=_env)
    status = commands.add_parser("status", help="one line a daemon and node; exit status 0 if all is well")
    status.set_defaults(run=_status)
    for command in (up, down, env, status):
        command.add_argument("--folder", metavar="DIR", help=f"where it lives ({folders.default()})")
    return parser


def _count(maximum: int) -> Callable[[str], int]:
    def count(text: str) -> int:
        if not (text.isdecimal() and len(text) < 10) or not 1 <= int(text) <= maximum:
            raise argparse.ArgumentTypeError(f"expected a number from 1 to {maximum}, got {text!r}")
        return int(text)

    return count


def _absolute(name: str) -> Path:
    """Return the folder's own path, its parents' links resolved; the folder itself must not be a link."""
    path = Path(name).absolute()
    return path.parent.resolve() / path.name


def _stop(number: int, frame: object) -> None:
    sys.exit(128 + number)
