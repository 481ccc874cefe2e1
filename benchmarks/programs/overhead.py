"""The same loop with and without FlexMPI, in turns: what an iteration takes. Rank 0 prints a JSON line for each length."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from time import perf_counter

import numpy as np
from mpi4py import MPI

import flexmpi

parser = argparse.ArgumentParser()
parser.add_argument("--lengths-us", type=float, nargs="*", default=[])
parser.add_argument("--turn-s", type=float, required=True)
parser.add_argument("--turns", type=int, required=True)
parser.add_argument("--every", type=int, default=0)
parser.add_argument("--calls", type=int, default=0)
options = parser.parse_args()

vector = np.ones(256)


def work(repetitions: int) -> None:
    for _ in range(repetitions):
        vector.dot(vector)


def repetitions_for(length_us: float) -> int:
    """Calibrate: how often the smallest piece of work fits in, on this quiet a machine."""
    best = min(measured(range(20), 1000) for _ in range(5)) / 1000
    return max(1, round(length_us * 1e-6 / best))


def measured(iterations: Iterable[int], repetitions: int) -> float:
    """Return the seconds an iteration takes."""
    MPI.COMM_WORLD.Barrier()
    count, start = 0, perf_counter()
    for _ in iterations:
        if repetitions:
            work(repetitions)
        count += 1
    MPI.COMM_WORLD.Barrier()
    return (perf_counter() - start) / count


def per_call(comm: MPI.Intracomm, calls: int) -> dict[str, float]:
    """Return the seconds of some calls on one rank."""
    sent, received = np.zeros(1), np.zeros(1)

    def sendrecv() -> None:
        comm.Sendrecv(sent, 0, recvbuf=received, source=0)

    def exchange() -> None:
        request = comm.Irecv(received, 0)
        comm.Send(sent, 0)
        request.Wait()

    times = {}
    for name, call in {
        "Allreduce": lambda: comm.Allreduce(sent, received),
        "Sendrecv": sendrecv,
        "exchange": exchange,
    }.items():
        start = perf_counter()
        for _ in range(calls):
            call()
        times[name] = (perf_counter() - start) / calls
    return times


def agreement_times(flex: flexmpi.Session, repetitions: int, every: int, agreements: int) -> list[float]:
    """Return the seconds from the end of an iteration to the begin of the next where an agreement point lies between."""
    begins, ends, total, one = [], [], np.zeros(1), np.ones(1)
    for _ in flex.iterate(every * agreements):
        begins.append(perf_counter())
        work(repetitions)
        # Keeps the ranks together, so that waiting for each other is not taken for the agreement's own time.
        flex.comm.Allreduce(one, total)
        ends.append(perf_counter())
    between = np.array(begins[1:]) - np.array(ends[:-1])
    return [float(gap) for gap in between[every - 1 :: every]]


world = MPI.COMM_WORLD
# While a session is open all communicators are timed.
plain_calls = [per_call(world, options.calls) for _ in range(options.turns if options.calls else 0)]
with flexmpi.session() as flex:
    for length_us in options.lengths_us:
        repetitions = world.bcast(repetitions_for(length_us) if length_us else 0)
        if options.every:
            gaps = agreement_times(flex, repetitions, options.every, options.turns)
            if world.rank == 0:
                print(json.dumps({"length_us": length_us, "ranks": world.size, "agreement_s": gaps}))
            continue
        wanted = max(5, round(options.turn_s / max(length_us * 1e-6, 2e-7)))
        plain, elastic = [], []
        for _ in range(options.turns):
            plain.append(measured(range(wanted), repetitions))
            elastic.append(measured(flex.iterate(wanted), repetitions))
        if world.rank == 0:
            print(json.dumps({"length_us": length_us, "ranks": world.size, "plain_s": plain, "elastic_s": elastic}))
    if options.calls and world.size == 1:
        timed_calls = []
        for turn in flex.iterate(options.turns + 1):
            # In the first iteration behind an agreement point calls are counted, too.
            if turn:
                timed_calls.append(per_call(flex.comm, options.calls))
        for name in plain_calls[0]:
            figures = {"plain_s": [turn[name] for turn in plain_calls], "timed_s": [turn[name] for turn in timed_calls]}
            print(json.dumps({"call": name, **figures}))
