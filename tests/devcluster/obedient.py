"""``python -m tests.devcluster.obedient FOLDER JOB NODE``: tells an agent that it is elastic job JOB, and has done each order.

It is run as the job's owner where ranks cannot be: the connection, the credential and Slurm's word for the owner are real.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress
from pathlib import Path

from tests.scheduler.scripted_job import ScriptedJob


async def main(folder: str, job_id: str, node: str) -> None:
    """Register, or end with what the agent says against it, and obey until killed."""
    job = ScriptedJob(Path(folder), job_id=int(job_id), nodes=[node])
    await job.joined()
    print("registered", flush=True)
    while True:
        with suppress(TimeoutError):
            await job.obey()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
