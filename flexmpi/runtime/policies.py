"""The policies inside a job (command 1): what it does by itself at the end of a sampling interval.

Pure: a policy turns the latest interval into a wish; the supervisor carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from flexmpi.errors import CommandError
from flexmpi.runtime.balance import Hysteresis
from flexmpi.runtime.report import IntervalReport

POLICIES = {
    "triggered": "changes only by commands",
    "schedule": "changes by the schedule file, and by commands",
    "balance": "balances the load by itself, and changes by commands",
    "monitor": "prints every rank's figures after each interval, and changes by commands",
}
ALIASES = {
    "empi_monitor_malleability_triggered": "triggered",
    "malleability_triggered": "triggered",
    "malleability_trig": "triggered",
    "null": "triggered",
    "malleability": "schedule",
    "lbalance": "balance",
    "monitordbg": "monitor",
}
"""The original's names; it has none to command that leads back to ``triggered``, so all that it prints are taken."""


@dataclass(frozen=True)
class JobPolicy:
    """The policy in force, and what it remembers.

    Attributes
    ----------
    name
        One of `POLICIES`.
    hysteresis
        How patient ``balance`` is.
    """

    name: str = "triggered"
    hysteresis: Hysteresis = field(default_factory=Hysteresis)

    @classmethod
    def named(cls, name: str, *, objective: float | None = None, threshold: float | None = None) -> JobPolicy:
        """Return a policy by its name or by the original's, in any mixture of capitals.

        Parameters
        ----------
        name
            The policy.
        objective
            None of these policies has one; 0 stands for none where a threshold follows it.
        threshold
            The imbalance from which ``balance`` acts.

        Raises
        ------
        CommandError
            There is no such policy, or it does not take such a number.
        """
        known = ALIASES.get(name.lower(), name.lower())
        if known not in POLICIES:
            raise CommandError(f"unknown policy {name!r} (there are {', '.join(POLICIES)})")
        if objective:
            raise CommandError(f"policy {known} has no objective, got {objective:g}")
        if threshold is None:
            return cls(known)
        if known != "balance":
            raise CommandError(f"policy {known} has no threshold, got {threshold:g}")
        if threshold <= 0:
            raise CommandError(f"the threshold of policy balance must be positive, got {threshold:g}")
        return cls(known, Hysteresis(threshold=threshold))

    def summary(self) -> str:
        """Say what it does, for the reply to whoever put it in force."""
        how = (
            f" (from an imbalance of {self.hysteresis.threshold:g} in {self.hysteresis.patience} intervals in a row on)"
        )
        return f"{self.name}: {POLICIES[self.name]}{how if self.name == 'balance' else ''}"

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
