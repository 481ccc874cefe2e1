"""An event loop ends whatever is under way when its main task is over, and nothing of it stays."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from flexmpi import event_loop
from tests.applications import wait_until

PROGRAM = """
import asyncio, sys
from flexmpi import event_loop

async def start():
    begun.set()
    command = [sys.executable, "-c", "import signal; signal.alarm(120); signal.pause()", sys.argv[2]]
    process = await asyncio.create_subprocess_exec(*command, stdin=-1, stdout=-1, stderr=-1)
    try:
        await process.wait()
    finally:
        process.kill()
        await process.wait()

async def main():
    task = asyncio.create_task(start())
    await begun.wait()
    for _ in range(int(sys.argv[1])):
        turned = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(turned.set_result, None)
        await turned
    return "over"

begun = asyncio.Event()
print(event_loop.run(main()))
"""


@pytest.mark.parametrize("turns", range(6))
def test_it_ends_while_a_process_is_being_started_which_ends_too(turns: int, tmp_path: Path) -> None:
    """``asyncio.run`` waits for ever where it is over as soon as the start has begun."""
    mark = str(tmp_path / "mark")
    command = [sys.executable, "-c", PROGRAM, str(turns), mark]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert (ended.stdout, ended.stderr) == ("over\n", "")
    wait_until(lambda: not any(mark in _text(path) for path in Path("/proc").glob("[0-9]*/cmdline")), what="it is gone")


def test_what_tasks_start_while_they_end_is_ended_too() -> None:
    ended: list[str] = []

    async def wait(name: str) -> None:
        begins[name].set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)
            if name == "first":
                await begin("second")

    async def begin(name: str) -> None:
        begins[name] = asyncio.Event()
        tasks.append(asyncio.create_task(wait(name)))
        await begins[name].wait()

    tasks, begins = list[asyncio.Task[None]](), dict[str, asyncio.Event]()
    event_loop.run(begin("first"))
    assert ended == ["first", "second"]


def test_an_error_of_the_main_task_is_raised_when_the_others_have_ended() -> None:
    async def wait() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            ended.append(asyncio.all_tasks() - {asyncio.current_task()})

    async def fail() -> None:
        other = asyncio.create_task(wait())
        await begun.wait()
        assert not other.done()
        raise ValueError("of its own")

    begun, ended = asyncio.Event(), list[object]()
    with pytest.raises(ValueError, match="of its own"):
        event_loop.run(fail())
    (beside,) = ended
    assert beside, "while the main task was still there"


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
