"""Which of a process set's processes ended it, by what each ``mpiexec`` tells of its end."""

from __future__ import annotations

import pytest

from flexmpi.runtime.supervisor.world_end import exit_status, killed_first

MPICH = {"status": 9, "killed": [[41, 9]], "names_all": False}
INTEL = {"status": 255, "killed": [[41, 9], [42, 9], [43, 9]], "names_all": True}
CRASHED = {"status": 255, "killed": [[41, 9], [42, 11]], "names_all": True}
EXITED = {"status": 3, "killed": [], "names_all": False}


@pytest.mark.parametrize(
    ("report", "first", "expected", "status"),
    [
        (MPICH, 40, (41, 9), 137),
        (INTEL, 42, (42, 9), 137),
        (INTEL, None, (41, 9), 137),
        (INTEL, 44, None, 255),
        (CRASHED, 41, (42, 11), 139),
        (EXITED, 41, None, 3),
        ({**EXITED, "status": -15}, 41, None, 143),
        ({**EXITED, "status": 0}, 41, None, 1),
    ],
)
def test_the_process_that_ended_first_is_told_from_those_that_were_killed_for_that(
    report: dict[str, object], first: int | None, expected: tuple[int, int] | None, status: int
) -> None:
    assert killed_first(report, first) == expected
    assert exit_status(report, first) == status
