"""The groups that users are in, by this machine's word, which partitions ask for: asked for once and known for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from threading import Lock

from flexmpi.cluster.state import Job, Partition
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import external

HOLDS_S = 300.0
LIMIT_S = 5.0


class UserGroups:
    """Looks users' groups up by ``id``, which waits for directories that do not answer no longer than it may."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = dict(environment)
        self._lock = Lock()
        self._known: dict[int, frozenset[str]] = {}
        self._asked_at: dict[int, float] = {}

    def of(self, jobs: Iterable[Job], partitions: Iterable[Partition]) -> dict[int, frozenset[str]]:
        """Return the groups of the owners of jobs in partitions that ask for them, by the user's number.

        Nothing of users whom this machine does not know, nor while it does not tell.
        """
        asking = {partition.name for partition in partitions if partition.allowed_groups is not None}
        users = {job.uid for job in jobs if not job.is_ended and not asking.isdisjoint(job.partitions)}
        with self._lock:
            now = time.monotonic()
            self._ask(sorted(uid for uid in users if now - self._asked_at.get(uid, -HOLDS_S) >= HOLDS_S), now)
            return {uid: self._known[uid] for uid in users if uid in self._known}

    def _ask(self, users: list[int], now: float) -> None:
        commands = [["id", "--groups", "--name", "--zero", str(uid)] for uid in users]
        self._asked_at.update(dict.fromkeys(users, now))
        try:
            outputs = external.run(commands, environment=self._environment, limit_s=LIMIT_S)
        except ManagerError:
            return
        for uid, output in zip(users, outputs, strict=True):
            # Where a group has no name its number is there and the status is 1.
            if names := frozenset(filter(None, output.text.split("\0"))):
                self._known[uid] = names
