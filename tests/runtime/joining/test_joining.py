"""Ranks join and leave real applications: what every rank then holds, who parks, and who is refused."""

from __future__ import annotations

import os
import re
import runpy
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse
import scipy.sparse.linalg
from numpy.typing import NDArray

from tests.applications import PROGRAMS, REPOSITORY, Application, wait_until

Start = Callable[..., Application]
EXAMPLES = REPOSITORY / "examples"


@pytest.fixture
def corefile(tmp_path: Path) -> Path:
    """Declare three virtual nodes of four cores."""
    path = tmp_path / "three.core"
    path.write_text(
        "".join(f"n{number}:4:{alias}:100:1000\n" for number, alias in enumerate(["lhost", "node2", "node3"]))
    )
    return path


def ended_well(application: Application, *, errors: str = "") -> str:
    """Wait for the end, with one line of errors or none, and return what was printed."""
    status, output, said = application.finish()
    # UCX, below MPI, has its say on connections that were given up, and on network interfaces that come and go.
    said = "".join(line for line in said.splitlines(keepends=True) if " UCX  " not in line)
    assert status == 0 and errors in said and said.count("\n") == bool(errors), said
    return output


class Contract:
    """An application whose every rank checks all it holds in every iteration; ``tests/programs/contract.py``."""

    def __init__(self, start: Start, corefile: Path, *options: str, program_options: tuple[str, ...] = ()) -> None:
        self.stop = corefile.with_name("stop")
        program = (PROGRAMS / "contract.py", f"--until={self.stop}", *program_options)
        self.application = start(f"--corefile={corefile}", "--interval=0.02s", "--quiet", *options, *program)
        self.application.wait_for("loop")

    def change(self, command: str) -> tuple[int, int]:
        """Change ranks and return how many ranks and nodes there are then."""
        done = self.application.change(command)
        assert done["outcome"] == "done", done
        return done["ranks_after"], done["nodes_after"]

    def end(self, *, errors: str = "") -> tuple[int, list[int]]:
        """Return how many changes the last rank 0 has seen, and the processes that unwound."""
        self.stop.touch()
        output = ended_well(self.application, errors=errors)
        right = re.search(r"all was right for \d+ iterations, (\d+) changes", output)
        assert right, output
        return int(right[1]), [int(pid) for pid in re.findall(r"unwound: pid (\d+)", output)]


