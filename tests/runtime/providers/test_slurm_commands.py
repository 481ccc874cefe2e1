"""Slurm's commands beside the rest: each ends with its task, and by nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

PROGRAM = """
    import asyncio, sys
    from flexmpi.runtime.machine import processes
    from flexmpi.runtime.providers.slurm_commands import run

    async def main():
        asking = asyncio.create_task(run(["cat", sys.argv[1]], {"PATH": "/usr/bin:/bin"}))
        # Opened when the command has opened it, too: so that runs now.
        with await asyncio.to_thread(open, sys.argv[1], "w") as pipe:
            print("any orphans:", processes.end_orphans(spared=[]))
            pipe.write("answered")
        print(await asking)

    processes.adopt_orphans()
    asyncio.run(main())
"""


def test_a_command_is_not_taken_for_what_a_dead_launcher_has_left(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    command = [sys.executable, "-c", textwrap.dedent(PROGRAM), str(tmp_path / "pipe")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert (ended.stdout, ended.stderr) == ("any orphans: False\n(0, 'answered', '')\n", "")
