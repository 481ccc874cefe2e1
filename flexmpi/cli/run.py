"""`flexmpi run`: start an application as an elastic job and look after it until it ends."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import click

from flexmpi import event_loop
from flexmpi.cli.policy_options import policy_from, watts_from
from flexmpi.cli.scripts import program_of
from flexmpi.configuration import read_rankfile, read_schedule
from flexmpi.errors import AuthenticationError, ConfigurationError
from flexmpi.numerals import whole_number
from flexmpi.protocol.address import Address
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.job.options import JobOptions, Limits
from flexmpi.runtime.job.placement import initial_placement
from flexmpi.runtime.machine.senders import kernel_tells
from flexmpi.runtime.providers.surroundings import Surroundings, find_surroundings
from flexmpi.runtime.reporting.eventlog import EventLog
from flexmpi.runtime.reporting.monitoring import parse_counters
from flexmpi.runtime.supervisor.agent_line import AgentLine
from flexmpi.runtime.supervisor.supervisor import Supervisor
from flexmpi.trust.agent_folder import wanted_agent
from flexmpi.trust.command_key import command_key

FILE = click.Path(path_type=Path)
POSITIVE = click.IntRange(min=1)
SECONDS = click.FloatRange(min=0, min_open=True)


def node_range(text: str) -> tuple[int, int | None]:
    """Read ``MIN`` or ``MIN-MAX`` nodes.

    Raises
    ------
    ConfigurationError
        It is not such a range.
    """
    low, dash, high = text.partition("-")
    minimum, maximum = whole_number(low), whole_number(high) if dash else None
    if minimum is None or (dash and maximum is None):
        raise ConfigurationError(f"--nodes must be MIN or MIN-MAX, got {text!r}")
    if minimum < 1 or (maximum is not None and maximum < minimum):
        raise ConfigurationError(f"--nodes must be MIN-MAX with 1 <= MIN <= MAX, got {text!r}")
    return minimum, maximum


def token_from(path: Path | None) -> str | None:
    """Read the token that commands must begin with.

    Raises
    ------
    ConfigurationError
        The file cannot be read, is readable by others, or holds no usable token.
    """
    if path is None:
        return None
    try:
        if path.stat().st_mode & 0o077:
            raise ConfigurationError("others can read this token file; expected mode 0600", file=str(path))
        token = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read the token: {error}", file=str(path)) from None
    if not token or "@" in token or ":" in token or len(token.split()) != 1:
        raise ConfigurationError("a token is one word without '@' and ':'", file=str(path))
    return token


def key_for(listen: Address, *, open_to_all: bool) -> bytes | None:
    """Return the user's key for commands, made where the kernel cannot tell whose they are; without it the job runs on."""
    try:
        return command_key(make=not open_to_all and not (listen.is_loopback and kernel_tells()))
    except AuthenticationError as error:
        click.echo(f"flexmpi: warning: no signed commands are taken: {error}", err=True)
        return None