def test_a_newcomer_gets_its_part_of_everything(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n1")
    assert contract.change("6:lhost:1") == (2, 1)
    assert contract.end()[0] == 1


def test_the_bytes_of_a_change_are_all_that_went_from_a_rank_to_another(start: Start, corefile: Path) -> None:
    # 1000 rows of five floats and a counter, of which half go to the newcomer, and come back when it leaves.
    counting = (PROGRAMS / "counting.py", "--pause=0.002")
    application = start(f"--corefile={corefile}", "-n1", "--interval=0.05s", "--quiet", *counting)
    application.wait_for("loop")
    # The newcomer has half of the rows, and a copy of the table.
    assert application.change("6:lhost:1")["bytes"] == 500 * 6 * 8 + 7 * 8
    assert application.change("6:lhost:-1")["bytes"] == 500 * 6 * 8
    application.send("5:")
    application.finish()


def test_three_process_sets_on_two_nodes_join_in_one_move(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n1")
    done = contract.application.change("6:lhost:1:node2:2:node3:1")
    assert (done["outcome"], done["ranks_before"], done["ranks_after"]) == ("done", 1, 5)
    assert (done["nodes_before"], done["nodes_after"]) == (1, 3)
    assert contract.end()[0] == 1, "rows must move once for all newcomers"


def test_eight_process_sets_find_each_other_whoever_is_first(start: Start, tmp_path: Path) -> None:
    corefile = tmp_path / "nine.core"
    corefile.write_text("".join(f"n{number}:1\n" for number in range(9)))
    contract = Contract(start, corefile, "-n1", "--ready-timeout=120")
    assert contract.change("6:" + ":".join(f"n{number}:1" for number in range(1, 9))) == (9, 9)
    assert contract.end()[0] == 1


def test_founders_leave_and_the_last_rank_grows_again(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n2")
    founders = set(contract.application.rank_pids())
    assert contract.change("6:node2:1") == (3, 2)
    assert contract.change("6:lhost:-2") == (1, 1)
    wait_until(lambda: not founders & set(contract.application.rank_pids()), what="the founders' processes have ended")
    assert len(founders) == 2 and len(contract.application.rank_pids()) == 1
    assert contract.change("6:lhost:1:node3:1") == (3, 3)
    changes, unwound = contract.end()
    assert changes == 3
    assert len(unwound) == 5 and founders <= set(unwound), "a leaving rank runs its finally blocks"


def test_some_ranks_leave_a_node_while_others_join_on_another(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n2")
    assert contract.change("6:lhost:-1:node2:2") == (3, 2)
    assert contract.change("6:node2:-1:lhost:1") == (3, 2)
    assert contract.change("6:lhost:-2:node2:-1:node3:1") == (1, 1), "none of the ranks before is there afterwards"
    contract.end()


def test_a_rank_that_leaves_alone_is_parked_and_joins_again_at_once(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n3")
    pids = contract.application.rank_pids()
    assert contract.change("6:lhost:-2") == (1, 1)
    again = contract.application.change("6:lhost:1")
    assert again["outcome"] == "done"
    assert contract.application.rank_pids() == pids, "no process is started for a parked rank"
    changes, unwound = contract.end()
    assert changes == 3
    assert sorted(unwound) == sorted(pids), "the rank that is still parked is released at the end"


def test_parking_again_and_again_leaves_the_stack_and_the_data_as_they_are(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n2", "--interval=1")
    pids = contract.application.rank_pids()
    for _ in range(40):
        assert contract.change("6:lhost:-1") == (1, 1)
        assert contract.change("6:lhost:1") == (2, 1)
    assert contract.application.rank_pids() == pids
    assert contract.end()[0] == 81, "rows move when the loop begins, and in every change"


def test_newcomers_that_come_too_late_are_dropped(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n1", "--interval=1000000")
    assert contract.application.send("6:lhost:1").startswith("ok: reconfiguration 1")
    contract.stop.touch()
    dropped = contract.application.wait_for("reconfiguration", id=1)
    assert (dropped["outcome"], dropped["why"]) == ("failed", "the application ended first")
    contract.end(errors=dropped["why"])


STOPPED = r"no new rank connected within 3 s|1 of 1 new ranks did not get memory for their rows within 15 s"
"""What a newcomer that is stopped is dropped for; it may be stopped before or after it got its memory."""


def stop_asleep(pid: int) -> None:
    """Stop a process that has nothing to do but wait for a message, when it does so."""
    state = Path(f"/proc/{pid}/stat")
    wait_until(lambda: state.read_text().rpartition(")")[2].split()[0] == "S", what=f"process {pid} sleeps")
    os.kill(pid, signal.SIGSTOP)


def test_a_newcomer_that_does_not_connect_in_time_is_dropped(start: Start, corefile: Path) -> None:
    loops = Loops(start, corefile, "-n2", "--interval=10", "--ready-timeout=15", held_until="go")
    founders = set(loops.application.rank_pids())
    loops.tell("newcomers")
    wait_until((loops.folder / "held").exists, what="rank 0 is in iteration 2, the next agreement point is 10")
    number = loops.send("6:lhost:1")
    wait_until(lambda: len(list(loops.folder.glob("ready-*"))) == 1, what="the newcomer is ready")
    (newcomer,) = set(loops.application.rank_pids()) - founders
    stop_asleep(newcomer)
    loops.tell("go")
    dropped = loops.application.wait_for("reconfiguration", id=number)
    assert dropped["outcome"] == "failed"
    assert re.match(STOPPED, dropped["why"])
    again = loops.application.change("6:lhost:1")
    assert (again["outcome"], again["ranks_after"]) == ("done", 3)
    loops.end(errors=dropped["why"])


def test_a_parked_rank_that_wakes_up_too_late_harms_nobody(start: Start, corefile: Path) -> None:
    contract = Contract(start, corefile, "-n3", "--ready-timeout=15")
    assert contract.change("6:lhost:-1") == (2, 1)
    parked = contract.application.founder(2)
    stop_asleep(parked)
    dropped = contract.application.change("6:lhost:1")
    assert dropped["outcome"] == "failed" and re.match(STOPPED, dropped["why"])
    os.kill(parked, signal.SIGCONT)
    assert contract.change("6:lhost:1") == (3, 1), "by a new process, for the parked rank is not trusted any more"
    assert len(contract.application.rank_pids()) == 4
    assert len(contract.end(errors=dropped["why"])[1]) == 4


def test_an_application_starts_on_the_nodes_of_a_rankfile(start: Start, corefile: Path) -> None:
    rankfile = corefile.with_name("ranks")
    rankfile.write_text("n0:1\nn1:2\nn2:1\n")
    contract = Contract(start, corefile, f"--rankfile={rankfile}")
    assert contract.change("6:lhost:-1") == (3, 2)
    contract.end()


class Loops:
    """An application of three loops that end when told to; ``tests/programs/loops.py``."""

    def __init__(self, start: Start, corefile: Path, *options: str, held_until: str = "") -> None:
        self.folder = corefile.parent
        program = (PROGRAMS / "loops.py", f"--folder={self.folder}", f"--held-until={held_until}")
        self.application = start(f"--corefile={corefile}", "--interval=0.02s", "--quiet", *options, *program)
        self.application.wait_for("loop", loop=0)

    def tell(self, name: str) -> None:
        (self.folder / name).touch()

    def send(self, command: str) -> int:
        reply = self.application.send(command)
        assert reply.startswith("ok: reconfiguration "), reply
        return int(reply.split()[2].rstrip(":"))

    def end(self, *, errors: str = "") -> list[str]:
        """Return in which loops the ranks took part, and from which iteration, founders last."""
        for loop in range(3):
            self.tell(f"end-{loop}")
        output = ended_well(self.application, errors=errors)
        assert "all was right" in output
        return re.findall(r"pid \d+ took part: (.*)", output)


def test_a_rank_that_starts_late_skips_the_loops_that_are_over(start: Start, corefile: Path) -> None:
    loops = Loops(start, corefile, "-n1")
    loops.tell("newcomers")
    loops.tell("end-0")
    loops.application.wait_for("loop", loop=1)
    assert loops.application.change("6:node2:2")["ranks_after"] == 3
    founder, first, second = sorted(loops.end())
    assert first == second
    assert re.fullmatch(r"not at all, from [1-9]\d*, from 0", first)
    assert founder == "from 0, from 0, from 0"


def test_newcomers_who_are_ready_after_their_loop_join_in_the_next(start: Start, corefile: Path) -> None:
    loops = Loops(start, corefile, "-n2")
    number = loops.send("6:node2:1:node3:1")
    wait_until(lambda: len(list(loops.folder.glob("started-*"))) == 2, what="both newcomers have started")
    loops.tell("end-0")
    loops.application.wait_for("loop", loop=1)
    loops.tell("newcomers")
    assert loops.application.wait_for("reconfiguration", id=number)["outcome"] == "done"
    assert len([part for part in loops.end() if part.startswith("not at all, from ")]) == 2


def test_an_offer_that_comes_after_the_last_agreement_of_a_loop_is_taken_in_the_next(
    start: Start, corefile: Path
) -> None:
    loops = Loops(start, corefile, "-n2", "--interval=10", held_until="go")
    loops.tell("newcomers")
    wait_until((loops.folder / "held").exists, what="rank 0 is in iteration 2, the agreement points are 0 and 10")
    number = loops.send("6:node2:2")
    wait_until(lambda: len(list(loops.folder.glob("ready-*"))) == 2, what="both newcomers are ready")
    loops.tell("end-0")
    loops.tell("go")
    assert loops.application.wait_for("reconfiguration", id=number)["outcome"] == "done"
    assert len([part for part in loops.end() if part.startswith("not at all, from ")]) == 2


def test_a_parked_rank_joins_again_in_a_later_loop(start: Start, corefile: Path) -> None:
    loops = Loops(start, corefile, "-n3")
    pids = loops.application.rank_pids()
    loops.application.wait_for("sample")
    assert loops.application.change("6:lhost:-2")["ranks_after"] == 1
    loops.tell("end-0")
    loops.tell("end-1")
    loops.application.wait_for("loop", loop=2)
    assert loops.application.change("6:lhost:1")["ranks_after"] == 2
    assert loops.application.rank_pids() == pids
    parts = sorted(loops.end())
    assert len(parts) == 2, "the rank that is still parked unwinds"
    assert parts[0] == "from 0, from 0, from 0"
    assert re.fullmatch(r"from 0, not at all, from \d+", parts[1])


@pytest.mark.both_changes
@pytest.mark.parametrize(
    ("newcomers", "reason"),
    [
        ("other-shape", "a new rank declared .*11.*, the application .*10.*; every rank must declare the same objects"),
        ("one-more", "a new rank declared 3 objects, the application 2"),
        ("unpicklable", "the state cannot be copied to new ranks: .*lambda"),
        (
            "raise",
            "a new rank .* raised FileNotFoundError: this node has no input file before it (joined|took over)",
        ),
        ("exit", "a new rank .* ended with status 3 before it (joined|took over)"),
    ],
)
def test_a_newcomer_that_cannot_take_part_is_dropped_and_the_application_goes_on(
    newcomers: str, reason: str, start: Start, corefile: Path
) -> None:
    stop = corefile.with_name("stop")
    program = (PROGRAMS / "different.py", f"--until={stop}", f"--newcomers={newcomers}")
    application = start(f"--corefile={corefile}", "--interval=0.02s", "--quiet", "-n1", *program)
    application.wait_for("loop")
    dropped = application.change("6:lhost:2")
    assert dropped["outcome"] == "failed"
    assert re.search(reason, dropped["why"]), dropped["why"]
    stop.touch()
    status, output, errors = application.finish()
    assert (status, output) == (0, "went on, on 1 ranks\n"), errors
    assert dropped["why"] in errors


@pytest.mark.both_changes
def test_nothing_is_collective_between_agreement_points(start: Start, corefile: Path) -> None:
    for rank in (1, 2):
        os.mkfifo(corefile.with_name(str(rank)))
    application = start(
        f"--corefile={corefile}", "--quiet", "-n3", PROGRAMS / "silent.py", f"--folder={corefile.parent}"
    )
    output = ended_well(application)
    assert output.startswith("rank 1 is in iteration 50; rank 2 is in iteration 50")


def solved(start: Start, corefile: Path, program: str, *options: str) -> tuple[NDArray[np.float64], Application]:
    """Run an example that grows and shrinks, and return its answer."""
    output, until = corefile.with_name("x.npy"), corefile.with_name("until")
    program_options = (PROGRAMS / "unhurried.py", until, EXAMPLES / program, *options, f"--output={output}")
    application = start(f"--corefile={corefile}", "--interval=0.05s", "--quiet", "-n1", *program_options)
    application.wait_for("loop")
    for command, ranks in (("6:lhost:1:node2:1", 3), ("6:lhost:-2", 1), ("6:node3:1", 2)):
        done = application.change(command)
        assert (done["outcome"], done["ranks_after"]) == ("done", ranks), done
    until.touch()
    ended_well(application)
    return np.load(output), application


@pytest.mark.both_changes
@pytest.mark.every_library
def test_jacobi_grows_and_shrinks_to_the_answer_of_numpy_and_tells_its_io(start: Start, corefile: Path) -> None:
    options = ["--dim=300", "--diff-tol=1e-10", "--cpu-intensity=50", "--io-intensity=1"]
    x, application = solved(start, corefile, "jacobi.py", *options)
    plain = runpy.run_path(str(EXAMPLES / "plain" / "jacobi.py"), run_name="imported")
    np.testing.assert_allclose(x, np.linalg.solve(plain["matrix_rows"](300, range(300), 0), np.ones(300)), atol=1e-7)
    samples = [event for event in application.seen if event["event"] == "sample"]
    assert any(sample["io_s"][0] > 0 and sample["communication_s"][0] > 0 for sample in samples)
    calls_and_bytes = {name: figures[-1][:2] for name, figures in samples[-1]["operations"].items()}
    assert calls_and_bytes == {"gathering": [1, 300 * 8], "reduction": [1, 8]}
    assert {event["maximum"] for event in application.seen if event["event"] == "loop"} == {10_000}


@pytest.mark.both_changes
@pytest.mark.every_library
def test_conjugate_gradients_grow_and_shrink_to_the_answer_of_scipy(start: Start, corefile: Path) -> None:
    grid = 300
    x, _ = solved(start, corefile, "conjugate_gradient.py", f"--grid={grid}", "--tolerance=1e-10")
    second_difference = scipy.sparse.diags_array([-1.0, 2.0, -1.0], offsets=[-1, 0, 1], shape=(grid, grid))
    poisson = scipy.sparse.kronsum(second_difference, second_difference, format="csc")
    np.testing.assert_allclose(x, scipy.sparse.linalg.spsolve(poisson, np.ones(grid**2)), rtol=1e-6)
