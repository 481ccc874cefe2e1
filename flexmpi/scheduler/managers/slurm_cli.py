"""Slurm by its commands: squeue, sinfo or scontrol, sbatch, scancel. Works with every release since 22.05.

What they print is read, and what they are given is built, in flexmpi/slurm.
"""

from __future__ import annotations

import os
import re
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from threading import Lock

from flexmpi.cluster.state import Job, Node, Partition, Snapshot
from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import external
from flexmpi.scheduler.managers.slurm_site import read_site
from flexmpi.scheduler.managers.user_groups import UserGroups
from flexmpi.slurm import asked_text, json_output, text_output
from flexmpi.slurm.commands import (
    job_number,
    refusal_to_cancel,
    sbatch_command,
    sbatch_environment,
    sbatch_input,
    scancel_command,
    slurm_environment,
)
from flexmpi.slurm.partitions import parse_partitions
from flexmpi.slurm.site import Site, explained, may_be_denied

LIMIT_S = 20.0
SITE_HOLDS_S = 300.0

_JOBS_JSON = ["squeue", "--json", "--all", "--states=all"]
_NODES_JSON = ["scontrol", "show", "nodes", "--json"]
_NODES_JSON_BEFORE_23_02 = ["sinfo", "--json", "--all"]
_PARTITIONS = ["scontrol", "--all", "--oneliner", "show", "partition"]

# An option that is not there, or a Slurm built or packaged without the JSON library.
_NO_JSON = re.compile(
    r"unrecognized option|invalid option|serializer|json.*(plugin|not found|unavailable)", re.IGNORECASE
)

_Read = tuple[tuple[Node, ...], tuple[Job, ...], tuple[Partition, ...]]


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
        not tell the most nodes that a job that waits may have.
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
        self._groups = UserGroups(self._environment)

    def snapshot(self) -> Snapshot:
        """Read all nodes, jobs and partitions: a few commands, run beside each other.

        Raises
        ------
        ManagerError
            One of them does not answer in time, fails, or prints something else than expected.
        """
        site = self.site()
        try:
            return self._read(site, time.monotonic() + self._limit_s)
        except ManagerError as error:
            raise ManagerError(self.explained(str(error))) from None

    def _read(self, site: Site, end: float) -> Snapshot:
        taken_at = self._clock()
        read = self._read_json(site, end) if site.prints_json and self._json else None
        if read is None:
            self._json = False
            read = self._read_text(site, end)
        nodes, jobs, partitions = read
        return Snapshot(
            taken_at=taken_at,
            nodes=nodes,
            jobs=jobs,
            hidden=site.hidden,
            partitions=partitions,
            groups=self._groups.of(jobs, partitions),
        )

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

    def explained(self, words: str) -> str:
        """Return Slurm's words with what to do where it hides from this user what was asked for, see `site.explained`."""
        if may_be_denied(words):
            self._site = None  # the configuration, or this user's rights, may have been changed since it was read
            with suppress(ManagerError):
                return explained(words, self.site().hidden)
        return words

    def partitions_and_asked(self) -> tuple[tuple[Partition, ...], Mapping[int, asked_text.Asked]]:
        """Read what another way to read Slurm does not tell; errors as for `snapshot`."""
        end = time.monotonic() + self._limit_s
        site, mark = self.site(), _mark()
        partitions, asked = self._run([_PARTITIONS, _about_asked(mark)], end)
        return _partitions(partitions, site), _asked(asked, mark)

    def groups(self, jobs: Iterable[Job], partitions: Iterable[Partition]) -> Mapping[int, frozenset[str]]:
        """Return the groups of users that partitions ask for."""
        return self._groups.of(jobs, partitions)

    def _read_json(self, site: Site, end: float) -> _Read | None:
        """Return nodes, jobs and partitions; None where these commands turn out to print no JSON."""
        about_nodes = _NODES_JSON if site.scontrol_prints_json else _NODES_JSON_BEFORE_23_02
        nodes, jobs, partitions = self._run([about_nodes, _JOBS_JSON, _PARTITIONS], end)
        if any(output.status != 0 and _NO_JSON.search(output.errors) for output in (nodes, jobs)):
            return None
        return (
            json_output.parse_nodes(nodes.checked("list the nodes"), source=" ".join(about_nodes[:2])),
            json_output.parse_jobs(jobs.checked("list the jobs"), source="squeue --json"),
            _partitions(partitions, site),
        )

    def _read_text(self, site: Site, end: float) -> _Read:
        mark = _mark()
        about_nodes = ["sinfo", "--all", "--noheader", "--Node", f"--format={text_output.node_format(mark)}"]
        about_jobs = ["squeue", "--all", "--noheader", "--states=all", f"--format={text_output.job_format(mark)}"]
        nodes, jobs, partitions, asked = self._run([about_nodes, about_jobs, _PARTITIONS, _about_asked(mark)], end)
        return (
            text_output.parse_nodes(nodes.checked("list the nodes"), mark, source="sinfo"),
            asked_text.with_asked(
                text_output.parse_jobs(jobs.checked("list the jobs"), mark, source="squeue"), _asked(asked, mark)
            ),
            _partitions(partitions, site),
        )

    def _run(self, commands: list[list[str]], end: float) -> list[external.Output]:
        left_s = max(0.0, end - time.monotonic())
        return external.run(commands, environment=self._environment, limit_s=left_s)


def _mark() -> str:
    return f"<{secrets.token_hex(8)}>"


def _about_asked(mark: str) -> list[str]:
    return ["squeue", "--all", "--noheader", f"--Format={asked_text.asked_format(mark)}"]


def _asked(output: external.Output, mark: str) -> Mapping[int, asked_text.Asked]:
    return asked_text.parse_asked(output.checked("tell what jobs ask for"), mark, source="squeue")


def _partitions(output: external.Output, site: Site) -> tuple[Partition, ...]:
    if output.status != 0 and "partitions" in site.hidden:
        return ()
    text = output.checked("list the partitions")
    return parse_partitions(text, accounts_are_trees=site.accounts_are_trees, source="scontrol show partition")


def _perhaps_submitted(error: ManagerError, submission: Submission) -> ManagerError:
    return ManagerError(f"{error}; job {submission.name or ''!r} may have been submitted or not")