@click.command(context_settings={"allow_interspersed_args": False})
@click.option("-n", "--processes", type=POSITIVE, help="Ranks to start with.  [default: 1 on each starting node]")
@click.option(
    "--nodes", default="1", metavar="MIN[-MAX]", help="Nodes the job may have; it starts on MIN.  [default: 1 to all]"
)
@click.option(
    "--processes-per-node", type=POSITIVE, metavar="K", help="Ranks on each node.  [default: up to its cores]"
)
@click.option("--corefile", type=FILE, help="The nodes: HOST:CORES:ALIAS:COST:SPEED a line.  [default: this machine]")
@click.option("--nodefile", type=FILE, help="The nodes to use of them: HOST:CORES a line.")
@click.option("--rankfile", type=FILE, help="Ranks to start on each node: HOST:N a line.")
@click.option("--listen", metavar="[ADDR:]PORT", help="Take text commands at this UDP port (0: any; ADDR: 127.0.0.1).")
@click.option("--listen-open", is_flag=True, help="Take them from anybody, not from your own user and root only.")
@click.option("--token-file", type=FILE, help="Take only commands that begin with this file's word and an '@'.")
@click.option("--report", metavar="[HOST:]PORT", help="Send monitoring lines to this UDP port.")
@click.option("--report-units", type=click.Choice(["us", "s"]), default="us", show_default=True, help="Of their times.")
@click.option(
    "--io-controller", is_flag=True, help="Begin I/O phases (flex.io) only when --report's controller grants them."
)
@click.option("--counters", metavar="EVENT[,EVENT]", help="Count these hardware events by PAPI, as PAPI_TOT_INS.")
@click.option("--schedule", type=FILE, help="Changes of ranks at iterations: ITERATION:±N:ALIAS a line.")
@click.option(
    "--policy",
    metavar="NAME[:OBJECTIVE[:THRESHOLD]]",
    help="What the job does by itself, as command 1.  [default: triggered]",
)
@click.option(
    "--dry-run",
    "policy_dry_run",
    is_flag=True,
    help="Say what a policy that predicts would do, and do not do it; the job runs.",
)
@click.option(
    "--node-watts",
    multiple=True,
    metavar="[ALIAS:]IDLE:CORE",
    help="Power of a node that has no energy meter: idle, and for each busy core.",
)
@click.option("--id", "identifier", type=click.IntRange(min=0), default=0, help="The application's number.")
@click.option(
    "--warm", is_flag=True, help="Keep a process on each node that has imported all, and fork later ranks from it."
)
@click.option(
    "--change",
    type=click.Choice(["join", "handover"]),
    default="join",
    show_default=True,
    help="How ranks change: new ones join the others, or all hand over to a new world.",
)
@click.option(
    "--blocks",
    type=click.Choice(["node", "private"]),
    help="Where rows lie with --change=handover: in memory files of their node, which a change on it does not move, or in "
    "the private memory of ranks, copied at each change.  [default: node]",
)
@click.option(
    "--interval", metavar="N|SECONDSs", help="Agreement points: every N iterations, or so many seconds (0.5s)."
)
@click.option(
    "--ready-timeout", type=SECONDS, default=60, show_default=True, help="Seconds new ranks may take to be ready."
)
@click.option(
    "--stall-timeout", type=SECONDS, default=30, show_default=True, help="Seconds a reconfiguration may hang."
)
@click.option(
    "--provider",
    type=click.Choice(["auto", "local", "slurm"]),
    default="auto",
    show_default=True,
    help="Where nodes come from; auto: from the job this runs in, unless a corefile or nodefile names them.",
)
@click.option("--grant-timeout", type=SECONDS, default=60, show_default=True, help="Seconds Slurm may take for a node.")
@click.option("--grant-retries", type=click.IntRange(min=0), default=0, show_default=True, help="Ask again so often.")
@click.option(
    "--agent",
    metavar="FOLDER|none",
    help="The folder that tells of the cluster agent.  [default: FLEXMPI_AGENT; else, in a job, /etc/flexmpi if one is there]",
)
@click.option("--json-log", type=FILE, metavar="FILE", help="Write events there, a JSON object a line.")
@click.option("-q", "--quiet", is_flag=True, help="Print the application's own output only.")
@click.option("-v", "--verbose", is_flag=True, help="Print also what a new world prints before it computes.")
@click.option("-m", "is_module", is_flag=True, help="SCRIPT is a module, PACKAGE.MODULE, as for python -m.")
@click.argument("script")
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def run(script: str, arguments: tuple[str, ...], **options: Any) -> None:
    """Run the mpi4py program SCRIPT as an elastic job.

    Ranks come and go by text commands (see --listen), for example: flexmpi send localhost:6666 6:lhost:2
    """
    job = job_options(script, arguments, options)
    with EventLog(options["json_log"]) as log:
        status = event_loop.run(Supervisor(job, log, line_to_agent=line_to_agent).run())
    sys.exit(status)


def line_to_agent(job: Supervisor, folder: Path, listening: Address | None) -> AgentLine:
    """Make a job's line to the agent that a folder tells of.

    Raises
    ------
    MessageError
        The job cannot have an agent.
    """
    # They load ZeroMQ and pydantic, which a job without an agent does not need.
    from flexmpi.runtime.agent.link import AgentLink
    from flexmpi.runtime.agent.registration import facts_of

    return AgentLink(job, folder, facts_of(job.options, listening=listening))


