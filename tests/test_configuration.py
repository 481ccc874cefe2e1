from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.platform import Node, find_nodes
from flexmpi.configuration import (
    parse_platform,
    platform_nodes,
    platform_text,
    read_corefile,
    read_nodefile,
    read_rankfile,
    this_machine,
)
from flexmpi.errors import CommandError, ConfigurationError

CONFIGURATION_FILES = Path(__file__).parent.parent / "configuration_files"

Write = Callable[[str], Path]
HOSTS = tuple(Node(name, 4, name) for name in ("a", "b", "c", "c1", "first"))


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def write_file(content: str, name: str = "compute.core") -> Path:
        path = tmp_path / name
        path.write_text(content, encoding="utf-8")
        return path

    return write_file


def test_a_corefile_gives_its_nodes_in_order(write: Write) -> None:
    path = write("b:12:fast:100:5170\na:4:slow:0.5:-1\n")
    assert read_corefile(path) == (
        Node("b", 12, "fast", cost=100.0, speed=5170.0),
        Node("a", 4, "slow", cost=0.5, speed=None),
    )


@pytest.mark.parametrize("line", ["c1:4", "c1:4:c1", "c1:4:c1:0", "c1:4:c1:0:-1", "c1:4:::", " c1 : 4 ", "c1:4 # mine"])
def test_fields_left_out_have_their_defaults(write: Write, line: str) -> None:
    assert read_corefile(write(line)) == (Node("c1", 4, "c1", cost=0.0, speed=None),)


def test_comments_blank_lines_byte_order_marks_and_windows_line_ends_are_tolerated(write: Write) -> None:
    path = write("\ufeff# nodes\r\n\r\n  \r\nc1:4\r\n# the end")
    assert [node.name for node in read_corefile(path)] == ["c1"]


