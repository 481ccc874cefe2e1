"""The groups that users are in, by this machine's word, which partitions ask for: asked for once and known for a while."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from threading import Lock

from flexmpi.cluster.state import Job, Partition
from flexmpi.errors import ManagerError
from flexmpi.scheduler.managers import external

HOLDS_S = 300.0
LIMIT_S = 5.0
AT_ONCE = 16
"""So many are asked for beside each other: each is a process, with three pipes."""


class UserGroups:
    """Looks users' groups up by ``id``, and waits for directories that do not answer no longer than it may.

    Parameters
    ----------
    environment
        Of ``id``.
    limit_s
        How long looking up may take at a time, in seconds. Whoever was not asked for by then is asked for the next time.
    """

    def __init__(self, environment: Mapping[str, str], *, limit_s: float = LIMIT_S) -> None:
        self._environment = dict(environment)
        self._limit_s = limit_s
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

    def _ask(self, users: Sequence[int], now: float) -> None:
        end = time.monotonic() + self._limit_s
        for first in range(0, len(users), AT_ONCE):
            if (left_s := end - time.monotonic()) <= 0:
                return
            some = users[first : first + AT_ONCE]
            self._asked_at.update(dict.fromkeys(some, now))
            commands = [["id", "--groups", "--name", "--zero", str(uid)] for uid in some]
            with suppress(ManagerError):
                outputs = external.run(commands, environment=self._environment, limit_s=left_s)
                for uid, output in zip(some, outputs, strict=True):
                    # Where a group has no name its number is there and the status is 1.
                    if names := frozenset(filter(None, output.text.split("\0"))):
                        self._known[uid] = names
