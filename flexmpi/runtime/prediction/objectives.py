"""The policies that choose a job's ranks by prediction: which alternative is wanted, and whether it is worth the change.

Pure: alternatives in, a decision with its line out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from flexmpi.models.estimate import Refusal
from flexmpi.runtime.prediction.alternatives import Alternative

AS_FAST = 0.01
"""Alternatives that differ by no more than this, relative, are as fast as each other."""

LONG = 10.0
"""A change that saves no time is worth it only where so many times what it takes is still to come."""

Objective = Callable[["Question"], "Choice | Refusal"]


@dataclass(frozen=True)
class Question:
    """What a policy decides by.

    Attributes
    ----------
    present
        The job as it is.
    others
        What it could be, and is known well enough.
    objective, threshold
        The policy's numbers.
    left_s
        Until the job should have ended, where the objective is a time.
    """

    present: Alternative
    others: tuple[Alternative, ...]
    objective: float
    threshold: float
    left_s: float

    @property
    def all(self) -> tuple[Alternative, ...]:
        """The present one and the others."""
        return (self.present, *self.others)

    @property
    def in_time(self) -> list[Alternative]:
        """Those that end before `left_s` is over."""
        return [each for each in self.all if each.finish_s.value <= self.left_s]

    @property
    def fastest(self) -> Alternative:
        """The one that ends first."""
        return min(self.all, key=lambda each: each.finish_s.value)


@dataclass(frozen=True)
class Choice:
    """What a policy wants.

    Attributes
    ----------
    wanted
        What it looked for, in words.
    best
        What comes nearest to that.
    gain
        How much better that is than the present one, in words with a unit.
    is_worth_it
        Whether the gain is more than the threshold, and than what the change costs.
    """

    wanted: str
    best: Alternative
    gain: str
    is_worth_it: bool


@dataclass(frozen=True)
class Decision:
    """What a policy has come to after an interval.

    Attributes
    ----------
    changes
        The change of ranks on each node; empty where nothing is to be done.
    line
        Predicted now, wanted, chosen, predicted gain and cost, for a person to read.
    record
        The same as JSON values.
    """

    changes: Mapping[str, int]
    line: str
    record: Mapping[str, Any] = field(default_factory=dict)


def performance(question: Question) -> Choice:
    """Finish in time with as little as possible: the cheapest of those that do, and of equally cheap ones the fastest.

    Where nothing is in time the fastest is wanted. An alternative is never refused for being faster than asked for, as the
    original does. What is cheap is the price a second; where there are no prices every rank costs the same.
    """
    wanted = f"to finish within {question.left_s:.4g} s"
    present, in_time = question.present, question.in_time
    if present not in in_time:
        return _earlier(question, wanted, min(in_time, key=_cheapness) if in_time else question.fastest)
    best = min(in_time, key=_cheapness)
    unit = "ranks" if isinstance(present.rate, Refusal) else "of the price a second"
    return _less(question, wanted, best, unit, _rate(present), _rate(best))


def cost(question: Question) -> Choice | Refusal:
    """Finish in time at the lowest price; where nothing is in time the fastest is wanted."""
    prices = [each.price for each in question.all]
    if (refusal := _refusal(prices)) is not None:
        return refusal
    wanted = f"the lowest price that finishes within {question.left_s:.4g} s"

    def price(each: Alternative) -> tuple[float, float]:
        return _known(each.price), each.finish_s.value

    in_time = question.in_time
    if question.present not in in_time:
        return _earlier(question, wanted, min(in_time, key=price) if in_time else question.fastest)
    best = min(in_time, key=price)
    return _less(question, wanted, best, "of the price", _known(question.present.price), _known(best.price))


def energy(question: Question) -> Choice | Refusal:
    """Use the least energy of all that take at most a fraction longer than the fastest."""
    if (refusal := _refusal([each.energy_j for each in question.all])) is not None:
        return refusal
    limit_s = question.fastest.finish_s.value * (1 + question.objective)
    wanted = f"the least energy at most {100 * question.objective:.3g} % slower than the fastest ({limit_s:.4g} s)"
    allowed = [each for each in question.all if each.finish_s.value <= limit_s]
    best = min(allowed, key=lambda each: (_known(each.energy_j), each.finish_s.value))
    if question.present not in allowed:
        return _faster(question, wanted, best)
    return _less(question, wanted, best, "J", _known(question.present.energy_j), _known(best.energy_j))


def performance_per_watt(question: Question) -> Choice | Refusal:
    """Do the most iterations with a joule, however long they take."""
    if (refusal := _refusal([each.power_w for each in question.all])) is not None:
        return refusal
    best = min(question.all, key=_joules)
    present_j, best_j = _joules(question.present), _joules(best)
    return _less(question, "the most iterations for a joule", best, "J an iteration", present_j, best_j)


def speedup(question: Question) -> Choice:
    """Be as fast as possible while ranks keep working for each other's worth: their efficiency stays above the objective.

    The efficiency is that of the layout's computing power against the alternative with the least: ``t₀ S₀ / (t S)``.
    """
    smallest = min(question.all, key=lambda each: each.layout.power)
    work = smallest.iteration_s * smallest.layout.power

    def efficiency(each: Alternative) -> float:
        return work / max(each.iteration_s * each.layout.power, 1e-300)

    wanted = f"the fastest with an efficiency of {question.objective:.3g} or more"
    efficient = [each for each in question.all if each is smallest or efficiency(each) >= question.objective]
    shortest_s = min(each.iteration_s for each in efficient)
    as_fast = [each for each in efficient if each.iteration_s <= shortest_s * (1 + AS_FAST)]
    best = min(as_fast, key=lambda each: (_rate(each), sum(map(abs, each.changes.values()))))
    if question.present not in efficient:
        gain = f"efficiency {efficiency(best):.3g} in place of {efficiency(question.present):.3g}"
        return Choice(wanted, best, gain, is_worth_it=question.present.finish_s.value > LONG * best.change_s)
    return _faster(question, wanted, best)


OBJECTIVES: Mapping[str, Objective] = {
    "performance": performance,
    "cost": cost,
    "energy": energy,
    "performance-per-watt": performance_per_watt,
    "speedup": speedup,
}


def _joules(each: Alternative) -> float:
    return each.iteration_s * _known(each.power_w.value if not isinstance(each.power_w, Refusal) else each.power_w)


def _rate(each: Alternative) -> float:
    return float(each.ranks) if isinstance(each.rate, Refusal) else each.rate


def _known(figure: float | Refusal) -> float:
    """Return a figure of which `_refusal` has said that it is known."""
    assert not isinstance(figure, Refusal)
    return figure


def _refusal(figures: Sequence[object]) -> Refusal | None:
    return next((figure for figure in figures if isinstance(figure, Refusal)), None)


def _cheapness(each: Alternative) -> tuple[float, float]:
    return _rate(each), each.finish_s.value


def _earlier(question: Question, wanted: str, best: Alternative) -> Choice:
    """Want an alternative because the present one is late; worth it if it is late by more than the threshold of the time left.

    So a job may be late by a little for a while, but less and less the nearer its end comes. What is saved, the change already
    counted, must also be more than the change takes once more: near the end nothing is started for nothing.
    """
    saved_s = question.present.finish_s.value - best.finish_s.value
    late_s = question.present.finish_s.value - question.left_s
    is_worth_it = saved_s > best.change_s and late_s > question.threshold * max(0.0, question.left_s)
    return Choice(wanted, best, f"{saved_s:.3g} s", is_worth_it)


def _faster(question: Question, wanted: str, best: Alternative) -> Choice:
    """Want an alternative for its speed; worth it if it saves more than the threshold of what is left, and than it takes."""
    saved_s = question.present.finish_s.value - best.finish_s.value
    is_worth_it = saved_s > max(best.change_s, question.threshold * question.present.finish_s.value)
    return Choice(wanted, best, f"{saved_s:.3g} s", is_worth_it)


def _less(question: Question, wanted: str, best: Alternative, unit: str, now: float, then: float) -> Choice:
    """Want an alternative because it needs less of something; worth it if it saves more than the threshold of that."""
    is_worth_it = now - then > question.threshold * now and question.present.finish_s.value > LONG * best.change_s
    return Choice(wanted, best, f"{now - then:.3g} {unit}", is_worth_it)


def decide(
    policy: str, known: Sequence[Alternative], *, objective: float, threshold: float, elapsed_s: float
) -> Decision | Refusal:
    """Decide what a job becomes.

    Parameters
    ----------
    policy
        One of `OBJECTIVES`.
    known
        The alternatives, the present one first.
    objective, threshold
        The policy's numbers; an objective that is a time counts from the job's start.
    elapsed_s
        Since then.

    Returns
    -------
    Decision
        With changes if there is something to do; a refusal where a figure that the policy needs is not known.
    """
    present = known[0]
    others = tuple(each for each in known[1:] if each.is_trusted)
    question = Question(present, others, objective, threshold, left_s=objective - elapsed_s)
    choice = OBJECTIVES[policy](question)
    if isinstance(choice, Refusal):
        return choice
    acts = choice.is_worth_it and choice.best is not present
    return Decision(choice.best.changes if acts else {}, _line(policy, present, choice, acts), _record(present, choice))


def grow_where_it_gains(parts: Sequence[Alternative], present: Alternative, *, wanted: str) -> Decision:
    """Decide how much of a planned growth happens: as much as makes the job end first, possibly nothing.

    The original's condition (its policy MALLEABILITY_COND), with what the change takes in the predicted end.

    Parameters
    ----------
    parts
        The change with none of its new ranks, with one, and so on.
    present
        The job as it is.
    wanted
        The planned change in words.
    """
    best = min(parts, key=lambda each: each.finish_s.value)
    gain_s = parts[0].finish_s.value - best.finish_s.value
    choice = Choice(wanted, best, f"{gain_s:.3g} s", is_worth_it=best is not present)
    line = _line("schedule", present, choice, choice.is_worth_it)
    return Decision(best.changes, line, _record(present, choice))


def _line(policy: str, present: Alternative, choice: Choice, acts: bool) -> str:
    now = f"now {_shown(present)}; wanted {choice.wanted}"
    if choice.best is present:
        return f"Policy {policy}: {now}; keeps this"
    chosen = f"{_shown(choice.best)} ({_shown_changes(choice.best.changes)})"
    cost = choice.best.cost
    price = f"gain {choice.gain}, cost {cost.start_s.value:.2g} s of starting and {cost.stall_s.value:.2g} s of standing still"
    declared = " (declared)" if "declared" in (cost.start_s.source, cost.stall_s.source) else ""
    verb = "chosen" if acts else "not worth a change:"
    return f"Policy {policy}: {now}; {verb} {chosen}: {price}{declared}"


def _shown(each: Alternative) -> str:
    total_s = each.iteration.total_s
    parts = [
        f"{each.ranks} rank{'s' if each.ranks > 1 else ''}",
        f"{_seconds(total_s.value)} ± {_seconds(total_s.error)} an iteration",
    ]
    parts.append(f"{each.finish_s.value:.4g} s to go")
    if not isinstance(each.rate, Refusal):
        parts.append(f"price {each.rate * each.finish_s.value:.4g}")
    if not isinstance(each.power_w, Refusal):
        parts.append(f"{each.power_w.value:.4g} W{' (declared)' if each.power_w.source == 'declared' else ''}")
    return ", ".join(parts) + (f" ({each.iteration.caveat})" if each.iteration.caveat else "")


def _seconds(value: float) -> str:
    return f"{value:.3g} s" if value >= 1 else f"{1e3 * value:.3g} ms" if value >= 1e-3 else f"{1e6 * value:.3g} us"


def _shown_changes(changes: Mapping[str, int]) -> str:
    return ", ".join(f"{change:+d} on {node}" for node, change in changes.items())


def _record(present: Alternative, choice: Choice) -> dict[str, Any]:
    return {
        "now": _figures(present),
        "wanted": choice.wanted,
        "chosen": _figures(choice.best),
        "gain": choice.gain,
        "worth_it": choice.is_worth_it and choice.best is not present,
    }


def _figures(each: Alternative) -> dict[str, Any]:
    """Return an alternative as JSON values; None for what is not known."""
    total_s = each.iteration.total_s
    return {
        "ranks": each.ranks,
        "nodes": each.layout.nodes,
        "changes": dict(each.changes),
        "iteration_s": total_s.value,
        "error_s": total_s.error,
        "to_go_s": each.finish_s.value,
        "price": None if isinstance(each.price, Refusal) else each.price,
        "power_w": None if isinstance(each.power_w, Refusal) else each.power_w.value,
        "energy_j": None if isinstance(each.energy_j, Refusal) else each.energy_j,
        "start_s": each.cost.start_s.value,
        "stall_s": each.cost.stall_s.value,
        "bytes": each.resize.size_bytes,
    }
