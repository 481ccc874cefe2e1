"""Slurm by its commands: squeue, sinfo or scontrol, sbatch, scancel. Works with every release since 22.05.

What they print is read, and what they are given is built, in flexmpi/slurm.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Mapping
from threading import Lock

from flexmpi.cluster.state import Job, Node, Snapshot
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import external
from flexmpi.scheduler.managers.slurm_site import read_site
from flexmpi.slurm import json_output, text_output
from flexmpi.slurm.commands import (
    job_number,
    refusal_to_cancel,
    sbatch_command,
    sbatch_environment,
    sbatch_input,
    scancel_command,
    slurm_environment,
)
from flexmpi.slurm.site import Site

LIMIT_S = 20.0
SITE_HOLDS_S = 300.0

_JOBS_JSON = ["squeue", "--json", "--all", "--states=all"]
_NODES_JSON = ["scontrol", "show", "nodes", "--json"]
_NODES_JSON_BEFORE_23_02 = ["sinfo", "--json", "--all"]

# An option that is not there, or a Slurm built or packaged without the JSON library.
_NO_JSON = re.compile(
    r"unrecognized option|invalid option|serializer|json.*(plugin|not found|unavailable)", re.IGNORECASE
)


class SlurmCli:
    """A resource manager: Slurm, by its commands and with the rights of this user.

    Parameters
    ----------
    limit_s
        How long a call may take, in seconds. Slurm's commands give up on a slurmctld that is not there after 9 s.
    environment
        Where the commands are (PATH) and which cluster they speak to (SLURM_CONF); this process's where None.
    json
        Whether to read JSON where Slurm prints it. Its text is read several times faster where there are many jobs, but does
        not tell the least number of nodes of a job that asked for a range.
    clock
        Seconds of the epoch.
    """

    def __init__(
        self,
        *,
        limit_s: float = LIMIT_S,
        environment: Mapping[str, str] | None = None,
        json: bool = True,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._limit_s = limit_s
        self._inherited = dict(os.environ if environment is None else environment)
        self._environment = slurm_environment(self._inherited) | text_output.ENVIRONMENT
        self._clock = clock
        self._site: Site | None = None
        self._site_until = 0.0
        self._site_lock = Lock()
        self._json = json

    def snapshot(self) -> Snapshot:
        """Read all nodes and jobs: two commands, run beside each other.

        Raises
        ------
        ManagerError
            One of them does not answer in time, fails, or prints something else than expected.
        """
        end = time.monotonic() + self._limit_s
        site = self.site()
        taken_at = self._clock()
        if site.prints_json and self._json:
            read = self._read_json(site, end)
            if read is not None:
                return Snapshot(taken_at=taken_at, nodes=read[0], jobs=read[1], hidden=site.hidden)
            self._json = False
        nodes, jobs = self._read_text(end)
        return Snapshot(taken_at=taken_at, nodes=nodes, jobs=jobs, hidden=site.hidden)

    def submit(self, submission: Submission) -> int:
        """Submit a job and return its number.

        Raises
        ------
        ManagerError
            Slurm refuses, in its words; or ``sbatch`` does not answer in time, or prints no number or several: then the job
            may be there all the same.
        """
        environment = sbatch_environment(submission, self._inherited)
        command, given = sbatch_command(submission), sbatch_input(submission)
        try:
            (output,) = external.run([command], environment=environment, limit_s=self._limit_s, given=given)
        except ManagerError as error:
            raise _perhaps_submitted(error, submission) from None
        printed = output.checked("submit the job")
        try:
            return job_number(printed)
        except ManagerError as error:
            raise _perhaps_submitted(error, submission) from None

    def cancel(self, job_id: int) -> None:
        """Cancel a job, or all tasks of a job array.

        Raises
        ------
        ManagerError
            Slurm knows no such job, or refuses; or ``scancel`` does not answer in time.
        """
        command = scancel_command(job_id)
        (output,) = external.run([command], environment=self._environment, limit_s=self._limit_s)
        if refusal := refusal_to_cancel(output.errors):
            raise ManagerError(f"scancel did not cancel job {job_id}: {refusal}")
        if "already complet" not in output.errors:
            output.checked(f"cancel job {job_id}")

    def close(self) -> None:
        """Nothing is held."""

    def site(self) -> Site:
        """Return what is true of this Slurm for longer than a snapshot."""
        with self._site_lock:
            now = time.monotonic()
            if self._site is None or now > self._site_until:
                self._site = read_site(environment=self._environment, limit_s=self._limit_s)
                self._site_until = now + SITE_HOLDS_S
            return self._site

    def _read_json(self, site: Site, end: float) -> tuple[tuple[Node, ...], tuple[Job, ...]] | None:
        """Return nodes and jobs; None where these commands turn out to print no JSON."""
        about_nodes = _NODES_JSON if site.scontrol_prints_json else _NODES_JSON_BEFORE_23_02
        nodes, jobs = self._run([about_nodes, _JOBS_JSON], end)
        if any(output.status != 0 and _NO_JSON.search(output.errors) for output in (nodes, jobs)):
            return None
        return (
            json_output.parse_nodes(nodes.checked("list the nodes"), source=" ".join(about_nodes[:2])),
            json_output.parse_jobs(jobs.checked("list the jobs"), source="squeue --json"),
        )

    def _read_text(self, end: float) -> tuple[tuple[Node, ...], tuple[Job, ...]]:
        mark = f"<{secrets.token_hex(8)}>"
        about_nodes = ["sinfo", "--all", "--noheader", "--Node", f"--format={text_output.node_format(mark)}"]
        about_jobs = ["squeue", "--all", "--noheader", "--states=all", f"--format={text_output.job_format(mark)}"]
        nodes, jobs = self._run([about_nodes, about_jobs], end)
        return (
            text_output.parse_nodes(nodes.checked("list the nodes"), mark, source="sinfo"),
            text_output.parse_jobs(jobs.checked("list the jobs"), mark, source="squeue"),
        )

    def _run(self, commands: list[list[str]], end: float) -> list[external.Output]:
        left_s = max(0.0, end - time.monotonic())
        return external.run(commands, environment=self._environment, limit_s=left_s)


def _perhaps_submitted(error: ManagerError, submission: Submission) -> ManagerError:
    return ManagerError(f"{error}; job {submission.name or ''!r} may have been submitted or not")
