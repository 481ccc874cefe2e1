"""Node launchers that are asked for: a node that is refused is asked for again only if that is wanted, after growing pauses."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from flexmpi.errors import MembershipError
from flexmpi.runtime.providers.launchers import FIRST_PAUSE_S, Launchers


class Refusing:
    """A provider, in part, that refuses every node."""

    def __init__(self) -> None:
        self.asked: list[str | None] = []

    async def start_launcher(self, request: int, node: str | None, *, addresses: Sequence[str], key: bytes) -> None:
        self.asked.append(node)
        raise MembershipError(f"Slurm refused {node}: attempt {len(self.asked)}")


class Nowhere:
    """A gateway, in part, to which nobody is connected."""

    addresses: Sequence[str] = ()
    key = b""
    lines: dict[str, Any] = {}


@pytest.mark.parametrize(("retries", "pauses_s"), [(0, []), (3, [FIRST_PAUSE_S, 2 * FIRST_PAUSE_S, 4 * FIRST_PAUSE_S])])
def test_a_refused_node_is_asked_for_again_only_if_asked_to_after_pauses_that_double(retries, pauses_s):
    provider, paused_s = Refusing(), []

    async def until(condition: Callable[[], bool], *, limit_s: float) -> bool:
        paused_s.append(limit_s)
        return condition()

    asked = Launchers(provider, Nowhere(), until, spawn=asyncio.ensure_future, retries=retries)
    with pytest.raises(MembershipError, match=f"Slurm refused node3: attempt {retries + 1}"):
        asyncio.run(asked.ensure("node3"))
    assert provider.asked == ["node3"] * (retries + 1)
    assert paused_s == pauses_s
