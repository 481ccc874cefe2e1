"""`flexmpi submit`: what of a script, its options and its surroundings reaches the agent."""

from __future__ import annotations

import io
import math
import os
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cli.submit import passed_on, time_limit
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.messages import Done
from flexmpi.protocol.replies import Accepted
from flexmpi.protocol.requests import AnyRequest, Submit
from flexmpi.protocol.wire import Message
from tests.cli.conftest import Flexmpi, Serve

TEXT = "#!/bin/sh\necho é $1\n"


def script(request: AnyRequest) -> list[Message]:
    assert isinstance(request, Submit)
    return [Accepted(id="c9", what="submit é.sh", job="3", dry_run=request.dry_run), Done(id="c9")]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The present folder, with a script."""
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / "é.sh").write_text(TEXT, encoding="utf-8")
    monkeypatch.chdir(tmp_path / "work")
    return tmp_path / "work"


def test_a_script_is_sent_as_text_with_where_it_runs_and_is_given_a_number(
    flexmpi: Flexmpi, serve: Serve, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = serve(script)
    monkeypatch.setenv("GREETING", "hello")
    monkeypatch.setenv("SLURM_JOB_ID", "77")
    submitted = flexmpi("submit", "é.sh", "-x", "--wait")
    assert (submitted.status, submitted.output, submitted.errors) == (0, "Submitted job 3\n", "")
    sent = agent.asked.get_nowait()
    assert isinstance(sent, Submit)
    assert (sent.script, sent.arguments, sent.name, sent.directory) == (TEXT, ("-x", "--wait"), "é.sh", str(here))
    assert (sent.nodes, sent.maximum_nodes, sent.tasks, sent.time_limit_s, sent.output) == (1, None, None, None, None)
    assert sent.environment["GREETING"] == "hello"
    assert sent.environment["FLEXMPI_AGENT"] == str(agent.folder)
    assert "SLURM_JOB_ID" not in sent.environment


def test_options_are_those_of_sbatch(flexmpi: Flexmpi, serve: Serve, here: Path) -> None:
    agent = serve(script)
    (here / "sub").mkdir()
    options = ["-N", "2-4", "-n", "8", "-J", "heat", "-o", "out-%j", "-t", "1:30", "-D", "sub"]
    done = flexmpi("submit", *options, "--wait", "é.sh")
    assert done.output.splitlines() == ["Submitted job 3", "done: submit é.sh"]
    sent = agent.asked.get_nowait()
    assert isinstance(sent, Submit)
    assert (sent.nodes, sent.maximum_nodes, sent.tasks, sent.name) == (2, 4, 8, "heat")
    assert (sent.output, sent.time_limit_s, sent.directory) == ("out-%j", 90.0, f"{here}/sub")


def test_a_script_may_come_from_standard_input(
    flexmpi: Flexmpi, serve: Serve, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agent = serve(script)
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(TEXT.encode()), encoding="utf-8"))
    assert flexmpi("submit", "-").status == 0
    sent = agent.asked.get_nowait()
    assert isinstance(sent, Submit)
    assert (sent.script, sent.name) == (TEXT, None)


def test_the_number_alone_and_a_dry_run(flexmpi: Flexmpi, serve: Serve, here: Path) -> None:
    serve(script)
    assert flexmpi("submit", "--format=job", "--noheader", "é.sh").output == "3\n"
    assert flexmpi("submit", "--dry-run", "é.sh").output == "would be done: submit é.sh\n"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["nothing.sh"], "nothing.sh: this script cannot be read: "),
        (["plain"], "plain, line 1: a script must begin with '#!', for example #!/bin/sh"),
        (["bytes"], "bytes: this script cannot be read: "),
        (["-N", "3-2", "é.sh"], "--nodes must be MIN-MAX with 1 <= MIN <= MAX, got '3-2'"),
        (["-t", "soon", "é.sh"], "--time: expected minutes, [days-]hours:minutes:seconds or UNLIMITED, got 'soon'"),
    ],
)
def test_what_cannot_be_submitted_is_refused_and_not_sent(
    flexmpi: Flexmpi, serve: Serve, here: Path, arguments: list[str], complaint: str
) -> None:
    agent = serve(script)
    (here / "plain").write_text("echo")
    (here / "bytes").write_bytes(b"#!/bin/sh\n\xff\n")
    refused = flexmpi("submit", *arguments)
    assert (refused.status, refused.output) == (2, "")
    assert refused.errors.startswith(f"flexmpi: error: {complaint}")
    assert agent.asked.empty()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10", 600), ("1:30", 90), ("2:00:01", 7201), ("1-2", 93600), ("1-2:30", 95400), ("1-0:0:5", 86405),
        ("UNLIMITED", math.inf), ("infinite", math.inf),
    ],
)  # fmt: skip
def test_a_time_limit_is_read_as_sbatch_reads_it(text: str, seconds: float) -> None:
    assert time_limit(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "1:", "1:2:3:4", "1-", "a", "1.5", "1-2:3:4:5", "10 "])
def test_what_is_no_time_limit_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="--time: expected minutes"):
        time_limit(text)


@pytest.mark.parametrize("text", ["0", "0:00", "0-0:0:0"])
def test_a_limit_of_nothing_is_refused_and_not_taken_for_none(text: str) -> None:
    with pytest.raises(ConfigurationError, match="expected more than 0, or UNLIMITED"):
        time_limit(text)


@settings(derandomize=True, deadline=None, max_examples=100)
@given(st.integers(0, 400), st.integers(0, 23), st.integers(0, 59), st.integers(1, 59))
def test_a_limit_with_all_its_parts_is_their_sum(days: int, hours: int, minutes: int, seconds: int) -> None:
    total = ((days * 24 + hours) * 60 + minutes) * 60 + seconds
    assert time_limit(f"{days}-{hours:02}:{minutes:02}:{seconds:02}") == total


def test_what_tells_of_another_job_and_what_is_no_text_is_not_passed_on() -> None:
    told = {"PATH": "/bin", "SLURM_CONF": "/x", "LANG": "C", "BASH_FUNC_f%%": "() { :; }"}
    other = {"SLURM_JOB_ID": "7", "PMI_RANK": "0", "FLEXMPI_JOB_ID": "2", "FLEXMPI_AGENT": "a", "FLEXMPI_KEY": "k"}
    odd = {"LATIN": os.fsdecode(b"\xe9"), os.fsdecode(b"\xff"): "x"}
    assert passed_on({**told, **other, **odd}) == told
