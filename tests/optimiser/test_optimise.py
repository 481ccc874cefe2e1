"""Sizes for many jobs: within every limit and range, and as good as trying everything, or the bound, shows they can be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog
from scipy.sparse import csr_matrix, eye, kron

from flexmpi.optimiser import Choice, Infeasible, Instance, Solution, optimise
from flexmpi.optimiser.program import Outcome, Status
from flexmpi.optimiser.relaxation import relax
from tests.optimiser.instances import Shape, best_value, random_instance

quick = settings(derandomize=True, max_examples=100, deadline=None)
shapes = st.sampled_from(["concave", "rising", "any"])
seeds = st.integers(0, 10**6)


def solved(instance: Instance, **options: object) -> Solution:
    solution = optimise(instance, **options)
    assert isinstance(solution, Solution), solution
    return solution


def check(instance: Instance, solution: Solution) -> None:
    """Hold the solution to its instance: a size of each job's own, no limit exceeded, and figures that add up."""
    chosen = [choices[number] for choices, number in zip(instance.jobs, solution.chosen, strict=True)]
    used = [sum(choice.nodes[place] for choice in chosen) for place in range(len(instance.nodes))]
    assert list(solution.nodes) == used
    assert all(count <= there for count, there in zip(used, instance.nodes, strict=True))
    assert solution.value == pytest.approx(sum(choice.value for choice in chosen))
    assert solution.bound >= solution.value
    assert solution.relaxed >= solution.bound * (1 - 1e-12)
    if instance.power_w is None:
        assert solution.power_w is None
    else:
        assert solution.power_w == pytest.approx(sum(choice.power_w for choice in chosen))
        assert solution.power_w <= instance.power_w * (1 + 1e-12)


@quick
@given(seeds, st.integers(1, 200), st.integers(1, 8), shapes, st.booleans())
def test_never_over_a_limit_or_outside_a_range_whatever_the_instance(seed, jobs, sizes, shape: Shape, power_cap):
    instance = random_instance(seed, jobs=jobs, sizes=sizes, shape=shape, power_cap=power_cap)
    solution = optimise(instance)
    if isinstance(solution, Solution):
        check(instance, solution)
    else:
        assert solution.proven or jobs > 100


@quick
@given(seeds, st.integers(1, 6), st.integers(1, 5), shapes, st.booleans())
def test_small_instances_are_solved_as_well_as_by_trying_everything(seed, jobs, sizes, shape: Shape, power_cap):
    instance = random_instance(seed, jobs=jobs, sizes=sizes, shape=shape, power_cap=power_cap)
    best, solution = best_value(instance), optimise(instance)
    if best is None:
        assert isinstance(solution, Infeasible)
        assert solution.proven
    else:
        assert isinstance(solution, Solution)
        assert (solution.method, solution.gap) == ("exact", 0)
        assert solution.value == pytest.approx(best)


@pytest.mark.parametrize(("shape", "within"), [("concave", 0.01), ("rising", 0.05), ("any", 0.05)])
@pytest.mark.parametrize("jobs", [10, 50, 200])
def test_the_greedy_method_is_near_the_linear_bound_and_so_nearer_to_the_exact_answer(shape: Shape, within, jobs):
    for seed in range(10):
        instance = random_instance(seed, jobs=jobs, sizes=8, shape=shape)
        solution = solved(instance)
        # Few and lumpy sizes leave a gap between the linear bound and the best there is: there the search is complete.
        assert solution.gap <= within
        check(instance, solution)


@pytest.mark.parametrize("shape", ["concave", "rising", "any"])
def test_what_the_search_cannot_prove_glpk_confirms(shape: Shape):
    unproven = 0
    for seed in range(20):
        instance = random_instance(seed, jobs=60, sizes=6, shape=shape)
        greedy = solved(instance)
        if greedy.method == "greedy":
            unproven += 1
            exact = solved(instance, limit_s=20.0)
            check(instance, exact)
            assert greedy.value <= exact.value * (1 + 1e-9)
            assert greedy.value >= exact.value * (0.99 if shape == "concave" else 0.95)
    assert unproven or shape == "any"


def linear_optimum(instance: Instance) -> float:
    table = instance.table
    jobs, sizes = table.values.shape
    return -linprog(
        -np.where(table.offered, table.values, 0.0).ravel(),
        A_ub=csr_matrix(table.usage.reshape(len(table.capacity), -1)),
        b_ub=table.capacity,
        A_eq=kron(eye(jobs), np.ones((1, sizes))),
        b_eq=np.ones(jobs),
        bounds=[(0, float(offered)) for offered in table.offered.ravel()],
        method="highs",
    ).fun


@settings(derandomize=True, max_examples=40, deadline=None)
@given(seeds, st.sampled_from([1, 3, 30, 100]), shapes)
def test_the_bound_is_that_of_the_linear_relaxation_and_never_below_it(seed, jobs, shape: Shape):
    instance = random_instance(seed, jobs=jobs, sizes=6, shape=shape)
    bound, optimum = relax(instance.table).bound, linear_optimum(instance)
    assert bound >= optimum * (1 - 1e-9)
    assert bound <= optimum * (1 + 1e-4)


