"""`flexmpi explain` and `powercap`: the agent's answers as people read them, and what is asked of it."""

from __future__ import annotations

import json

import pytest

from flexmpi.protocol.messages import Done
from flexmpi.protocol.replies import Accepted, Alternative, Explanation, Figure, PowerDraw
from flexmpi.protocol.requests import AnyRequest, Explain, SetPowercap
from tests.cli.conftest import Flexmpi, Serve


def alternative(nodes: int, **fields: object) -> Alternative:
    usual: dict[str, object] = {"watts": None, "joules": None, "value": None, "is_present": False, "is_chosen": False}
    seconds = 1.2 / nodes
    return Alternative(
        nodes=nodes,
        iteration_s=Figure(value=seconds, error=0.01 * nodes),
        speed=float(nodes),
        price=nodes * seconds / 3600,
        **usual | fields,
    )


EXPLAINED = Explanation(
    job="12",
    name="heat",
    user="ana",
    policy="throughput",
    nodes=("node1", "node2"),
    minimum_nodes=1,
    maximum_nodes=3,
    samples=9,
    sampled_nodes=(1, 2),
    serial_s=Figure(value=0.0, error=0.01),
    parallel_s=Figure(value=1.2, error=0.02),
    per_node_s=Figure(value=0.0, error=0.004),
    unknown=None,
    start_s=0.9,
    stall_s=0.021,
    changes=2,
    reason="2 nodes is its part of the best",
    changed="job 12: add 1 node (node2) (policy throughput: it gains)",
    alternatives=(
        alternative(1),
        alternative(2, watts=480.0, joules=288.0, watts_source="declared", value=2.0, is_present=True, is_chosen=True),
        alternative(3, value=-0.5),
    ),
)
UNKNOWN = EXPLAINED.model_copy(
    update={
        "serial_s": None, "parallel_s": None, "per_node_s": None, "unknown": "1 of 3 samples measured", "samples": 1,
        "changes": 0, "changed": None, "alternatives": (),
    }
)  # fmt: skip
DRAW = PowerDraw(cap_w=900.0, drawn_w=640.0, others_w=300.0, declared=6, undeclared=2)


def answers(request: AnyRequest) -> list[Explanation | PowerDraw | Accepted | Done]:
    match request:
        case Explain(job="13"):
            return [UNKNOWN]
        case Explain():
            return [EXPLAINED]
        case SetPowercap(cap_w=None):
            return [DRAW]
        case _:
            return [Accepted(id="c1", what="power cap", dry_run=request.dry_run), Done(id="c1")]


def test_a_model_with_its_errors_the_reason_and_every_size_are_on_one_screen(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(answers)
    shown = flexmpi("explain", "12")
    assert (shown.status, shown.errors) == (0, "")
    lines = shown.output.splitlines()
    assert len(lines) <= 24
    assert lines[0] == "job 12 (heat) of ana: 2 of 1-3 nodes (node[1-2])"
    assert (
        "(0 ± 0.01) + (1.2 ± 0.02) / n + (0 ± 0.004) (n - 1) seconds an iteration, from 9 samples at n = 1, 2"
        in lines[1]
    )
    assert lines[2] == "a change  start 900 ms, stall 21 ms (mean of 2)"
    assert "watts     declared" in lines
    assert lines[-4].split() == "NODES ITERATION ERROR SPEED PRICE WATTS JOULES VALUE SIZE".split()
    assert lines[-2].split() == "2 600 ms 20 ms 2.00 0.000333 480 288 2 present, chosen".split()
    assert lines[-1].split()[-4:] == ["-", "-", "-0.5", "-"]


@pytest.mark.parametrize(
    ("sources", "line"),
    [
        (("measured", "measured", None), "watts     measured"),
        (("measured", "declared", "declared"), "watts     measured for 1 nodes, declared for 2 3 nodes"),
    ],
)
def test_where_watts_come_from_is_said_once_and_can_be_a_column(
    flexmpi: Flexmpi, serve: Serve, sources: tuple[str | None, ...], line: str
) -> None:
    rows = [alternative(nodes, watts=9.0, watts_source=source) for nodes, source in enumerate(sources, 1)]
    serve(lambda request: [EXPLAINED.model_copy(update={"alternatives": tuple(rows)})])
    assert line in flexmpi("explain", "12").output.splitlines()
    column = flexmpi("explain", "12", "-o", "source", "--noheader").output.split()
    assert column == [source or "-" for source in sources]


def test_a_job_that_is_not_known_enough_has_no_model_and_says_why(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(answers)
    shown = flexmpi("explain", "13").output
    assert "model     none: 1 of 3 samples measured" in shown
    assert "(assumed, none measured yet)" in shown


def test_fields_can_be_chosen_and_json_has_all(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(answers)
    assert flexmpi("explain", "12", "-o", "nodes,speed", "--noheader").output.split() == "1 1.00 2 2.00 3 3.00".split()
    assert Explanation.model_validate_json(flexmpi("explain", "12", "--json").output) == EXPLAINED


def test_the_power_cap_is_shown_with_what_is_drawn(flexmpi: Flexmpi, serve: Serve) -> None:
    serve(answers)
    assert flexmpi("powercap").output == (
        "power cap 900 W; 640 W drawn by 6 nodes (declared); 2 nodes without declared watts not counted\n"
    )
    assert json.loads(flexmpi("powercap", "--json").output)["cap_w"] == 900.0


@pytest.mark.parametrize(
    ("declared", "undeclared", "shown"),
    [
        (1, 1, "no power cap; 90 W drawn by 1 node (declared); 1 node without declared watts not counted\n"),
        (0, 6, "no power cap; no watts of nodes are declared\n"),
    ],
)
def test_power_is_counted_where_it_is_declared(
    flexmpi: Flexmpi, serve: Serve, declared: int, undeclared: int, shown: str
) -> None:
    draw = PowerDraw(cap_w=None, drawn_w=90.0, others_w=0.0, declared=declared, undeclared=undeclared)
    serve(lambda request: [draw])
    assert flexmpi("powercap").output == shown


@pytest.mark.parametrize(
    ("declared", "measured", "shown"),
    [(0, 6, "6 nodes (measured)"), (2, 4, "6 nodes (2 declared, 4 measured)")],
)
def test_the_power_cap_says_where_watts_come_from(
    flexmpi: Flexmpi, serve: Serve, declared: int, measured: int, shown: str
) -> None:
    serve(lambda request: [DRAW.model_copy(update={"declared": declared, "measured": measured, "undeclared": 0})])
    assert flexmpi("powercap").output == f"power cap 900 W; 640 W drawn by {shown}\n"
    assert json.loads(flexmpi("powercap", "--json").output)["measured"] == measured


@pytest.mark.parametrize(
    ("text", "asked"), [("900", 900.0), ("900W", 900.0), ("1.2kW", 1200.0), ("2MW", 2e6), ("none", "none"), ("0", 0.0)]
)
def test_a_power_cap_is_written_as_people_write_powers(
    flexmpi: Flexmpi, serve: Serve, text: str, asked: float | str
) -> None:
    agent = serve(answers)
    assert flexmpi("powercap", text, "--wait").status == 0
    request = agent.asked.get(timeout=10)
    assert isinstance(request, SetPowercap) and request.cap_w == asked


@pytest.mark.parametrize("text", ["much", "12V", "--", "1e3", "-5"])
def test_what_is_no_power_is_refused(flexmpi: Flexmpi, serve: Serve, text: str) -> None:
    serve(answers)
    assert flexmpi("powercap", "--", text).status == 2
