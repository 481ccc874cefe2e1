"""``python -m benchmarks.ahead``: what a program feels of a change when nearly all of its data is constant."""

from __future__ import annotations

from benchmarks import machine
from benchmarks.figures import Result, Spread, Table, Target
from benchmarks.report import command
from benchmarks.worlds import ElasticJob

METHOD = (
    "A program of one rank iterates (2 ms and an Allreduce), gets a second one, and loses it again. Its `constant=True` data, a "
    "dense array or a CSR matrix, moves while it computes; then the rank joins or leaves, and only the other array moves. What "
    "it feels is the longest of *all* iterations from the change before to some after this one, less a normal iteration: so "
    "the newcomer's connecting and the iterations during the move count too."
)
LIMITS = (
    "What moves ahead is taken in between iterations, in pieces of 4 MB; by ranks that compute, for a millisecond at most and "
    "the piece that is then on its way, so that a rank which stays and gets rows of 1000 MB needs a hundred iterations or more "
    "for them, however long these are. In the iteration in which ranks agree on the move nothing is taken in.",
    "The first change of a matrix also copies the arrays that the program has assigned to it, in pieces of 1 MB.",
    "Meanwhile a rank has its old rows and its new ones, no more (a test looks at its memory): old rows are in use until the "
    "end, and those that stay are there once. In a matrix that the program has just assigned they are there twice.",
    "A change at a certain iteration, and one because a node is taken away, do not wait: all moves in the stall.",
)


def measure(quick: bool) -> Result:
    """Measure what a program feels when constant data moves ahead."""
    turns, large = (1, 40.0) if quick else (7, 1000.0)
    cases = {
        "1 MB that changes": (1.0, 0.0, "dense"),
        f"1 MB that changes, {large:g} MB constant, dense: ahead": (1.0, large, "dense"),
        f"1 MB that changes, {large:g} MB constant, CSR: ahead": (1.0, large, "csr"),
        f"{large + 1:g} MB that change": (large + 1.0, 0.0, "dense"),
    }
    figures = {name: _Figures(*case, turns=turns) for name, case in cases.items()}
    tables = tuple(
        Table(
            f"{change}: the longest iteration around the change, less a normal one",
            ("data", "ms", "s from the order to the end"),
            tuple((name, each.felt[place], each.took[place]) for name, each in figures.items()),
            (f"In the first change of its kind, which is not among them, the CSR program felt {first:.3g} ms.",),
        )
        for place, (change, first) in enumerate(zip(CHANGES, figures[list(cases)[2]].first, strict=True))
    )
    alone, *ahead, _ = figures.values()
    targets = tuple(
        Target(
            f"{change}, {large:g} MB constant {kind} + 1 MB: felt, as a multiple of 1 MB alone",
            each.felt[place].median / alone.felt[place].median,
            2.0,
        )
        for place, change in enumerate(CHANGES)
        for kind, each in zip(("dense", "CSR"), ahead, strict=True)
    )
    return Result("ahead", "Constant data moves ahead", METHOD, machine.describe(), tables, targets, LIMITS)


CHANGES = ("1 to 2 ranks", "2 to 1 ranks")


class _Figures:
    """What each of the two changes made a program feel, in ms, and how long it took from order to end, in s.

    Attributes
    ----------
    first
        What was felt of the first changes, which get the machine its memory and are not among the others.
    """

    def __init__(self, megabytes: float, constant: float, kind: str, *, turns: int) -> None:
        arguments = ["--megabytes", megabytes, "--constant-megabytes", constant, "--kind", kind]
        took = []
        with ElasticJob("elastic", *arguments, ranks=1, options=("--interval=20",)) as job:
            job.wait_for("sample")
            for _ in range(turns + 1):
                for sign in "+-":
                    begun = job.wait_for("sample")["time"]
                    record = job.change(f"6:node2:{sign}1")
                    took.append(record["time"] - begun)
                    for _ in range(2):
                        job.wait_for("sample")
            job.stop()
            longest = [1e3 * record["longest_s"] for record in job.finish()]
        self.first = longest[:2]
        self.felt = [Spread.of(longest[2 + place :: 2]) for place in range(2)]
        self.took = [Spread.of(took[2 + place :: 2]) for place in range(2)]


if __name__ == "__main__":
    command(measure)()
