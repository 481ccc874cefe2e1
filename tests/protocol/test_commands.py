from __future__ import annotations

import string
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import CommandError
from flexmpi.protocol.commands import (
    COMMANDS,
    LARGEST_ITERATION,
    LARGEST_NUMBER,
    SUMMARIES,
    SYNTAX,
    BalanceLoad,
    BindRanks,
    ChangeCounters,
    ChangePolicy,
    ChangeRanks,
    Command,
    DelayIO,
    GrantIO,
    Monitoring,
    PrintMessage,
    ShowPerformance,
    Terminate,
    parse_command,
    split_token,
)

bounded = settings(derandomize=True, deadline=None, max_examples=300)

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
figures = st.floats(0, LARGEST_ITERATION) | st.integers(0, LARGEST_ITERATION).map(float)
same_sign = st.sampled_from([1, -1]).flatmap(
    lambda sign: st.lists(
        st.tuples(names, st.integers(0, LARGEST_NUMBER).map(lambda count: sign * count)), min_size=1, max_size=6
    )
)
ranks_and_cores = st.tuples(st.integers(0, LARGEST_NUMBER), st.integers(0, LARGEST_NUMBER))
printable = st.text(st.characters(codec="utf-8"), max_size=200).filter(str.isprintable).map(str.strip).filter(bool)
commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(ChangePolicy, names),
    st.builds(ChangePolicy, names, figures, st.none() | figures),
    st.sampled_from([BalanceLoad(), ShowPerformance(), Terminate(), GrantIO()]),
    st.builds(Monitoring, st.booleans()),
    st.builds(ChangeRanks, same_sign.map(tuple), st.none() | st.integers(0, LARGEST_ITERATION)),
    st.builds(ChangeCounters, names, st.none() | names),
    st.builds(BindRanks, st.lists(ranks_and_cores, min_size=1, max_size=8).map(tuple)),
    st.builds(DelayIO, st.floats(0, LARGEST_NUMBER)),
    st.builds(PrintMessage, printable),
)


@pytest.mark.parametrize(
    ("datagram", "command"),
    [
        (b"1:EFFICIENCY", ChangePolicy("EFFICIENCY")),
        (b"1:COST_IRR:0.25", ChangePolicy("COST_IRR", 0.25)),
        (b"1:COST:3600:1.5e-1", ChangePolicy("COST", 3600.0, 0.15)),
        (b"2:", BalanceLoad()),
        (b"2", BalanceLoad()),
        (b"3:", ShowPerformance()),
        (b"4:on", Monitoring(on=True)),
        (b"4:on:", Monitoring(on=True)),
        (b"4:off:", Monitoring(on=False)),
        (b"5:", Terminate()),
        (b"6:lhost:2", ChangeRanks((("lhost", 2),))),
        (b"6:lhost:-1:", ChangeRanks((("lhost", -1),))),
        (b"6:node1:2:node2:1:node3:3", ChangeRanks((("node1", 2), ("node2", 1), ("node3", 3)))),
        (b"6:node1:+2:node2:0", ChangeRanks((("node1", 2), ("node2", 0)))),
        (b"7:PAPI_STL_ICY:PAPI_TOT_INS:", ChangeCounters("PAPI_STL_ICY", "PAPI_TOT_INS")),
        (b"7:PAPI_TOT_INS", ChangeCounters("PAPI_TOT_INS")),
        (b"8:0:0:1:0:4:1", BindRanks(((0, 0), (1, 0), (4, 1)))),
        (b"8:0:0:0:1", BindRanks(((0, 0), (0, 1)))),
        (b"9:2.5", DelayIO(2.5)),
        (b"10:1", GrantIO()),
        (b"11:300:node1:2:node2:1", ChangeRanks((("node1", 2), ("node2", 1)), at_iteration=300)),
        (b"12:version 1.0", PrintMessage("version 1.0")),
        (b"12:half past 10:30: go", PrintMessage("half past 10:30: go")),
        ("12:año".encode(), PrintMessage("año")),
    ],
)
def test_every_command_of_the_manual_and_of_the_source_is_read(datagram: bytes, command: Command) -> None:
    assert parse_command(datagram) == command


@bounded
@given(commands)
def test_canonical_text_is_read_back_as_the_same_command(command: Command) -> None:
    assert parse_command(command.text().encode()) == command


