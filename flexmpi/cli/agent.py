"""`flexmpi agent`: the cluster agent, which gives nodes to elastic jobs and takes them back."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import click


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/flexmpi/agent.toml"),
    show_default=True,
    help="The agent's settings; configuration_files/agent.toml is a sample.",
)
@click.option("--check", is_flag=True, help="Check the settings and end.")
def agent(config: Path, check: bool) -> None:
    """Run the cluster agent until SIGTERM or Ctrl-C.

    It watches the resource manager, decides which elastic job grows or shrinks, and orders it. Start with mode "observe",
    in which it records what it would do.
    """
    # Here, because no other command needs the agent's parts, which take a while to load.
    from flexmpi import event_loop
    from flexmpi.scheduler.agent.service import serve
    from flexmpi.scheduler.agent.settings import AgentSettings

    settings = AgentSettings.read(config)
    if check:
        click.echo(f"{config}: all is well")
        return
    under_systemd = "JOURNAL_STREAM" in os.environ
    logging.basicConfig(level=logging.INFO, format="%(message)s" if under_systemd else "%(asctime)s %(message)s")
    event_loop.run(serve(settings))
