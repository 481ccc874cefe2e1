"""Puts an agent together from its settings, runs it until a signal ends it, and takes it apart in order."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress

from flexmpi.configuration import read_corefile
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.auth import Authority
from flexmpi.scheduler.agent.agent import Agent, log
from flexmpi.scheduler.agent.notify import notify
from flexmpi.scheduler.agent.server import Server
from flexmpi.scheduler.agent.settings import AgentSettings
from flexmpi.scheduler.managers import ResourceManager
from flexmpi.scheduler.managers.local import LocalManager
from flexmpi.scheduler.managers.slurm_cli import SlurmCli
from flexmpi.scheduler.managers.slurm_pyslurm import SlurmPyslurm
from flexmpi.scheduler.ordering.journal import Journal
from flexmpi.trust.contact import Card, publish
from flexmpi.trust.keys import agent_keys, local_key
from flexmpi.trust.munge import Munge


async def serve(settings: AgentSettings) -> None:
    """Run an agent until SIGTERM or SIGINT.

    Raises
    ------
    FlexMPIError
        It cannot be started, or its journal cannot be written any more; says why.
    """
    with ExitStack() as stack:
        folder = settings.agent.folder
        keys = agent_keys(folder)
        journal = stack.enter_context(Journal.open(settings.agent.journal))
        manager = open_manager(settings)
        stack.callback(manager.close)
        server = stack.enter_context(Server(settings.agent.listen, keys))
        agent = Agent(
            settings,
            manager=manager,
            journal=journal,
            server=server,
            authority=_authority(settings),
            clock=time.time,
        )
        host = settings.agent.advertised
        address = f"tcp://{f'[{host}]' if ':' in host else host}:{server.port}"

        def ready() -> None:
            publish(
                folder,
                Card(address=address, authority=settings.agent.authority, munge_socket=settings.agent.munge_socket),
            )
            log.info("listening at %s; policy %s, mode %s", address, agent.policy, agent.mode)
            notify("READY=1")

        await _until_signalled(agent, ready)
        notify("STOPPING=1")


def _say_alive() -> None:
    notify("WATCHDOG=1")


async def _until_signalled(agent: Agent, ready: Callable[[], None]) -> None:
    running = asyncio.create_task(agent.run(ready=ready, alive=_say_alive))
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, running.cancel)
    with suppress(asyncio.CancelledError):
        await running


def open_manager(settings: AgentSettings) -> ResourceManager:
    """Return the resource manager that the settings name.

    Raises
    ------
    ConfigurationError
        Its corefile is not what it should be.
    """
    match settings.manager.kind:
        case "slurm":
            return SlurmCli(limit_s=settings.manager.limit_s)
        case "pyslurm":
            return SlurmPyslurm(limit_s=settings.manager.limit_s)
        case "local":
            if settings.manager.corefile is None:
                raise ConfigurationError("the local manager needs a corefile")
            return LocalManager(read_corefile(settings.manager.corefile))


def _authority(settings: AgentSettings) -> Authority:
    if settings.agent.authority == "munge":
        return Munge(socket=settings.agent.munge_socket)
    return local_key(settings.agent.folder, make=True)
