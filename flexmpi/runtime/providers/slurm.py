"""Nodes from Slurm: an added node is one ordinary Slurm job whose script is the node launcher.

Only ``sbatch``, ``scancel`` and reading are used, with the user's own rights, and one ``scontrol update`` to give back a node of
the first allocation. What Slurm prints is read, and what ``sbatch`` is given is built, in ``flexmpi/slurm``.
"""

from __future__ import annotations

import asyncio
import os
import time
from asyncio.subprocess import DEVNULL, Process
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from flexmpi.cluster.platform import Node
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ConfigurationError, ManagerError, MembershipError
from flexmpi.runtime.providers import between_nodes
from flexmpi.runtime.providers.companions import Companions
from flexmpi.runtime.providers.local import LocalProvider
from flexmpi.runtime.providers.provider import launcher_command, launcher_environment
from flexmpi.runtime.providers.slurm_commands import run
from flexmpi.slurm import times
from flexmpi.slurm.commands import quoted, slurm_environment
from flexmpi.slurm.companion import companion
from flexmpi.slurm.own_job import CORES_FORMAT, LIMIT_FORMAT, Allocation, parse_cores, parse_time_left

END_LIMIT_S = 5.0
NODES_LIMIT_S = 3.0
"""How long Slurm is asked for nodes that nobody knows; whoever named them waits for the reply."""


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
        self._companions = Companions(allocation.parent.job_id, limit_s=grant_timeout_s, on_news=on_ended)
        self._steps: dict[str, Process] = {}

    async def start_launcher(self, request: int, node: str | None, *, addresses: Sequence[str], key: bytes) -> None:
        """Start a launcher: here, on another node of the first allocation, or by a companion job.

        What Slurm says to a companion is known later, see `failure`.
        """
        told = launcher_environment(request, addresses, key)
        if node == self._allocation.batch_node:
            await self._local.start_launcher(request, node, addresses=addresses, key=key)
        elif node in self._allocation.nodes:
            await self._start_step(str(node), slurm_environment(os.environ) | told)
        else:
            self._companions.ask(request, node, partial(self._companion, request, node, told))

    async def _companion(self, request: int, node: str | None, told: Mapping[str, str]) -> Submission:
        return companion(
            self._allocation.parent,
            node,
            time_left_s=await self._time_left_s(),
            launcher=launcher_command(),
            environment=told,
            request=self._companions.number(request),
        )

    async def _time_left_s(self) -> int | None:
        """Ask how long this job may still run: its limit may have been changed meanwhile."""
        job_id = self._allocation.parent.job_id
        command = ["squeue", "--noheader", f"--jobs={job_id}", f"--format={LIMIT_FORMAT}"]
        _, output, errors = await run(command, slurm_environment(os.environ) | times.ENVIRONMENT)
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
        # As Slurm's commands: not of another session than this process, where it would be taken for what a launcher has left.
        self._steps[node] = await asyncio.create_subprocess_exec(
            *step, *launcher_command(), "--node", node, stdin=DEVNULL, env={**environment}, process_group=0
        )

    def failure(self, request: int) -> str | None:
        """Return why a launcher on this node, or the one of a companion, will not report any more."""
        return self._local.failure(request) or self._companions.failure(request)

    def reported(self, request: int, node: str) -> None:
        """Take note that a launcher has reported."""
        self._companions.reported(request, node)

    async def lost(self, request: int) -> None:
        """End the companion, or the launcher on this node, that does not answer any more."""
        await self._local.lost(request)
        self._companions.give_up(request)

    async def withdraw(self, request: int) -> str:
        """Have a companion cancelled that was not granted in time, and return what Slurm says of it; it is not waited for.

        Raises
        ------
        MembershipError
            Slurm refuses it, in its own words.
        """
        self._companions.give_up(request)
        return self._companions.standing(request) or await self._local.withdraw(request)

    async def nodes(self, names: Collection[str]) -> tuple[Node, ...]:
        """Return those of these nodes that are in the job's partition now."""
        partition = self._allocation.parent.partition
        which = [*([f"--partition={partition}"] if partition else []), f"--nodes={','.join(names)}"]
        command = ["sinfo", "--noheader", "--Node", *which, f"--format={CORES_FORMAT}"]
        status, output, _ = await run(command, limit_s=NODES_LIMIT_S)
        try:
            cores = parse_cores(output) if status == 0 else {}
        except ConfigurationError:
            cores = {}
        return tuple(Node(name, cores[name], alias=name) for name in names if name in cores)

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
        status, _, errors = await run(["scontrol", "update", f"JobId={job}", f"NodeList={','.join(kept)}"])
        _, output, _ = await run(["squeue", "--noheader", f"--jobs={job}", "--format=%D"])
        if status == 0 and output.strip() == str(len(kept)):
            self._allocation.nodes.remove(node)
            return None
        return f"{stays}: {quoted(errors) or 'Slurm did not change the allocation'}"

    async def ended(self, request: int) -> None:
        """Wait until a companion is over by Slurm's own word, or the launcher on this node has ended."""
        await self._local.ended(request)
        await self._companions.ended(request)

    async def close(self) -> None:
        """See that no launcher and no companion is left; the launchers have been told to stop."""
        await asyncio.gather(self._local.close(), self._companions.close())
        for step in self._steps.values():
            if step.returncode is None:
                step.terminate()
