"""Which of a process set's ranks ended it, by how each came to its end, and the message and status that the job ends with."""

from __future__ import annotations

import pytest

from flexmpi.runtime.job.roster import ProcessSet, RankId
from flexmpi.runtime.supervisor.world_end import RankEnds

R0, R1, R2 = (RankId(1, number) for number in range(3))
KILLED, CRASHED, EXITED = 9, 11 | 0x80, 7 << 8


def ends_of(told: dict[RankId, int], said_bye: set[RankId]) -> RankEnds:
    ends = RankEnds()
    ends.said_bye |= said_bye
    for rank, status in told.items():
        ends.told(rank, status)
    return ends


@pytest.mark.parametrize(
    ("told", "said_bye", "expected"),
    [
        ({}, set(), None),
        ({R1: CRASHED, R0: KILLED}, set(), (R1, CRASHED)),
        ({R2: 0, R1: EXITED}, {R2}, (R1, EXITED)),
        ({R2: 0, R1: EXITED}, set(), (R1, EXITED)),
        ({R2: 0, R1: 0}, {R2}, (R1, 0)),
        ({R2: 0, R1: 0}, {R1, R2}, None),
    ],
)
def test_the_rank_that_ended_first_is_the_first_that_ended_badly_or_without_a_word(
    told: dict[RankId, int], said_bye: set[RankId], expected: tuple[RankId, int] | None
) -> None:
    ends = ends_of(told, said_bye)
    ends.told(RankId(2, 0), KILLED)
    assert ends.first(1) == expected


@pytest.mark.parametrize(
    ("of_mpiexec", "ended", "expected"),
    [(9, CRASHED, 139), (9, EXITED, 7), (9, 0, 1), (0, None, 1), (5, None, 5), (-15, None, 143), (-15, KILLED, 143)],
)
def test_a_job_ends_with_the_status_of_the_rank_that_ended_it_or_else_of_its_mpiexec(
    of_mpiexec: int, ended: int | None, expected: int
) -> None:
    ends = ends_of({} if ended is None else {R1: ended}, set())
    assert ends.exit_status(1, of_mpiexec) == expected


@pytest.mark.parametrize(
    ("status", "told", "lost", "said"),
    [
        (9, {R1: CRASHED}, R0, "rank 1 was killed by signal 11 (SIGSEGV)"),
        (9, {R1: EXITED}, R0, "rank 1 ended with status 7 before the application did"),
        (-9, {R1: EXITED}, R0, "mpiexec of process set 1 (node a, b) was killed by signal 9 (SIGKILL)"),
        (5, {}, R0, "rank 0 was ended by its mpiexec with status 5, as after MPI_Abort"),
        (11, {}, None, "mpiexec of process set 1 (node a, b) ended with status 11, as after MPI_Abort"),
    ],
)
def test_no_rank_is_said_to_have_ended_as_its_mpiexec_has(
    status: int, told: dict[RankId, int], lost: RankId | None, said: str
) -> None:
    ends = ends_of(told, set())
    if lost is not None:
        ends.lost(lost)
    pset = ProcessSet(1, ("a", "b", "b"))
    assert ends.cause(pset, {"status": status, "error": None}, lambda rank: f"rank {rank.local_rank}") == said
