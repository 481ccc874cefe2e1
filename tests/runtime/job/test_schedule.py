"""Which of the planned changes are to be prepared, by the pace of the latest interval."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import ScheduledChange
from flexmpi.runtime.job.measurements import IntervalReport
from flexmpi.runtime.job.schedule import LEAD_S, Planned, Schedule, parts_of_growth

bounded = settings(derandomize=True, deadline=None, max_examples=60)


def interval(iteration: int, *, iteration_s: float, length: int = 10) -> IntervalReport:
    seconds = [iteration_s * length] * 2
    return IntervalReport(iteration, length, iteration + length, [1, 1], [1, 1], seconds, seconds, [0, 0], [0, 0])


def change(at_iteration: int, ranks: int = 1) -> ScheduledChange:
    return ScheduledChange(at_iteration, (("lhost", ranks),))


def due(schedule: Schedule, latest: IntervalReport) -> list[int]:
    return [each.change.at_iteration for each in schedule.due(latest)]


def test_a_change_is_prepared_once_and_ahead_of_its_iteration_by_a_time():
    schedule = Schedule()
    schedule.add([change(1000)], cause="schedule")
    ahead = LEAD_S / 0.1  # iterations
    assert due(schedule, interval(int(1000 - ahead) - 10, iteration_s=0.1)) == []
    assert due(schedule, interval(int(1000 - ahead), iteration_s=0.1)) == [1000]
    assert due(schedule, interval(1000, iteration_s=0.1)) == []


def test_a_change_before_the_next_agreement_point_is_prepared_however_slow_the_iterations_are():
    schedule = Schedule()
    schedule.add([change(20), change(21)], cause="schedule")
    assert due(schedule, interval(10, iteration_s=1000.0)) == [20]


def test_what_has_been_missed_is_due():
    schedule = Schedule()
    schedule.add([change(3)], cause="udp 11:3:lhost:1")
    assert due(schedule, interval(500, iteration_s=1000.0)) == [3]


def test_changes_come_in_the_order_of_their_iterations_and_then_of_their_arrival():
    schedule = Schedule()
    schedule.add([change(30), change(10, 2), change(10, -1)], cause="schedule")
    schedule.add([change(10, 7), change(20)], cause="udp")
    got = schedule.due(interval(1000, iteration_s=0.1))
    assert [(each.change.at_iteration, each.change.changes[0][1], each.cause) for each in got] == [
        (10, 2, "schedule"),
        (10, -1, "schedule"),
        (10, 7, "udp"),
        (20, 1, "udp"),
        (30, 1, "schedule"),
    ]


def test_what_is_planned_up_to_an_iteration_can_be_looked_up_without_taking_it_out():
    schedule = Schedule()
    schedule.add([change(10), change(20), change(30)], cause="udp", number=4)
    assert [(each.change.at_iteration, each.number) for each in schedule.before(20)] == [(10, 4), (20, 4)]
    assert len(schedule.to_come) == 3


@bounded
@given(st.lists(st.integers(0, 500), max_size=20), st.floats(0, 1), st.integers(1, 50))
def test_every_change_is_prepared_exactly_once_and_before_the_agreement_point_it_is_for(
    iterations, iteration_s, length
):
    schedule = Schedule()
    schedule.add([change(iteration) for iteration in iterations], cause="schedule")
    seen: list[int] = []
    for start in range(length, 600, length):
        seen += due(schedule, interval(start, iteration_s=iteration_s, length=length))
        assert all(iteration > start for iteration in set(iterations) - set(seen))
    assert seen == sorted(iterations)


def test_a_growth_happens_in_part_with_the_fastest_nodes_first_and_all_that_is_removed():
    whole = ScheduledChange(10, (("slow", 1), ("old", -3), ("fast", 2)))
    assert parts_of_growth(whole, speeds=[1.0, 1.0, 2.0]) == [
        (("old", -3),),
        (("old", -3), ("fast", 1)),
        (("old", -3), ("fast", 2)),
        (("slow", 1), ("old", -3), ("fast", 2)),
    ]
    assert Planned(whole, "schedule").grows
    assert not Planned(change(10, -1), "schedule").grows