@bounded
@given(commands, st.sampled_from(["", " ", "\n", "\r\n"]), st.integers(0, 500))
def test_blanks_and_nul_padding_around_a_command_are_ignored(command: Command, blank: str, padding: int) -> None:
    assert parse_command((blank + command.text() + blank).encode() + b"\0" * padding) == command


@bounded
@given(commands, st.integers(1, 9), st.binary(min_size=1, max_size=20).filter(lambda text: text.strip(b"\0")))
def test_text_after_a_nul_is_refused_and_never_dropped(command: Command, padding: int, text: bytes) -> None:
    for read in (parse_command, split_token):
        with pytest.raises(CommandError, match=r"text after a NUL byte \(expected NULs at the end only\)"):
            read(command.text().encode() + b"\0" * padding + text)


def test_blanks_around_fields_are_ignored() -> None:
    assert parse_command(b" 6 : node1 : +2 : ") == ChangeRanks((("node1", 2),))


@pytest.mark.parametrize("command", ["2:", "3:", "5:", "6:a:1", "7:A", "8:0:1", "9:1", "10:1", "4:on", "1:COST"])
def test_exactly_one_trailing_colon_is_accepted(command: str) -> None:
    once = command if command.endswith(":") else command + ":"
    assert parse_command(once.encode()) == parse_command(command.encode())
    with pytest.raises(CommandError):
        parse_command(once.encode() + b"::")


@bounded
@given(st.binary(max_size=2100))
def test_any_bytes_either_parse_or_raise_a_one_line_command_error(datagram: bytes) -> None:
    _parses_or_refuses(datagram)


@bounded
@given(st.integers(0, 14), st.text(string.ascii_letters[:3] + string.digits + ":::+-.@ \t\0é∞²", max_size=60))
def test_any_text_after_a_number_either_parses_or_raises_a_one_line_command_error(number: int, rest: str) -> None:
    _parses_or_refuses(f"{number}:{rest}".encode())


def _parses_or_refuses(datagram: bytes) -> None:
    refusal = ""
    try:
        _, rest = split_token(datagram)
        command = parse_command(rest)
    except CommandError as error:
        refusal = str(error)
    else:
        assert parse_command(command.text().encode()) == command
    assert refusal.isprintable()
    assert len(refusal) < 200


@pytest.mark.parametrize(
    ("datagram", "message"),
    [
        (b"", "empty command (expected NUMBER:…, commands are 1 to 13)"),
        (b" \n\0\0", "empty command (expected NUMBER:…, commands are 1 to 13)"),
        (b"14:", "unknown command number 14 (commands are 1 to 13)"),
        (b"0:", "unknown command number 0 (commands are 1 to 13)"),
        (b"six:node:1", "'six' is not a command number (commands are 1 to 13)"),
        (b"-6:node:1", "'-6' is not a command number (commands are 1 to 13)"),
        (b"6:\xff:1", "not UTF-8 text: byte 0xff at position 2"),
        (b"12:\x1b[2J", "control character in command '12:\\x1b[2J' (expected one line of printable text)"),
        (b"1:", "command 1: nothing follows the number (expected 1:POLICY[:OBJECTIVE[:THRESHOLD]])"),
        (b"1:COST:nan", "command 1: 'nan' is not a number (expected 1:POLICY[:OBJECTIVE[:THRESHOLD]])"),
        (b"1:COST:inf", "command 1: 'inf' is not a number (expected 1:POLICY[:OBJECTIVE[:THRESHOLD]])"),
        (
            b"1:COST:1e999",
            "command 1: '1e999' is not between 0 and 1000000000000 (expected 1:POLICY[:OBJECTIVE[:THRESHOLD]])",
        ),
        (b"2:now", "command 2: 'now' is one field too many (expected 2:)"),
        (b"4:", "command 4: nothing follows the number (expected 4:on or 4:off)"),
        (b"4:yes", "command 4: 'yes' is neither 'on' nor 'off' (expected 4:on or 4:off)"),
        (b"6:", "command 6: nothing follows the number (expected 6:NODE:±N:NODE:±N…)"),
        (b"6:node", "command 6: fields are missing (expected 6:NODE:±N:NODE:±N…)"),
        (b"6:node:two", "command 6: 'two' is not a whole number (expected 6:NODE:±N:NODE:±N…)"),
        (b"6:node:1_0", "command 6: '1_0' is not a whole number (expected 6:NODE:±N:NODE:±N…)"),
        ("6:node:٣".encode(), "command 6: '٣' is not a whole number (expected 6:NODE:±N:NODE:±N…)"),
        (b"6:n1:1:n2", "command 6: odd number of fields, 'n2' has no partner (expected 6:NODE:±N:NODE:±N…)"),
        (b"6:--wrap:1", "command 6: '--wrap' is not a node name (expected 6:NODE:±N:NODE:±N…)"),
        (
            b"6:n1:1000001",
            "command 6: '1000001' is not between -1000000 and 1000000 (expected 6:NODE:±N:NODE:±N…)",
        ),
        (b"7:A:B:C", "command 7: 'C' is one field too many (expected 7:EVENT1:EVENT2:)"),
        (b"7:A::", "command 7: '' is not a counter name (expected 7:EVENT1:EVENT2:)"),
        (b"8:0:-1", "command 8: '-1' is not between 0 and 1000000 (expected 8:RANK:CORE:RANK:CORE…)"),
        (b"8:0:0:1", "command 8: odd number of fields, '1' has no partner (expected 8:RANK:CORE:RANK:CORE…)"),
        (b"9:-1", "command 9: '-1' is not between 0 and 1000000 (expected 9:SECONDS)"),
        (b"10:2", "command 10: '2' is not 1 (expected 10:1)"),
        (b"11:node1:2", "command 11: fields are missing (expected 11:ITERATION:NODE:±N:NODE:±N…)"),
        (b"11:x:n:2", "command 11: 'x' is not a whole number (expected 11:ITERATION:NODE:±N:NODE:±N…)"),
        (b"11:-1:n:2", "command 11: '-1' is not between 0 and 1000000000000 (expected 11:ITERATION:NODE:±N:NODE:±N…)"),
        (b"12:", "command 12: nothing follows the number (expected 12:TEXT)"),
        (b"5:" + b" " * 2047, "datagram of 2049 bytes (expected at most 2048)"),
    ],
)
def test_a_wrong_command_is_refused_by_one_line_that_says_what_is_expected(datagram: bytes, message: str) -> None:
    with pytest.raises(CommandError) as raised:
        parse_command(datagram)
    assert str(raised.value) == message


