"""What ranks print: a successor's is shown from its mark on, what came before on request."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from flexmpi.protocol.rank_start import COMPUTES
from flexmpi.runtime.job.roster import RankId
from flexmpi.runtime.reporting.application_output import ApplicationOutput

RANK = RankId(3, 1)


class Terminal:
    """Keeps what is written."""

    def __init__(self) -> None:
        self.written = b""
        self.calls = 0

    def write(self, stream: str, data: bytes, *, source: object, then: Callable[[], object]) -> None:
        assert source == RANK and stream in ("stdout", "stderr")
        self.written += data
        then()


def shown(*texts: str, held: bool = True, verbose: bool = False) -> bytes:
    terminal: Any = Terminal()
    output, taken = ApplicationOutput(terminal, verbose=verbose), []
    if held:
        output.hold([RANK])
    for text in texts:
        output.write({"pset": 3, "local_rank": 1, "stream": "stdout", "text": text}, then=lambda: taken.append(1))
    assert len(taken) == len(texts), "its launcher hears of each text that it may send more"
    written: bytes = terminal.written
    return written


MARK = COMPUTES.decode()


def test_what_others_print_is_shown_as_it_comes() -> None:
    assert shown("one\n", "two\n", held=False) == b"one\ntwo\n"


@pytest.mark.parametrize("verbose", [False, True])
def test_a_successors_output_is_shown_from_its_mark_on(verbose: bool) -> None:
    texts = ("top\n", f"rest of it{MARK}", "first\n", "second\n")
    assert shown(*texts, verbose=verbose) == (b"top\nrest of it" if verbose else b"") + b"first\nsecond\n"


def test_a_mark_may_come_in_the_middle_of_a_text_and_each_stream_has_its_own() -> None:
    assert shown(f"top\n{MARK}first\n") == b"first\n"
    terminal: Any = Terminal()
    output = ApplicationOutput(terminal, verbose=False)
    output.hold([RANK])
    for stream, text in (("stdout", MARK), ("stderr", "warning\n"), ("stdout", "first\n")):
        output.write({"pset": 3, "local_rank": 1, "stream": stream, "text": text}, then=lambda: None)
    assert terminal.written == b"first\n"
