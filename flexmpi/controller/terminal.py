"""Where the controller's commands come from: a person at a terminal, with history and completion, or a pipe or file."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from prompt_toolkit import PromptSession
from prompt_toolkit.completion import CompleteEvent, Completer, Completion
from prompt_toolkit.document import Document
from prompt_toolkit.history import FileHistory

from flexmpi.runtime.launcher.output import LineReader

Candidates = Callable[[str], Iterable[tuple[str, str]]]


class _Completer(Completer):
    def __init__(self, candidates: Candidates) -> None:
        self._candidates = candidates

    def get_completions(self, document: Document, complete_event: CompleteEvent) -> Iterator[Completion]:
        text = document.text_before_cursor
        length = len(text.rpartition(" ")[2])
        for candidate, meaning in self._candidates(text):
            yield Completion(candidate, start_position=-length, display_meta=meaning)


async def typed_lines(*, history: Path, candidates: Candidates) -> AsyncIterator[str]:
    """Yield the lines a person types, until Ctrl-D or Ctrl-C.

    Parameters
    ----------
    history
        The file that keeps them.
    candidates
        Gets the line up to the cursor, returns what its last word may become and what that means.
    """
    session: PromptSession[str] = PromptSession(history=FileHistory(str(history)), completer=_Completer(candidates))
    with suppress(EOFError, KeyboardInterrupt):
        while True:
            yield await session.prompt_async("> ", handle_sigint=False)


async def piped_lines(descriptor: int) -> AsyncIterator[str]:
    """Yield the lines of a pipe or file as they come, until its end."""
    loop = asyncio.get_running_loop()
    arrived: asyncio.Queue[bytes] = asyncio.Queue()

    def read() -> None:
        # A thread, as asyncio cannot wait for files; from the descriptor, as a stream's lock would hold up the exit.
        with suppress(RuntimeError):
            while data := _read(descriptor):
                loop.call_soon_threadsafe(arrived.put_nowait, data)
            loop.call_soon_threadsafe(arrived.put_nowait, b"")

    threading.Thread(target=read, daemon=True, name="standard input").start()
    lines = LineReader()
    while data := await arrived.get():
        for line in lines.feed(data):
            yield line.decode(errors="replace")
    for line in lines.close():
        yield line.decode(errors="replace")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 1 << 16)
    except OSError:
        # Closed, or a terminal that is gone: nothing more comes.
        return b""
