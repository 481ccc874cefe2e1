from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.controller import prompt
from flexmpi.controller.prompt import Help, Quit, Send, Submit, TryAllocation, completions, help_lines, parse_wish
from flexmpi.errors import CommandError
from flexmpi.protocol.commands import SYNTAX, ChangeRanks, Monitoring


@pytest.mark.parametrize(
    ("line", "wish"),
    [
        ("", None),
        ("  \n", None),
        ("0 4:on", Send(0, Monitoring(on=True))),
        (" 12  4: off: ", Send(12, Monitoring(on=False))),
        ("1 6: lhost: 2", Send(1, ChangeRanks((("lhost", 2),)))),
        ("quit", Quit()),
        ("exit", Quit()),
        ("-1", Quit()),
        ("help", Help()),
        ("-2 jio:compute-1:4", Submit("jio:compute-1:4")),
        ("-3 5", TryAllocation(5)),
    ],
)
def test_a_line_says_what_is_wanted(line: str, wish: object) -> None:
    assert parse_wish(line) == wish


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("zero 4:on", "'zero' is not an application's number (expected APPID COMMAND, quit or help)"),
        ("4:on", "'4:on' is not an application's number (expected APPID COMMAND, quit or help)"),
        ("-4", "'-4' is not an application's number (expected APPID COMMAND, quit or help)"),
        ("0", "empty command (expected NUMBER:…, commands are 1 to 13)"),
        ("0 14:", "unknown command number 14 (commands are 1 to 13)"),
        ("0 6:lhost", "command 6: fields are missing (expected 6:NODE:±N:NODE:±N…)"),
        ("quit now", "quit stands alone, got 'now' after it"),
        ("-2", "expected an application after -2, such as jio:compute-1:4"),
        ("-3 many", "expected a number of ranks after -3, got 'many'"),
        ("-3 0", "expected a number of ranks after -3, got '0'"),
    ],
)
def test_a_line_that_means_nothing_is_answered(line: str, expected: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_wish(line)
    assert str(caught.value) == expected


@settings(derandomize=True, max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=30), st.from_regex(r"-?[0-9] [0-9]{1,2}:[a-z:0-9-]{0,12}", fullmatch=True)))
def test_any_line_is_a_wish_nothing_or_an_error_of_one_line(line: str) -> None:
    try:
        wish = parse_wish(line)
    except CommandError as error:
        assert "\n" not in str(error)
    else:
        assert wish is None or isinstance(wish, prompt.Wish)


def test_help_has_every_command_and_every_form() -> None:
    text = "\n".join(help_lines())
    assert all(syntax in text for syntax in SYNTAX.values())
    assert all(form in text for form in ("-1, quit, exit", "-2 APP", "-3 N", "help"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["0", "2", "-2", "-3", "quit", "help"]),
        ("q", ["quit"]),
        ("0 4:", ["4:on", "4:off"]),
        ("0 1", ["10:1", "1:", "11:", "12:", "13:"]),
        ("0 6:", ["6:lhost:", "6:compute-1:"]),
        ("0 6:lhost:2:c", ["6:lhost:2:compute-1:"]),
        ("0 11:500:l", ["11:500:lhost:"]),
        ("0 6:lhost:", []),
        ("-2 j", ["jio:"]),
        ("help m", []),
        ("0 4:on more", []),
    ],
)
def test_the_last_word_is_completed(text: str, words: list[str]) -> None:
    found = completions(text, numbers=[0, 2], names=["lhost", "compute-1"], programs=["jio", "cg"])
    assert [word for word, _ in found] == words
