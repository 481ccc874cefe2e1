"""Nodes from Slurm: an added node is one ordinary Slurm job whose script is the node launcher.

Only ``sbatch``, ``scancel`` and reading are used, with the user's own rights, and one ``scontrol update`` to give back a node of
the first allocation. What Slurm prints is read, and what ``sbatch`` is given is built, in ``flexmpi/slurm``.
"""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import PIPE, Process
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from flexmpi.errors import ManagerError, MembershipError
from flexmpi.runtime.providers import between_nodes
from flexmpi.runtime.providers.local import LocalProvider
from flexmpi.runtime.providers.provider import launcher_command, launcher_environment
from flexmpi.slurm import times
from flexmpi.slurm.commands import (
    job_number,
    quoted,
    sbatch_command,
    sbatch_environment,
    sbatch_input,
    slurm_environment,
)
from flexmpi.slurm.companion import companion
from flexmpi.slurm.own_job import LIMIT_FORMAT, Allocation, parse_time_left

COMMAND_LIMIT_S = 20.0
END_LIMIT_S = 5.0
LOOK_AGAIN_S = 0.2
COMPANION_LIMIT_S = 60.0
"""How long a companion is waited for that has been told to end; Slurm may be busy with its node for a while."""


class SlurmProvider:
    """The nodes of a Slurm job, and companions: one more job for each node that is added.

    Parameters
    ----------
    allocation
        The parent job.
    folder
        The job's private folder on this node, the batch node.
    grant_timeout_s
        How long Slurm may take to grant a node.
    on_ended
        Called when a launcher on this node has ended.
    """

    def __init__(
        self, allocation: Allocation, folder: Path, *, grant_timeout_s: float, on_ended: Callable[[], None]
    ) -> None:
        self.limit_s = grant_timeout_s
        self.rank_environment: Mapping[str, str] = between_nodes.rank_environment(
            between_nodes.library(), os.environ, across_nodes=True
        )
        self._allocation = allocation
        self._local = LocalProvider(folder, on_ended=on_ended)
        self._companions: dict[int, str] = {}
        self._steps: dict[str, Process] = {}

    async def start_launcher(self, request: int, node: str | None, *, addresses: Sequence[str], key: bytes) -> None:
        """Start a launcher: here, on another node of the first allocation, or by a companion job.

        Raises
        ------
        MembershipError
            Slurm refuses, in its own words.
        """
        told = launcher_environment(request, addresses, key)
        if node == self._allocation.batch_node:
            await self._local.start_launcher(request, node, addresses=addresses, key=key)
        elif node in self._allocation.nodes:
            await self._start_step(str(node), slurm_environment(os.environ) | told)
        else:
            self._companions[request] = await self._submit(node, told)

    async def _submit(self, node: str | None, told: Mapping[str, str]) -> str:
        """Submit a companion and return its number."""
        parent = self._allocation.parent
        submission = companion(
            parent, node, time_left_s=await self._time_left_s(), launcher=launcher_command(), environment=told
        )
        status, output, errors = await _run(
            sbatch_command(submission), sbatch_environment(submission, os.environ), given=sbatch_input(submission)
        )
        try:
            if status == 0:
                return str(job_number(output))
            why = quoted(errors) or f"sbatch status {status}"
        except ManagerError as error:
            why = str(error)
        raise MembershipError(f"Slurm refused {node or 'a node'}: {why}")

    async def _time_left_s(self) -> int | None:
        """Ask how long this job may still run: its limit may have been changed meanwhile."""
        job_id = self._allocation.parent.job_id
        command = ["squeue", "--noheader", f"--jobs={job_id}", f"--format={LIMIT_FORMAT}"]
        _, output, errors = await _run(command, slurm_environment(os.environ) | times.ENVIRONMENT)
        try:
            left_s = parse_time_left(job_id, output, now=time.time())
        except ManagerError as error:
            raise MembershipError(f"Slurm does not tell what time is left: {quoted(errors) or error}") from None
        if left_s is not None and left_s <= 0:
            raise MembershipError(f"job {job_id} is past its time limit, so no node can be added to it")
        return left_s

    async def _start_step(self, node: str, environment: Mapping[str, str]) -> None:
        step = ["srun", "--overlap", "--nodes=1", "--ntasks=1", f"--nodelist={node}", "--export=ALL"]
        step += [
            f"--jobid={self._allocation.parent.job_id}",
            "--exact",
            f"--cpus-per-task={self._allocation.cores[node]}",
        ]
        self._steps[node] = await asyncio.create_subprocess_exec(
            *step, *launcher_command(), "--node", node, env={**environment}, start_new_session=True
        )

    def failure(self, request: int) -> str | None:
        """Return why a launcher on this node will not report any more; of others Slurm is asked when time is up."""
        return self._local.failure(request)

    async def lost(self, request: int) -> None:
        """End the companion, or the launcher on this node, that does not answer any more."""
        await self._local.lost(request)
        if (job_id := self._companions.get(request)) is not None:
            await self._cancel([job_id])

    async def withdraw(self, request: int) -> str:
        """Cancel a companion that was not granted in time, and return what Slurm says of it."""
        job_id = self._companions.get(request)
        if job_id is None:
            return "its launcher did not report"
        _, output, _ = await _run(["squeue", "--noheader", f"--jobs={job_id}", "--format=%T (%r)"])
        await self._cancel([job_id])
        return f"Slurm job {job_id} is {output.strip() or 'gone before its launcher reported'}"

    async def _cancel(self, job_ids: Sequence[str]) -> None:
        await _run(["scancel", "--quiet", *job_ids])

    async def released(self, node: str) -> str | None:
        """Give back a node of the first allocation whose ranks have left; return what is to be said about it."""
        step = self._steps.pop(node, None)
        if step is None:
            return None
        job = self._allocation.parent.job_id
        stays = f"{node} stays allocated to job {job}"
        try:
            await asyncio.wait_for(step.wait(), END_LIMIT_S)
        except TimeoutError:
            step.terminate()
            return f"{stays}: its step does not end"
        if self._allocation.parent.exclusive:
            # Slurm (22.05 to 26.05) goes on counting the job as one that does not share this node. From then on the node, idle
            # again after whatever job, is not granted before slurmctld has pinged it, which can take minutes.
            return f"{stays}: Slurm cannot give away at once what is taken out of an exclusive job"
        kept = [name for name in self._allocation.nodes if name != node]
        status, _, errors = await _run(["scontrol", "update", f"JobId={job}", f"NodeList={','.join(kept)}"])
        _, output, _ = await _run(["squeue", "--noheader", f"--jobs={job}", "--format=%D"])
        if status == 0 and output.strip() == str(len(kept)):
            self._allocation.nodes.remove(node)
            return None
        return f"{stays}: {quoted(errors) or 'Slurm did not change the allocation'}"

    async def ended(self, request: int) -> None:
        """Wait until a companion is over by Slurm's own word, or the launcher on this node has ended."""
        await self._local.ended(request)
        if (job_id := self._companions.get(request)) is None:
            return
        end = asyncio.get_running_loop().time() + COMPANION_LIMIT_S
        while asyncio.get_running_loop().time() < end:
            status, output, errors = await _run(["squeue", "--noheader", f"--jobs={job_id}", "--format=%t"])
            if output.split() in ([], ["CD"]) and (status == 0 or "Invalid job id" in errors):
                self._companions.pop(request, None)
                return
            await asyncio.sleep(LOOK_AGAIN_S)

    async def close(self) -> None:
        """See that no launcher and no companion is left; the launchers have been told to stop."""
        await self._local.close()
        end = asyncio.get_running_loop().time() + END_LIMIT_S
        companions = list(self._companions.values())
        while companions and asyncio.get_running_loop().time() < end:
            listed = await _run(["squeue", "--noheader", f"--jobs={','.join(companions)}", "--format=%i %t"])
            alive = [line.split()[0] for line in listed[1].splitlines() if line.split()[1:] not in (["CG"], ["CD"])]
            companions = [job_id for job_id in companions if job_id in alive]
            pending = [line.split()[0] for line in listed[1].splitlines() if line.split()[1:] == ["PD"]]
            if pending:
                await self._cancel(pending)
            if companions:
                await asyncio.sleep(LOOK_AGAIN_S)
        if companions:
            await self._cancel(companions)
        for step in self._steps.values():
            if step.returncode is None:
                step.terminate()


async def _run(
    command: Sequence[str], environment: Mapping[str, str] | None = None, *, given: str = ""
) -> tuple[int, str, str]:
    """Run one of Slurm's commands with a time limit and return its status, output and errors."""
    environment = slurm_environment(os.environ) if environment is None else environment
    try:
        process = await asyncio.create_subprocess_exec(
            *command, stdin=PIPE, stdout=PIPE, stderr=PIPE, env={**environment}
        )
    except OSError as error:
        return 127, "", f"{command[0]}: {error.strerror}"
    try:
        output, errors = await asyncio.wait_for(process.communicate(given.encode()), COMMAND_LIMIT_S)
    except TimeoutError:
        process.kill()
        await process.wait()
        return 124, "", f"{command[0]} did not answer within {COMMAND_LIMIT_S:g} s"
    return process.returncode or 0, output.decode(errors="replace"), errors.decode(errors="replace")
