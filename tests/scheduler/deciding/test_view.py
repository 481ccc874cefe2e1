from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.scheduler.deciding.elastic import Decision, ElasticJob, View
from flexmpi.scheduler.deciding.view import Bounds, extra, give_back, with_allowances, within_bounds, without_growth

quick = settings(derandomize=True, deadline=None, max_examples=200)


def job(key: str, held: int, *, low: int = 1, account: str | None = "physics") -> ElasticJob:
    nodes = tuple(f"{key}-{number}" for number in range(held))
    return ElasticJob(key=key, held=nodes, minimum_nodes=low, maximum_nodes=20, account=account, partitions=("main",))


def view(*jobs: ElasticJob) -> View:
    return View(now=0.0, jobs=jobs)


def test_what_an_account_may_have_more_is_its_limit_less_what_its_jobs_have() -> None:
    bounds = Bounds(accounts={"physics": 4}, partitions={"main": 10})
    first, second, other = with_allowances([job("a", 3), job("b", 2), job("c", 1, account="maths")], bounds)
    assert (first.extra_allowed, second.extra_allowed, other.extra_allowed) == (1, 1, 7)


def test_nodes_up_to_the_minimum_are_not_extra() -> None:
    (held_back,) = with_allowances([job("a", 1, low=3)], Bounds(accounts={"physics": 0}))
    decision = Decision(key="a", add=("n1", "n2", "n3"))
    (kept,) = within_bounds([decision], view(held_back), Bounds(accounts={"physics": 0}))
    assert kept.add == ("n1", "n2")


@quick
@given(
    sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5),
    wanted=st.lists(st.integers(0, 6), min_size=5, max_size=5),
    limit=st.integers(0, 12),
)
def test_decisions_together_keep_to_a_limit(sizes: list[int], wanted: list[int], limit: int) -> None:
    bounds = Bounds(accounts={"physics": limit})
    jobs = with_allowances([job(f"j{number}", size) for number, size in enumerate(sizes)], bounds)
    asked = [
        Decision(key=each.key, add=tuple(f"{each.key}+{number}" for number in range(count)))
        for each, count in zip(jobs, wanted, strict=False)
        if count
    ]
    before = sum(map(extra, jobs))
    given_out = sum(len(decision.add) for decision in within_bounds(asked, view(*jobs), bounds))
    assert given_out <= max(0, limit - before)


def test_off_takes_jobs_to_their_minimum_and_never_their_floor() -> None:
    (decision,) = give_back(view(job("a", 4, low=2), job("b", 1)))
    assert decision.key == "a"
    assert set(decision.leave) == {"a-2", "a-3"}


def test_drain_lets_only_shrinking_through() -> None:
    decisions = [
        Decision(key="a", add=("n",)),
        Decision(key="b", leave=("m",)),
        Decision(key="c", add=("k",), leave=("l",)),
    ]
    assert without_growth(decisions) == (Decision(key="b", leave=("m",)), Decision(key="c", leave=("l",)))
