"""The policies inside a job (command 1, ``--policy``): what it does by itself at the end of a sampling interval.

Pure, and without numpy: a policy's name and numbers, and when ``balance`` acts. What the policies that predict want is in
``objectives``, which is loaded with the first of them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from math import isfinite

from flexmpi.errors import CommandError
from flexmpi.runtime.job.balance import Hysteresis
from flexmpi.runtime.job.measurements import IntervalReport

POLICIES = {
    "triggered": "changes only by commands",
    "schedule": "changes by the schedule file, and by commands",
    "balance": "balances the load by itself, and changes by commands",
    "monitor": "prints every rank's figures after each interval, and changes by commands",
    "performance": "has as few ranks, or as cheap ones, as finish in time",
    "cost": "finishes in time at the lowest price",
    "energy": "uses the least energy, a little slower than it could be",
    "performance-per-watt": "does the most iterations for a joule",
    "speedup": "is as fast as it can be while its ranks stay efficient",
}
ALIASES = {
    "empi_monitor_malleability_triggered": "triggered",
    "malleability_triggered": "triggered",
    "malleability_trig": "triggered",
    "null": "triggered",
    "malleability": "schedule",
    "malleability_cond": "schedule",
    "lbalance": "balance",
    "monitordbg": "monitor",
    "efficiency": "performance",
    "efficiency_irr": "performance",
    "cost_irr": "cost",
}
"""The original's names; it has none to command that leads back to ``triggered``, so all that it prints are taken."""

SOONER = frozenset({"efficiency_irr", "cost_irr"})
"""Those of which the objective is no time, but how much sooner than without a change the job is to finish."""

CONDITIONAL = "malleability_cond"
"""Follows the schedule, but grows only by as many ranks as are predicted to gain."""

PREDICTION_THRESHOLD = 0.05
"""A change must gain more than this part of what it improves."""


@dataclass(frozen=True)
class Number:
    """What a policy's objective is.

    Attributes
    ----------
    meaning
        For messages, with its unit.
    default
        None where it has to be given.
    most, includes_zero
        Its bounds: above 0, or from 0 on.
    """

    meaning: str
    default: float | None
    most: float
    includes_zero: bool = False

    def checked(self, policy: str, value: float | None) -> float:
        """Return the number, or its default; CommandError if it is not one that the policy takes."""
        if value is None:
            if self.default is None:
                raise CommandError(f"policy {policy} needs an objective: {self.meaning}")
            return self.default
        if value > self.most or value < 0 or (value == 0 and not self.includes_zero):
            raise CommandError(f"the objective of policy {policy} is {self.meaning}, got {value:g}")
        return value


_SOONER = Number(
    "how much sooner than without changes it is to finish, a fraction below 1 or else per cent, above 0 and below 100",
    None,
    most=99.9,
)
_TIME = Number("the seconds from its start in which the job is to finish, above 0", None, most=1e12)
OBJECTIVES: Mapping[str, Number | None] = {
    "performance": _TIME,
    "cost": _TIME,
    "energy": Number(
        "how much longer than the fastest it may take, as a fraction from 0 on", 0.1, 1e3, includes_zero=True
    ),
    "performance-per-watt": None,
    "speedup": Number("the least efficiency of its ranks, above 0 and at most 1", 0.7, most=1.0),
}
"""The policies that predict, and what their objectives are."""


