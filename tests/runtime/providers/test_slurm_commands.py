"""Slurm's commands beside the rest: each ends with its task, and by nothing else."""

from __future__ import annotations

import subprocess
import sys
import textwrap

PROGRAM = """
    import asyncio
    from flexmpi.runtime.machine import processes
    from flexmpi.runtime.providers.slurm_commands import run

    async def main():
        asking = asyncio.create_task(run(["sh", "-c", "sleep 0.3; echo answered"], {"PATH": "/usr/bin:/bin"}))
        while not asking.done():
            processes.end_orphans(spared=[])
            await asyncio.sleep(0.01)
        print(asking.result())

    processes.adopt_orphans()
    asyncio.run(main())
"""


def test_a_command_is_not_taken_for_what_a_dead_launcher_has_left() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(PROGRAM)], capture_output=True, text=True, timeout=60, check=True
    )
    assert (ended.stdout, ended.stderr) == ("(0, 'answered\\n', '')\n", "")
