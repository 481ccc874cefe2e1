"""Runs an event loop and ends it, also where processes are being started when it is over. Standard library only.

At its end ``asyncio.run`` cancels all tasks at once. The start of a process with pipes then waits for these pipes for ever, for
the task that connects them, which is asyncio's own, has been cancelled too (CPython 3.11 to 3.13). Here what is ours ends first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")

END_LIMIT_S = 10.0
"""How long tasks may take to end that are left when the main one is over."""
_OF_ASYNCIO = str(Path(asyncio.__file__).parent)


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine as ``asyncio.run`` does, and return its result."""
    return asyncio.run(_run(main))


async def _run(main: Coroutine[Any, Any, T]) -> T:
    try:
        return await main
    finally:
        await _end_the_others()


async def _end_the_others() -> None:
    """End what still runs, also what that starts while it ends."""
    loop = asyncio.get_running_loop()
    end = loop.time() + END_LIMIT_S
    while (left := _left()) and loop.time() < end:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=end - loop.time())


def _left() -> list[asyncio.Task[Any]]:
    return [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not _is_of_asyncio(task)]


def _is_of_asyncio(task: asyncio.Task[Any]) -> bool:
    code = getattr(task.get_coro(), "cr_code", None)
    return code is not None and code.co_filename.startswith(_OF_ASYNCIO)
