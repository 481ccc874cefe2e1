"""What runs beside each other in one event loop: tasks with one owner, and waiting for news with a limit.

Nothing here knows what the tasks do.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


class Tasks:
    """The tasks of one job, and the news they wait for.

    Parameters
    ----------
    on_failure
        Called with the exception of a task that has failed.
    """

    def __init__(self, on_failure: Callable[[BaseException], None]) -> None:
        self._on_failure = on_failure
        self._news = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def until(self, condition: Callable[[], bool], *, limit_s: float | None = None) -> bool:
        """Wait until something has happened; False if it has not within the limit."""
        end = None if limit_s is None else time.monotonic() + limit_s
        while not condition():
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return False
            news = self._news
            try:
                # Not wait_for, which forgets a cancellation that comes together with the news.
                async with asyncio.timeout(left):
                    await news.wait()
            except TimeoutError:
                return condition()
        return True

    def notify(self) -> None:
        """Have all who wait look again."""
        self._news.set()
        self._news = asyncio.Event()

    def spawn(self, coroutine: Coroutine[object, object, None]) -> asyncio.Task[None]:
        """Run something beside the rest."""
        task = asyncio.create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._on_end)
        return task

    async def ended(self, *, limit_s: float) -> None:
        """Wait until all have ended, so long at most."""
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=limit_s)

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        """Have something done after a while, if the tasks are not cancelled before."""
        self.spawn(self._do_later(seconds, call))

    async def _do_later(self, seconds: float, call: Callable[[], None]) -> None:
        await asyncio.sleep(seconds)
        call()
        self.notify()

    def _on_end(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._on_failure(error)

    def cancel(self) -> None:
        """End all that still runs."""
        for task in list(self._tasks):
            task.cancel()


async def in_thread(work: Callable[[], T]) -> T:
    """Have something done that blocks, and return its result; unlike that of `asyncio.to_thread`, no end waits for it."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def settle(settled: Callable[[], None]) -> None:
        if not done.done():
            settled()

    def run() -> None:
        try:
            result = work()
        except BaseException as error:
            failure = error  # the name of an exception ends with its clause
            outcome = lambda: done.set_exception(failure)  # noqa: E731
        else:
            outcome = lambda: done.set_result(result)  # noqa: E731
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, daemon=True).start()
    return await done