def test_an_alias_may_name_several_hosts(write: Write) -> None:
    assert [node.alias for node in read_corefile(write("c1:4:class\nc2:4:class\nc3:4:c3"))] == ["class", "class", "c3"]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c1", "not enough fields, expected host:cores[:alias[:cost[:speed]]], got 'c1'"),
        ("c1:4 x:a", "cores must be one number, got '4 x'"),
        ("c1:4:a:1:2:3", "too many fields, expected host:cores[:alias[:cost[:speed]]], got 'c1:4:a:1:2:3'"),
        (":4", "host must be one word of letters, digits, '.', '_' and '-', got ''"),
        ("c 1:4", "host must be one word of letters, digits, '.', '_' and '-', got 'c 1'"),
        ("-c1:4", "host must be one word of letters, digits, '.', '_' and '-', got '-c1'"),
        ("c[1-4]:4", "host must be one word of letters, digits, '.', '_' and '-', got 'c[1-4]'"),
        ("c1:4:a b", "alias must be one word of letters, digits, '.', '_' and '-', got 'a b'"),
        ("c1:4:first", "alias must not be another host's name, got 'first', the host of line 2"),
        ("c1:twelve", "cores must be a positive integer, got 'twelve'"),
        ("c1:", "cores must be a positive integer, got ''"),
        ("c1:0", "cores must be a positive integer, got '0'"),
        ("c1:-4", "cores must be a positive integer, got '-4'"),
        ("c1:4.0", "cores must be a positive integer, got '4.0'"),
        ("c1:1_2", "cores must be a positive integer, got '1_2'"),
        ("c1:٤", "cores must be a positive integer, got '٤'"),
        ("c1:4:a:-1", "cost must be a number, 0 or more, got '-1'"),
        ("c1:4:a:dear", "cost must be a number, 0 or more, got 'dear'"),
        ("c1:4:a:nan", "cost must be a number, 0 or more, got 'nan'"),
        ("c1:4:a:inf", "cost must be a number, 0 or more, got 'inf'"),
        ("c1:4:a:1e999", "cost must be a number, 0 or more, got '1e999'"),
        ("c1:4:a:1_0", "cost must be a number, 0 or more, got '1_0'"),
        ("c1:4:a:٤", "cost must be a number, 0 or more, got '٤'"),
        ("c1:4:a:1:0", "speed must be a positive number, or -1 for unknown, got '0'"),
        ("c1:4:a:1:-2", "speed must be a positive number, or -1 for unknown, got '-2'"),
        ("c1:4:a:1:fast", "speed must be a positive number, or -1 for unknown, got 'fast'"),
        ("c1:4:a:1:nan", "speed must be a positive number, or -1 for unknown, got 'nan'"),
        ("first:4", "host must be there once, got 'first' again after line 2"),
    ],
)
def test_a_wrong_line_of_a_corefile_is_named_with_its_field(write: Write, line: str, expected: str) -> None:
    path = write(f"# nodes\nfirst:2\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        read_corefile(path)
    assert str(caught.value) == f"corefile {path}, line 3: {expected}"


def test_an_alias_may_not_be_the_name_of_a_later_host_either(write: Write) -> None:
    with pytest.raises(ConfigurationError, match=r"line 1: alias must not be another host's name, got 'c2'"):
        read_corefile(write("c1:4:c2\nc2:4:other"))


def test_line_numbers_are_an_editors_even_after_a_form_feed(write: Write) -> None:
    with pytest.raises(ConfigurationError, match="line 2: cores"):
        read_corefile(write("# page\f one\nc1:x"))


@pytest.mark.parametrize("content", ["", "\n\n", "# nothing\n"])
def test_a_file_without_a_host_is_refused(write: Write, content: str) -> None:
    path = write(content)
    with pytest.raises(ConfigurationError) as caught:
        read_nodefile(path)
    assert str(caught.value) == f"nodefile {path}: no host in it, expected lines of host:cores"


def test_an_unreadable_file_is_named_with_the_reason(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(ConfigurationError) as caught:
        read_rankfile(missing, HOSTS)
    assert str(caught.value) == f"rankfile {missing}: cannot be read: No such file or directory"
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        read_corefile(tmp_path)


def test_a_file_that_is_not_utf_8_is_named_with_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin1.core"
    path.write_bytes("c1:4\nnœud:4\n".encode("iso-8859-15"))
    with pytest.raises(ConfigurationError) as caught:
        read_corefile(path)
    assert str(caught.value) == f"corefile {path}, line 2: not UTF-8 text, got byte 0xbd"


def test_a_nodefile_gives_cores_in_order(write: Write) -> None:
    assert list(read_nodefile(write("b:2\na:4")).items()) == [("b", 2), ("a", 4)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c1", "not enough fields, expected host:cores, got 'c1'"),
        ("c1:4:", "too many fields, expected host:cores, got 'c1:4:'"),
        ("c1:0", "cores must be a positive integer, got '0'"),
        ("first:1", "host must be there once, got 'first' again after line 1"),
    ],
)
def test_a_wrong_line_of_a_nodefile_is_named_with_its_field(write: Write, line: str, expected: str) -> None:
    path = write(f"first:2\n{line}")
    with pytest.raises(ConfigurationError) as caught:
        read_nodefile(path)
    assert str(caught.value) == f"nodefile {path}, line 2: {expected}"


def test_a_rankfile_gives_ranks_in_order_and_a_host_alone_one(write: Write) -> None:
    assert list(read_rankfile(write("b:2\na\nc:0"), HOSTS).items()) == [("b", 2), ("a", 1), ("c", 0)]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("c1:2:", "too many fields, expected host[:ranks], got 'c1:2:'"),
        ("c1:", "ranks must be an integer, 0 or more, got ''"),
        ("c1:-1", "ranks must be an integer, 0 or more, got '-1'"),
        ("c1:two", "ranks must be an integer, 0 or more, got 'two'"),
        (":2", "host must be one word of letters, digits, '.', '_' and '-', got ''"),
        ("first", "host must be there once, got 'first' again after line 1"),
        ("z:1", "host must be one of a, b, c, c1, first, got 'z'"),
        ("c1:5", "ranks must be at most the 4 cores of c1, got 5"),
    ],
)
def test_a_wrong_line_of_a_rankfile_is_named_with_its_field(write: Write, line: str, expected: str) -> None:
    path = write(f"first:2\n{line}")
    with pytest.raises(ConfigurationError) as caught:
        read_rankfile(path, HOSTS)
    assert str(caught.value) == f"rankfile {path}, line 2: {expected}"


def test_this_machine_is_one_node_with_the_cores_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _pid: {0, 5, 7})
    assert this_machine() == (Node(os.uname().nodename, 3, "lhost"),)


def test_the_platform_without_files_is_this_machine() -> None:
    assert platform_nodes(None, None) == this_machine()


def test_the_platform_of_a_nodefile_alone_has_a_class_for_each_host(write: Write) -> None:
    assert platform_nodes(None, write("b:2\na:4")) == (Node("b", 2, "b"), Node("a", 4, "a"))


def test_the_platform_of_a_corefile_alone_is_all_its_nodes(write: Write) -> None:
    path = write("a:4:class:1:2\nb:4")
    assert platform_nodes(path, None) == read_corefile(path)


def test_a_nodefile_selects_from_the_corefile_and_caps_the_cores(tmp_path: Path) -> None:
    (tmp_path / "core").write_text("a:4:class:1:2\nb:4\nc:8:class:1:2\n")
    (tmp_path / "nodes").write_text("c:6\na:4\n")
    expected = (Node("a", 4, "class", cost=1.0, speed=2.0), Node("c", 6, "class", cost=1.0, speed=2.0))
    assert platform_nodes(tmp_path / "core", tmp_path / "nodes") == expected


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("z:1", "host must be one of corefile {core} (a, b), got 'z'"),
        ("b:5", "cores must be at most the 4 of corefile {core}, got 5"),
    ],
)
def test_a_nodefile_that_contradicts_the_corefile_is_refused(tmp_path: Path, line: str, expected: str) -> None:
    core, nodes = tmp_path / "core", tmp_path / "nodes"
    core.write_text("a:4\nb:4\n")
    nodes.write_text(f"a:4\n{line}\n")
    with pytest.raises(ConfigurationError) as caught:
        platform_nodes(core, nodes)
    assert str(caught.value) == f"nodefile {nodes}, line 2: {expected.format(core=core)}"


