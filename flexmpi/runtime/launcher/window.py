"""How much of what ranks print may be on its way from a node launcher to the supervisor. Standard library only."""

from __future__ import annotations

import asyncio

WINDOW_BYTES = 1 << 20
"""How much output may be on its way to the supervisor's own output before the ranks that print have to wait."""


class Window:
    """Keeps the amount of output that is under way within bounds, by what the supervisor says it has passed on."""

    def __init__(self) -> None:
        self._free = WINDOW_BYTES
        self._bounded = True
        self._changed = asyncio.Event()

    async def take(self, size_bytes: int) -> None:
        """Wait until more may be sent."""
        while self._free <= 0 and self._bounded:
            self._changed.clear()
            await self._changed.wait()
        self._free -= size_bytes

    def give_back(self, size_bytes: int) -> None:
        """So much has arrived."""
        self._free += size_bytes
        self._changed.set()

    def remove(self) -> None:
        """Let all through: little more will come, or nobody is there to say that it has arrived."""
        self._bounded = False
        self._changed.set()
