from __future__ import annotations

import asyncio
from collections.abc import Callable

from flexmpi.controller.granting import Granting
from flexmpi.controller.iotoken import IOToken
from flexmpi.errors import LinkError


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Scene:
    """Applications that ask, and what they are told."""

    def __init__(self, token: IOToken | None, *, unreachable: tuple[int, ...] = ()) -> None:
        self.told: list[int] = []
        self.warnings: list[str] = []
        self._unreachable = unreachable
        self.granting = Granting(token, tell=self._tell, warn=self.warnings.append, notify=lambda: None)

    async def _tell(self, number: int) -> None:
        if number in self._unreachable:
            raise LinkError("no answer")
        self.told.append(number)

    def after(self, *steps: Callable[[], None]) -> list[int]:
        async def play() -> None:
            for step in steps:
                step()
                self.granting.pass_on()
                await asyncio.sleep(0)

        asyncio.run(play())
        return self.told


def test_without_a_token_every_phase_is_granted_at_once() -> None:
    scene = Scene(None)
    ask = scene.granting.ask
    assert scene.after(lambda: ask(0), lambda: ask(1), lambda: ask(0), lambda: scene.granting.release(7)) == [0, 1, 0]
    assert scene.granting.left_s() is None


def test_with_the_token_one_at_a_time_is_granted() -> None:
    scene = Scene(IOToken(Clock()))
    ask, release = scene.granting.ask, scene.granting.release
    assert scene.after(lambda: ask(2), lambda: ask(0), lambda: ask(1)) == [2]
    assert scene.after(lambda: release(2)) == [2, 0]
    assert scene.after(lambda: release(0), lambda: release(1)) == [2, 0, 1]


def test_a_phase_that_lasts_too_long_is_warned_of_and_the_next_is_granted() -> None:
    clock = Clock()
    scene = Scene(IOToken(clock, limit_s=10.0))
    scene.after(lambda: scene.granting.ask(0), lambda: scene.granting.ask(1))
    assert (scene.told, scene.granting.left_s()) == ([0], 10.0)
    clock.now = 12.0
    assert scene.after(lambda: None) == [0, 1]
    assert scene.warnings == [
        "Warning: application 0 has kept the I/O token for more than 10 s; it passes on to application 1, "
        "which has waited 12.0 s"
    ]


def test_an_application_that_cannot_be_told_is_warned_of() -> None:
    scene = Scene(None, unreachable=(0,))
    scene.after(lambda: scene.granting.ask(0))
    assert scene.warnings == ["Warning: application 0 was not told to begin its I/O phase: no answer"]