def job_options(script: str, arguments: tuple[str, ...], options: dict[str, Any]) -> JobOptions:
    """Check what the user asked for.

    Raises
    ------
    ConfigurationError
        Something of it is not possible.
    """
    program = program_of(script, is_module=options["is_module"])
    if options["interval"] is not None:
        Interval.parse(options["interval"])
    around = find_surroundings(
        options["provider"], corefile=options["corefile"], nodefile=options["nodefile"], environment=os.environ
    )
    nodes = around.nodes
    if options["blocks"] is not None and options["change"] != "handover":
        raise ConfigurationError("--blocks needs --change=handover; ranks that join have private blocks")
    if options["change"] == "handover" and around.allocation is not None:
        raise ConfigurationError(
            "--change=handover works on the virtual nodes of one machine so far, not in a job of Slurm"
        )
    minimum, maximum = node_range(options["nodes"])
    placement = _starting_placement(around, options, minimum=minimum, maximum=maximum)
    report = None if options["report"] is None else Address.parse(options["report"], option="--report")
    if options["io_controller"] and report is None:
        raise ConfigurationError("--io-controller needs --report, where the controller is asked")
    listen = _listening_place(options)
    limits = Limits(
        minimum_nodes=minimum,
        maximum_nodes=len(nodes) if maximum is None else maximum,
        ready_timeout_s=options["ready_timeout"],
        stall_timeout_s=options["stall_timeout"],
    )
    return JobOptions(
        command=(*program, *arguments),
        nodes=nodes,
        placement=placement,
        limits=limits,
        interval=options["interval"],
        listen=listen,
        listen_open=options["listen_open"],
        token=token_from(options["token_file"]),
        key=None if listen is None else key_for(listen, open_to_all=options["listen_open"]),
        identifier=options["identifier"],
        quiet=options["quiet"],
        verbose=options["verbose"],
        allocation=around.allocation,
        grant_timeout_s=options["grant_timeout"],
        grant_retries=options["grant_retries"],
        schedule=() if options["schedule"] is None else read_schedule(options["schedule"], nodes),
        report=report,
        report_in_seconds=options["report_units"] == "s",
        io_controlled=options["io_controller"],
        counters=parse_counters(options["counters"]),
        own_nodes=around.granted,
        identity=around.identity,
        agent=wanted_agent(options["agent"], os.environ, in_a_job=around.identity.job_id is not None),
        processes_per_node=options["processes_per_node"] or next(iter(placement.values())),
        policy=policy_from(options["policy"], has_schedule=options["schedule"] is not None),
        policy_dry_run=options["policy_dry_run"],
        watts=watts_from(options["node_watts"], nodes),
        change=options["change"],
        blocks=options["blocks"] or "node",
        warm=options["warm"],
    )


def _listening_place(options: dict[str, Any]) -> Address | None:
    """Return where commands are taken, if anywhere."""
    if options["listen_open"] and options["listen"] is None:
        raise ConfigurationError("--listen-open needs --listen, which says the port")
    if options["listen_open"] and options["token_file"] is not None:
        raise ConfigurationError("--listen-open takes commands from anybody, --token-file does not: give one of them")
    return None if options["listen"] is None else Address.parse(options["listen"], option="--listen")


def _starting_placement(
    around: Surroundings, options: dict[str, Any], *, minimum: int, maximum: int | None
) -> dict[str, int]:
    """Return the ranks to start with on each node."""
    try:
        return initial_placement(
            around.starting,
            processes=options["processes"] or (None if around.allocation is None else around.allocation.tasks),
            minimum_nodes=around.own or minimum,
            maximum_nodes=maximum,
            processes_per_node=options["processes_per_node"],
            rankfile=None if options["rankfile"] is None else read_rankfile(options["rankfile"], around.starting),
            file=f"rankfile {options['rankfile']}",
        )
    except ConfigurationError as error:
        if around.own is None and options["corefile"] is None and options["nodefile"] is None:
            raise ConfigurationError(
                f"{error} (a --corefile describes more nodes or cores than this machine)"
            ) from None
        raise
