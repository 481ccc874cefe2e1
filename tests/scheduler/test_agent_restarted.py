"""An agent that is killed and started again: what it remembers, and what becomes of what it left open."""

from __future__ import annotations

from pathlib import Path

import pytest

from flexmpi.protocol.messages import Registered, Rejected, Resize
from flexmpi.protocol.requests import (
    Expand,
    SetPolicy,
)
from tests.scheduler.agent_world import a_world, play


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
