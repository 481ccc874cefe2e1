"""The prediction of the original FlexMPI, in C, to compare with: its formulas and its constants.

Read from its source; it has a mistake that is corrected here, in its favour: ``(p - 1) / p`` is an integer division there, so
that no collective has a term for its bytes. Where it would count floating point operations, computing time stands in:
without hardware counters it predicts nothing at all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import floor, log2

from flexmpi.models.observation import Observation, Operation

LATENCY_S = 34e-6
BIT_S = 1 / 2834e6
REDUCTION_S = 2e-9


def predict_s(seen: Sequence[Observation], ranks: int) -> float:
    """Return the seconds of an iteration on another number of equal ranks.

    Parameters
    ----------
    seen
        The intervals in the present layout, the latest last; two at least.
    ranks
        The number of ranks to predict for.
    """
    before, latest = seen[-2:]
    present = latest.layout.ranks
    # Linear trend of the operations of an interval; their rate is that of the present ranks, and in proportion to ranks.
    work = 2 * latest.computation_s - before.computation_s
    measured = _model_s(latest.operations, present)
    # On one rank its model is 0 and the factor a division by 0; then nothing is corrected.
    factor = latest.communication_s / measured if measured > 0 else 1.0
    return max(0.0, work) * present / ranks + factor * _model_s(latest.operations, ranks)


def _model_s(operations: Mapping[str, Operation], ranks: int) -> float:
    return sum(_call_s(name, each, ranks) for name, each in operations.items())


def _call_s(name: str, operation: Operation, ranks: int) -> float:
    """Return the seconds of a class of calls; bits are those of all its calls together."""
    bits, calls = 8 * operation.size_bytes, operation.calls
    rounds, part = log2(ranks), (ranks - 1) / ranks
    is_power = ranks & (ranks - 1) == 0
    match name:
        case "broadcast":
            return rounds * (calls * LATENCY_S + bits * BIT_S)
        case "gathering":
            return (rounds if is_power else ranks - 1) * calls * LATENCY_S + bits * part * BIT_S
        case "reduction":
            steps = 2 * rounds if is_power else 2 * floor(rounds + 2)
            return steps * calls * LATENCY_S + 2 * bits * part * BIT_S + bits * part * REDUCTION_S
        case "all-to-all":
            return rounds * (calls * LATENCY_S + bits / 2 * BIT_S)
        case "barrier":
            return (ranks - 1) * calls * LATENCY_S
        case "point-to-point":
            return calls * LATENCY_S + bits * BIT_S
        case _:
            return 0.0
