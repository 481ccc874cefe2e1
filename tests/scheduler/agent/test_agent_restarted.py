"""An agent that is killed and started again: what it remembers, and what becomes of what it left open."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flexmpi.errors import ConfigurationError
from flexmpi.protocol.messages import Registered, Rejected, Resize
from flexmpi.protocol.requests import (
    Expand,
    SetPolicy,
)
from flexmpi.scheduler.ordering.journal import Journal
from tests.scheduler.agent_world import NODES, World, a_world, play
from tests.scheduler.faithful_job import FaithfulJob
from tests.scheduler.scripted_job import LIMIT_S


def test_mode_and_policy_are_remembered_by_the_next_agent(tmp_path: Path) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            person = world.person()
            await person.ask(SetPolicy, name="fair")
            await person.reply()
            refused = await person.ask(SetPolicy, name="greedy")
            assert isinstance(refused, Rejected) and "triggered, fill, fair" in refused.why
            await world.kill()
            assert (await world.start()).policy == "fair"

    play(test)


@pytest.mark.parametrize(
    ("setting", "value", "refusal"),
    [
        ("mode", "sleep", "unknown mode 'sleep' (there are observe, on, off, drain)"),
        ("mode", "ON", "unknown mode 'ON' (there are observe, on, off, drain)"),
        ("policy", "greedy", "unknown policy 'greedy' (there are triggered, fill, fair"),
        ("power_cap_w", "much", "unknown power cap 'much' in the journal (expected watts, or none)"),
        ("power_cap_w", "nan", "unknown power cap 'nan' in the journal (expected watts, or none)"),
    ],
)
def test_what_the_journal_remembers_and_nobody_knows_is_refused(
    tmp_path: Path, setting: str, value: str, refusal: str
) -> None:
    async def test() -> None:
        world = World(tmp_path)
        with Journal.open(tmp_path / "journal.sqlite") as journal:
            journal.set_setting(setting, value)
        with pytest.raises(ConfigurationError, match=re.escape(refusal)):
            await world.start()
        world.server.__exit__(None, None, None)
        world.journal.close()

    play(test)


@pytest.mark.parametrize("stage", ["decided", "taken", "carried out"])
def test_an_agent_killed_in_the_middle_of_an_order_grants_no_node_twice_and_loses_none(
    tmp_path: Path, stage: str
) -> None:
    async def test() -> None:
        async with a_world(tmp_path) as world:
            elastic, person = world.job(world.submit()), world.person()
            await elastic.joined()
            await person.ask(Expand, job="1", nodes=("node3",))
            command = await elastic.heard(Resize)
            if stage != "decided":
                await elastic.taken(command)
                await world.until(
                    lambda: [order.stage.value for order in world.agent.ledger.orders.values()] == ["taken"],
                    what="the order is taken",
                )
            await world.kill()
            if stage == "carried out":
                elastic.nodes.append("node3")
            await world.start()
            (order,) = world.agent.ledger.orders.values()
            assert order.inherited and order.joining == ("node3",)
            assert "node3" not in world.agent.view().free
            again = world.job(1, nodes=elastic.nodes)
            again.epoch, again.unfinished = elastic.epoch, (command.id,) if stage == "taken" else ()
            registered = await again.joined()
            assert isinstance(registered, Registered) and registered.epoch > command.epoch
            if stage == "taken":
                await again.carry_out(command)
            else:
                resent = await again.heard(Resize)
                assert (resent.id, resent.epoch) == (command.id, command.epoch)
                # A real job answers so by its memory of commands and its fence.
                if stage == "carried out":
                    await again.carry_out(Resize(id=command.id, epoch=command.epoch, cause="", leave=("node9",)))
                else:
                    await again.give_up(command, "the epoch is an older one")
            await world.until(lambda: not world.agent.ledger.orders, what="the order is over")
            (entry,) = world.journal.history()
            assert entry.outcome == ("failed" if stage == "decided" else "done")

    play(test)


class Killed(Exception):
    """The agent is dead."""


class Death:
    """Ends an agent with one of the effects it has on the world: right before it, or right after.

    From then on it has none any more, as after kill -9.
    """

    def __init__(self, world: World, effect: str, *, when: str) -> None:
        self._world, self._when = world, when
        self.has_come = asyncio.Event()
        effects: dict[str, tuple[object, str]] = {
            "record": (world.journal, "record"),
            "lend": (world.manager, "lend"),
            "send": (world.server, "send"),
            "close": (world.journal, "close_entry"),
            "take back": (world.manager, "take_back"),
        }
        for name, (owner, method) in effects.items():
            setattr(owner, method, self._deadly(getattr(owner, method), is_it=name == effect))

    def _deadly(self, real: Callable[..., object], *, is_it: bool) -> Callable[..., object]:
        def method(*arguments: Any, **options: Any) -> object:
            if self.has_come.is_set():
                raise Killed
            # Of messages those that order something count.
            if not is_it or (real.__name__ == "send" and not isinstance(arguments[1], Resize)):
                return real(*arguments, **options)
            if self._when == "after":
                real(*arguments, **options)
            self.has_come.set()
            assert self._world._running is not None
            self._world._running.cancel()
            raise Killed

        return method

    async def and_resurrection(self, **start: Any) -> None:
        """Wait until it has come, and start another agent."""
        await asyncio.wait_for(self.has_come.wait(), LIMIT_S)
        await self._world.kill()
        for method in ("lend", "take_back"):
            delattr(self._world.manager, method)
        await self._world.start(**start)


GROWTH = [(effect, "grows", when) for effect in ("record", "lend", "send", "close") for when in ("before", "after")]
SHRINK = [
    (effect, "shrinks", when) for effect in ("record", "send", "close", "take back") for when in ("before", "after")
]


@pytest.mark.parametrize(("effect", "step", "when"), GROWTH + SHRINK)
def test_an_agent_killed_at_each_step_of_an_action_grants_no_node_twice_and_loses_none(
    tmp_path: Path, effect: str, step: str, when: str
) -> None:
    async def test() -> None:
        async with a_world(tmp_path, policy="fill") as world:
            floor = world.submit()
            job = FaithfulJob(tmp_path, job_id=floor, nodes=nodes_of(world, floor), maximum_nodes=len(NODES))
            world.adopt(job)

            def settled(size: int) -> bool:
                assert set(job.nodes) <= set(nodes_of(world, floor)), "the job has a node that is not its own"
                is_over = not world.agent.ledger.orders and world.journal.open_entries() == ()
                return is_over and len(job.nodes) == len(nodes_of(world, floor)) == size

            if step == "grows":
                death = Death(world, effect, when=when)
                job.follow()
                await death.and_resurrection(policy="fill")
            job.follow()
            await world.until(lambda: settled(len(NODES)), what="the job has all nodes")
            if step == "shrinks":
                death = Death(world, effect, when=when)
            rigid = world.submit(nodes=3)
            if step == "shrinks":
                await death.and_resurrection(policy="fill")
                job.follow()
            await world.until(lambda: len(nodes_of(world, rigid)) == 3, what="the rigid job has its nodes")
            await world.until(lambda: settled(len(NODES) - 3), what="the job has the others")
            world.manager.cancel(rigid)
            await world.until(lambda: settled(len(NODES)), what="the job has all nodes again")

    play(test)


def nodes_of(world: World, job_id: int) -> tuple[str, ...]:
    return world.manager.snapshot().job_of[job_id].nodes