def test_classes_of_nodes_are_limited_each_for_itself():
    either = (Choice((2, 0), 5.0), Choice((0, 2), 4.0), Choice((1, 1), 4.5))
    solution = solved(Instance([either] * 3, nodes=(4, 2)))
    assert solution.value == 14.0
    assert solution.nodes == (4, 2)
    assert solved(Instance([either] * 3, nodes=(6, 0))).chosen == (0, 0, 0)


def test_a_lower_power_cap_makes_jobs_smaller_and_a_higher_one_larger_again():
    sizes = tuple(Choice((n,), n**0.8, 100.0 * n) for n in range(1, 7))

    def nodes(cap_w):
        return solved(Instance([sizes] * 2, nodes=(12,), power_w=cap_w)).nodes

    assert [nodes(cap_w) for cap_w in (None, 900.0, 200.0, 1200.0)] == [(12,), (9,), (2,), (12,)]


def test_ten_thousand_jobs_that_are_all_alike_use_all_there_is():
    sizes = tuple(Choice((n,), n**0.9, 200.0 * n) for n in range(1, 17))
    instance = Instance([sizes] * 10_000, nodes=(54_321,), power_w=1e9)
    solution = solved(instance)
    assert solution.nodes == (54_321,)
    assert solution.gap < 1e-4


def test_values_may_be_negative_and_jobs_may_offer_one_size_only():
    instance = Instance([(Choice((3,), -2.0),), (Choice((1,), -1.0), Choice((2,), -0.5))], nodes=(4,))
    assert solved(instance) == solved(instance)
    assert solved(instance).chosen == (0, 0)
    assert (solved(instance).value, solved(instance).bound, solved(instance).gap) == (-3.0, -3.0, 0.0)


def test_no_jobs_need_nothing():
    assert solved(Instance([], nodes=(5,), power_w=10.0)) == Solution(chosen=(), nodes=(0,), power_w=0.0)


@pytest.mark.parametrize(
    ("instance", "why"),
    [
        (Instance([(Choice((3,), 1.0),)], (2,)), "no size of job 0 keeps to the limits by itself"),
        (
            Instance([(Choice((2,), 1.0),)] * 3, (5,)),
            "the smallest sizes need 6 nodes together, and there are 5",
        ),
        (
            Instance([(Choice((1,), 1.0, 60.0),)] * 2, (5,), 100.0),
            "the smallest sizes need 120 watts together, and there are 100",
        ),
        (
            Instance([(Choice((2, 0), 1.0), Choice((0, 2), 1.0))] * 3, (3, 3)),
            "no sizes were found that keep to the limits of nodes of class 0 and nodes of class 1 at once",
        ),
    ],
)
def test_where_nothing_fits_the_reason_is_said(instance, why):
    assert optimise(instance) == Infeasible(why, proven=True)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (([()], (1,)), "job 0 has no choice"),
        (([(Choice((1, 1), 1.0),)], (1,)), "other than 1 classes"),
        (([(Choice((1,), float("nan")),)], (1,)), "must be finite"),
        (([(Choice((-1,), 1.0),)], (1,)), "must not be negative"),
        (([(Choice((1,), 1.0),)], (-1,)), "limits must be finite and not negative"),
        (([(Choice((1,), 1.0),)], (1,), float("inf")), "limits must be finite and not negative"),
    ],
)
def test_an_instance_that_is_none_is_refused(arguments, why):
    with pytest.raises(ValueError, match=why):
        Instance(*arguments)


def hard_instance() -> Instance:
    """An instance whose search is cut short: many jobs that are nearly alike, and watts that never add up to the cap."""
    random = np.random.default_rng(5)
    offered = [
        tuple(Choice((n,), n + random.uniform(0, 0.01), 100.0 * n + random.uniform(0, 1)) for n in (3, 7, 11))
        for _ in range(300)
    ]
    return Instance(offered, nodes=(2000,), power_w=200_000.0)


@pytest.mark.parametrize("status", [Status.UNKNOWN, Status.INFEASIBLE])
def test_without_an_answer_of_the_solver_the_greedy_one_stands(status):
    greedy = solved(hard_instance())
    assert greedy.method == "greedy"
    assert solved(hard_instance(), limit_s=1.0, solve=lambda programs, limit_s: [Outcome(status)]) == greedy


def test_an_answer_of_the_solver_that_breaks_a_limit_is_not_taken():
    def all_largest(programs, limit_s):
        wanted = [float(column.objective > 5) for column in programs[0].columns]
        return [Outcome(Status.OPTIMAL, tuple(wanted))]

    assert solved(hard_instance(), limit_s=1.0, solve=all_largest) == solved(hard_instance())


def test_the_solver_is_not_asked_where_the_answer_is_proven():
    def unexpected(programs, limit_s):
        raise AssertionError("asked")

    solved(random_instance(1, jobs=4, sizes=4, shape="any"), limit_s=1.0, solve=unexpected)