@dataclass(frozen=True)
class JobPolicy:
    """The policy in force, and what it remembers.

    Attributes
    ----------
    name
        One of `POLICIES`.
    objective, threshold
        Of a policy that predicts: its aim, and the part of what it improves that a change must gain.
    sooner
        The objective is the part of the time to go that is to be saved.
    conditional
        The schedule's growth happens only as far as it is predicted to gain.
    hysteresis
        How patient ``balance`` is.
    """

    name: str = "triggered"
    objective: float = 0.0
    threshold: float = PREDICTION_THRESHOLD
    sooner: bool = False
    conditional: bool = False
    hysteresis: Hysteresis = field(default_factory=Hysteresis)

    @classmethod
    def named(cls, name: str, *, objective: float | None = None, threshold: float | None = None) -> JobPolicy:
        """Return a policy by its name or by the original's, in any mixture of capitals.

        Parameters
        ----------
        name
            The policy.
        objective
            Its aim, as `OBJECTIVES` says; 0 stands for none where the policy has none and a threshold follows.
        threshold
            The imbalance from which ``balance`` acts, or what a change must gain, as a fraction.

        Raises
        ------
        CommandError
            There is no such policy, or it does not take such a number.
        """
        known = ALIASES.get(name.lower(), name.lower())
        if known not in POLICIES:
            raise CommandError(f"unknown policy {name!r} (there are {', '.join(POLICIES)})")
        if known in OBJECTIVES:
            return cls._predicting(known, objective, threshold, sooner=name.lower() in SOONER)
        if objective:
            raise CommandError(f"policy {known} has no objective, got {objective:g}")
        if threshold is None:
            return cls(known, conditional=name.lower() == CONDITIONAL)
        if known != "balance":
            raise CommandError(f"policy {known} has no threshold, got {threshold:g}")
        if threshold <= 0:
            raise CommandError(f"the threshold of policy balance must be positive, got {threshold:g}")
        return cls(known, hysteresis=Hysteresis(threshold=threshold))

    @classmethod
    def _predicting(cls, name: str, objective: float | None, threshold: float | None, *, sooner: bool) -> JobPolicy:
        number = _SOONER if sooner else OBJECTIVES[name]
        if number is None and objective:
            raise CommandError(f"policy {name} has no objective, got {objective:g}")
        if threshold is not None and not 0 <= threshold < 1:
            raise CommandError(
                f"the threshold of policy {name} is a fraction, 0 or more and below 1, got {threshold:g}"
            )
        aim = 0.0 if number is None else number.checked(name, objective)
        if sooner and aim >= 1:
            aim /= 100
        return cls(name, aim, PREDICTION_THRESHOLD if threshold is None else threshold, sooner)

    @classmethod
    def parse(cls, text: str) -> JobPolicy:
        """Read ``NAME[:OBJECTIVE[:THRESHOLD]]``.

        Raises
        ------
        CommandError
            It is not such a text, or as for `named`.
        """
        name, *numbers = text.split(":")
        try:
            figures = [float(number) for number in numbers]
        except ValueError:
            figures = []
        if len(numbers) > 2 or len(figures) != len(numbers) or not all(map(isfinite, figures)):
            raise CommandError(f"a policy is NAME[:OBJECTIVE[:THRESHOLD]] with decimal numbers, got {text!r}")
        return cls.named(name, **dict(zip(("objective", "threshold"), figures, strict=False)))

    @property
    def predicts(self) -> bool:
        """Whether it chooses the job's ranks by what models predict."""
        return self.name in OBJECTIVES

    @property
    def learns(self) -> bool:
        """Whether it needs the models."""
        return self.predicts or self.conditional

    def summary(self) -> str:
        """Say what it does, for the reply to whoever put it in force."""
        if self.name == "balance":
            imbalance, patience = self.hysteresis.threshold, self.hysteresis.patience
            return f"balance: {POLICIES['balance']} (from an imbalance of {imbalance:g} in {patience} intervals in a row on)"
        if not self.predicts:
            condition = "; grows only by as many ranks of a line as are predicted to gain" if self.conditional else ""
            return f"{self.name}: {POLICIES[self.name]}{condition}"
        number = OBJECTIVES[self.name]
        aim = "" if number is None else f"objective {self.objective:g}, "
        if self.sooner:
            aim = f"objective {100 * self.objective:g} % sooner than without changes, "
        return f"{self.name}: {POLICIES[self.name]} ({aim}threshold {self.threshold:g})"

    def after(self, latest: IntervalReport) -> JobPolicy:
        """Return the policy after one more interval."""
        return replace(self, hysteresis=self.hysteresis.after(latest.busy_s)) if self.name == "balance" else self

    @property
    def wants_balance(self) -> bool:
        """Whether the load is to be balanced now."""
        return self.name == "balance" and self.hysteresis.acts

    def acted(self) -> JobPolicy:
        """Return the policy after its wish was carried out: patience begins anew."""
        return replace(self, hysteresis=replace(self.hysteresis, seen=0))
