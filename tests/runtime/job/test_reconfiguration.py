"""The life of a reconfiguration is a table; a step that is not in it raises."""

from __future__ import annotations

from itertools import pairwise

import pytest

from flexmpi.runtime.job.reconfiguration import STEPS, Reconfiguration, Stage
from flexmpi.runtime.job.roster import RankId

LIVES = [
    [Stage.QUEUED, Stage.STARTING, Stage.ASSEMBLING, Stage.OFFERED, Stage.AGREED, Stage.DONE],
    [Stage.QUEUED, Stage.STARTING, Stage.OFFERED, Stage.AGREED, Stage.DONE],
    [Stage.QUEUED, Stage.OFFERED, Stage.AGREED, Stage.DONE],
    [Stage.QUEUED, Stage.STARTING, Stage.DONE],
]


def at(stage: Stage) -> Reconfiguration:
    return Reconfiguration(1, "a test", {"n0": 1}, stage=stage)


def test_the_table_has_every_stage_and_only_steps_forward() -> None:
    assert set(STEPS) == set(Stage)
    order = list(Stage)
    assert all(order.index(later) > order.index(stage) for stage, steps in STEPS.items() for later in steps)


@pytest.mark.parametrize(
    "life", LIVES, ids=["several sets join", "one set joins", "nobody joins", "ranks are only to be ready"]
)
def test_a_life_without_trouble_goes_through(life: list[Stage]) -> None:
    wanted = at(life[0])
    for stage in life[1:]:
        assert not wanted.over
        wanted.step(stage)
    assert wanted.over


@pytest.mark.parametrize("stage", list(Stage))
def test_every_other_step_raises_and_changes_nothing(stage: Stage) -> None:
    allowed = {later for life in LIVES for one, later in pairwise(life) if one is stage}
    allowed |= {Stage.FAILED} if stage not in (Stage.DONE, Stage.FAILED) else set()
    for later in set(Stage) - allowed:
        wanted = at(stage)
        with pytest.raises(ValueError, match=f"reconfiguration 1 cannot go from {stage.value} to {later.value}"):
            wanted.step(later)
        assert wanted.stage is stage
    assert STEPS[stage] == allowed


@pytest.mark.parametrize("stage", list(Stage))
def test_failing_ends_it_once(stage: Stage) -> None:
    wanted = at(stage)
    was_over = wanted.over
    wanted.fail("the reason")
    assert wanted.over
    assert (wanted.stage, wanted.why) == ((stage, None) if was_over else (Stage.FAILED, "the reason"))
    wanted.fail("another reason")
    assert wanted.why in (None, "the reason")


def test_the_first_loss_is_the_one_that_is_told() -> None:
    wanted = at(Stage.STARTING)
    assert wanted.loss == ""
    wanted.lost[RankId(2, 0)] = "it was killed"
    wanted.lost[RankId(1, 0)] = "it ended"
    assert wanted.loss == "it was killed"


def test_newcomers_are_ordered_by_their_units() -> None:
    wanted = at(Stage.STARTING)
    wanted.units = [[RankId(3, 0), RankId(3, 1)], [RankId(1, 1)]]
    assert wanted.newcomers == [RankId(3, 0), RankId(3, 1), RankId(1, 1)]


def test_the_summary_says_what_is_done_where_and_when() -> None:
    wanted = Reconfiguration(1, "a test", {"n0": 2, "n1": -1}, at_iteration=500)
    assert wanted.summary() == "start 2 ranks on n0, retire 1 rank on n1 at iteration 500"
    assert Reconfiguration(2, "a test", {}, balance=True).summary() == "balance the load"


def test_an_application_that_ends_between_the_two_steps_has_not_been_changed() -> None:
    members, newcomer = [RankId(0, 0), RankId(0, 1)], RankId(1, 0)
    wanted = at(Stage.AGREED)
    wanted.phases = {members[0]: "linked", members[1]: "ahead", newcomer: "linked"}
    assert wanted.computes_on(members)
    for rank in (*members, newcomer):
        wanted.parted(rank)
    assert wanted.computes_on(members)
    wanted.phases[members[0]] = "moved"
    assert not wanted.computes_on(members)
    wanted.parted(members[0])
    assert wanted.phases[members[0]] == "parted"


def test_who_takes_no_part_has_no_phase() -> None:
    wanted = at(Stage.AGREED)
    wanted.parted(RankId(2, 0))
    assert wanted.phases == {}