CLUSTER = (Node("a1", 4, "fast"), Node("b1", 4, "slow"), Node("a2", 4, "fast"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("fast", ["a1", "a2"]),
        ("slow", ["b1"]),
        ("b1", ["b1"]),
        ("a2", ["a2"]),
        ("localhost", ["a1"]),
        ("lhost", ["a1"]),
    ],
)
def test_a_name_means_a_class_or_a_host_or_the_first_node(name: str, expected: list[str]) -> None:
    assert [node.name for node in find_nodes(CLUSTER, name)] == expected


def test_localhost_means_the_node_of_that_name_or_alias_where_there_is_one() -> None:
    local = (Node("c1", 4, "node1"), Node("localhost", 4, "node2"), Node("c3", 4, "lhost"))
    assert find_nodes(local, "localhost") == local[1:2]
    assert find_nodes(local, "lhost") == local[2:]


def test_an_unknown_name_is_refused_with_the_known_aliases() -> None:
    with pytest.raises(CommandError) as caught:
        find_nodes(CLUSTER, "fats")
    assert str(caught.value) == "no node or alias 'fats', expected one of fast, slow"


def test_many_known_aliases_are_folded() -> None:
    nodes = [Node(f"c{i}", 4, f"node{i}") for i in range(1, 41)] + [Node("x", 4, "login"), Node("y", 4, "n007")]
    nodes += [Node(f"z{i}", 4, f"n{i:03}") for i in (8, 9, 10, 12)]
    with pytest.raises(CommandError) as caught:
        find_nodes(nodes, "node99")
    assert str(caught.value) == "no node or alias 'node99', expected one of node[1-40], login, n[007-010], n012"


def test_very_many_unlike_aliases_are_cut_short() -> None:
    nodes = [Node(f"c{i}", 4, f"node{i}") for i in range(0, 40, 2)]
    with pytest.raises(CommandError, match=r"expected one of node0, .*, node14 and 12 more$"):
        find_nodes(nodes, "nowhere")


@pytest.mark.parametrize(
    ("folder", "suffix", "reader"),
    [
        ("corefiles", ".core", read_corefile),
        ("nodefiles", ".nodes", read_nodefile),
    ],
)
def test_every_file_that_ships_is_read(folder: str, suffix: str, reader: Callable[[Path], object]) -> None:
    paths = sorted((CONFIGURATION_FILES / folder).iterdir())
    assert {f"demo1{suffix}", f"demo2{suffix}"} <= {path.name for path in paths}
    for path in paths:
        assert path.suffix == suffix
        assert reader(path)


def test_the_demo_has_two_nodes_of_four_cores() -> None:
    nodes = read_corefile(CONFIGURATION_FILES / "corefiles" / "demo.core")
    assert [(node.name, node.cores, node.alias) for node in nodes] == [("demo-1", 4, "lhost"), ("demo-2", 4, "node2")]


@pytest.mark.parametrize("demo", ["demo1", "demo2"])
def test_the_shipped_files_of_a_demo_go_together(demo: str) -> None:
    nodes = platform_nodes(
        CONFIGURATION_FILES / "corefiles" / f"{demo}.core", CONFIGURATION_FILES / "nodefiles" / f"{demo}.nodes"
    )
    ranks = read_rankfile(CONFIGURATION_FILES / "rankfiles" / f"{demo}.ranks", nodes)
    assert list(ranks) == [node.name for node in nodes]
    assert {name: count for name, count in ranks.items() if count} == {"compute-1": 2}


def nodes_of_a_platform() -> st.SearchStrategy[Node]:
    names = st.from_regex(r"n[0-9]{1,3}", fullmatch=True)
    speeds = st.none() | st.floats(min_value=1e-6, max_value=1e6)
    aliases = st.sampled_from(["big", "small"])
    return st.builds(Node, names, st.integers(1, 10**6), aliases, cost=st.floats(0, 1e9), speed=speeds)


@given(st.lists(nodes_of_a_platform(), min_size=1, max_size=5, unique_by=lambda node: node.name))
@settings(max_examples=50, deadline=None, derandomize=True)
def test_a_platform_of_one_line_is_read_as_it_was_written(nodes: list[Node]) -> None:
    text = platform_text(nodes)
    assert "\n" not in text
    assert parse_platform(text, name="NAME") == tuple(nodes)


def test_a_wrong_platform_of_one_line_is_named_with_the_place() -> None:
    with pytest.raises(ConfigurationError, match=r"^NAME, line 2: cores must be a positive integer, got 'x'$"):
        parse_platform("a:1,b:x", name="NAME")
    with pytest.raises(ConfigurationError, match=r"^NAME: no host in it"):
        parse_platform("", name="NAME")