def test_a_huge_field_is_shortened_in_the_error() -> None:
    with pytest.raises(CommandError) as raised:
        parse_command(b"6:node:" + b"9" * 2000)
    assert len(str(raised.value)) < 150


def test_a_threshold_without_an_objective_cannot_be_expressed() -> None:
    with pytest.raises(CommandError, match="needs an objective"):
        ChangePolicy("COST", threshold=0.1)


@pytest.mark.parametrize(
    ("datagram", "token", "rest"),
    [
        (b"secret@6:node1:2", "secret", b"6:node1:2"),
        (b" secret @5:\0\0", "secret", b"5:"),
        (b"secret@5", "secret", b"5"),
        (b"secret@12:a@b", "secret", b"12:a@b"),
        (b"12:someone@example.org", None, b"12:someone@example.org"),
        (b"6:node1:2", None, b"6:node1:2"),
        (b"5:\0\0", None, b"5:\0\0"),
    ],
)
def test_a_token_is_split_off_before_the_first_colon_only(datagram: bytes, token: str | None, rest: bytes) -> None:
    assert split_token(datagram) == (token, rest)


@pytest.mark.parametrize("datagram", [b"@5:", b" @5:", b"\xff@5:", b"t@5:" + b" " * 2048, b"5:\0token@6", b"to\0ken@6"])
def test_an_unusable_token_is_refused(datagram: bytes) -> None:
    with pytest.raises(CommandError):
        split_token(datagram)


def test_all_thirteen_commands_are_listed_with_syntax_and_summary() -> None:
    assert set(COMMANDS) == set(SYNTAX) == set(SUMMARIES) == set(range(1, 14))
    for number, kind in COMMANDS.items():
        assert SYNTAX[number].startswith(f"{number}:")
        assert SUMMARIES[number]
        assert kind.number in (number, 6)
        assert (kind.syntax, kind.summary) == (SYNTAX[kind.number], SUMMARIES[kind.number])


def test_commands_import_only_the_standard_library_and_the_errors() -> None:
    source = Path(COMMANDS[1].__init__.__globals__["__file__"]).read_text()
    imported = {line.split()[1] for line in source.splitlines() if line.startswith(("import ", "from "))}
    assert imported == {"__future__", "collections.abc", "dataclasses", "flexmpi.errors", "re", "typing"}
