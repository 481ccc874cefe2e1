"""The agent's settings: what a file may say, how a mistake in it is named, and that sample and reference follow the code."""

from __future__ import annotations

import os
import pwd
import re
import tomllib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import ConfigurationError
from flexmpi.scheduler.agent import settings_pages
from flexmpi.scheduler.agent.settings import SECTIONS, AgentSettings, PowerClass
from flexmpi.scheduler.agent.settings_pages import PAGES, render_reference, render_sample
from tests.applications import REPOSITORY

BOUNDED = settings(derandomize=True, deadline=None, max_examples=200)


def read(folder: Path, text: str | bytes) -> AgentSettings:
    path = folder / "agent.toml"
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return AgentSettings.read(path)


def test_an_empty_file_sets_nothing(tmp_path):
    assert read(tmp_path, "") == AgentSettings()


def test_a_file_sets_what_it_says_and_nothing_else(tmp_path):
    found = read(
        tmp_path,
        """
        [agent]
        tick_s = 2
        mode = "on"
        [nodes]
        partitions = ["batch"]
        exclude = "node[0-1],login"
        [limits]
        partitions = { batch = 3 }
        [limits.accounts]
        physics = 0
        """,
    )
    default = AgentSettings()
    assert found.agent == default.agent.model_copy(update={"tick_s": 2.0, "mode": "on"})
    assert found.nodes.partitions == ("batch",)
    assert found.nodes.excluded == {"node0", "node1", "login"}
    assert (found.limits.accounts, found.limits.partitions) == ({"physics": 0}, {"batch": 3})
    assert (found.manager, found.hysteresis, found.orders) == (default.manager, default.hysteresis, default.orders)


def test_relative_paths_start_from_the_folder_of_the_file(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/home/somebody")
    (tmp_path / "etc").mkdir()
    monkeypatch.chdir(tmp_path)
    found = read(
        Path("etc"),
        """
        agent = { folder = "state", journal = "~/journal", munge_socket = "/run/munge.socket" }
        manager = { kind = "local", corefile = "../demo.core" }
        """,
    )
    assert found.agent.folder == tmp_path / "etc/state"
    assert found.agent.journal == Path("/home/somebody/journal")
    assert found.agent.munge_socket == Path("/run/munge.socket")
    assert found.manager.corefile == tmp_path / "etc/../demo.core"


def test_operators_are_users_by_name_or_number(tmp_path):
    me = pwd.getpwuid(os.geteuid())
    assert read(tmp_path, f'agent.operators = ["root", "{me.pw_name}", 4711]').agent.operators == (0, me.pw_uid, 4711)


def test_the_agent_is_reached_by_its_host_name_where_no_other_is_said(tmp_path):
    assert read(tmp_path, "").agent.advertised == os.uname().nodename
    assert read(tmp_path, 'agent.advertise = "head.cluster"').agent.advertised == "head.cluster"


@pytest.mark.parametrize("endpoint", ["tcp://*:0", "tcp://10.0.0.1:7117", "tcp://[::1]:65535", "tcp://head.cluster:1"])
def test_the_agent_may_listen_at_any_tcp_address(tmp_path, endpoint):
    assert read(tmp_path, f'agent.listen = "{endpoint}"').agent.listen == endpoint


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tick_s = 1", "tick_s: is no section, expected one of [agent], [manager], [nodes], "),
        ("agent = 3", "[agent]: expected a table, got 3"),
        ("agent.ticks = 3", "[agent] ticks: is not known, expected one of folder, journal, keep_days, "),
        ('agent.tick_s = "1"', "[agent] tick_s: expected a valid number, got '1'"),
        ("agent.tick_s = 0", "[agent] tick_s: expected greater than 0, got 0"),
        ("agent.tick_s = nan", "[agent] tick_s: expected a finite number"),
        ("orders.silent_s = inf", "[orders] silent_s: expected a finite number"),
        ("orders.silent_s = 1e9", "[orders] silent_s: expected less than or equal to 604800, got 1000000000.0"),
        ("agent.tick_s = true", "[agent] tick_s: expected a valid number, got True"),
        ('agent.mode = "On"', "[agent] mode: expected 'observe', 'on', 'off' or 'drain', got 'On'"),
        ('agent.policy = ""', "[agent] policy: expected the name of a policy, got ''"),
        ('agent.policy = "best"', "[agent] policy: expected one of triggered, fill, fair, "),
        ("power.cap_w = 100", "[power]: cap_w needs classes that say what nodes draw"),
        ('agent.listen = "7117"', "[agent] listen: expected tcp://ADDRESS:PORT such as tcp://*:7117, got '7117'"),
        ('agent.listen = "tcp://*:65536"', "[agent] listen: expected tcp://ADDRESS:PORT"),
        ("agent.folder = 1979-05-27", "expected TOML: no field is a date or a time, got 1979-05-27"),
        ('agent.folder = ""', "[agent] folder: expected a path, got ''"),
        ('agent.folder = "~nobody-of-that-name/x"', "[agent] folder: expected a path, and a user of this system after"),
        ('agent.folder = "a\\u0000b"', "[agent] folder: expected a path"),
        (
            'agent.operators = ["nobody-of-that-name"]',
            "[agent] operators.0: expected the name of a user of this system, or a uid without quotes, got 'nobody-of",
        ),
        ("agent.operators = [-1]", "[agent] operators.0: expected greater than or equal to 0, got -1"),
        ('agent.operators = "root"', "[agent] operators: expected a list, got 'root'"),
        (
            'agent = { authority = "local", munge_socket = "/run/munge" }',
            '[agent]: munge_socket means something with authority "munge" only',
        ),
        ('manager.kind = "pbs"', "[manager] kind: expected 'slurm', 'pyslurm' or 'local', got 'pbs'"),
        ('manager.kind = "local"', '[manager]: corefile is needed with kind "local" and means something there only'),
        ('manager.corefile = "x"', '[manager]: corefile is needed with kind "local" and means something there only'),
        ('nodes.exclude = "node["', "[nodes] exclude: expected a list of hosts such as node[0-3,7], got 'node['"),
        ("limits.accounts.physics = -1", "[limits] accounts.physics: expected greater than or equal to 0, got -1"),
        ("limits.accounts = 3", "[limits] accounts: expected a table, got 3"),
        ("power.measured = true", "[power]: measured needs classes that say what nodes draw"),
        (
            'manager = { kind = "local", corefile = "x" }\n'
            'power = { measured = true, classes = [{ nodes = "a", idle_w = 1, dynamic_w = 1 }] }',
            '[power]: measured means nothing with manager.kind "local", whose nodes are one machine',
        ),
        ("orders = { limit_s = 2 }", "[orders]: limit_s (2) must be more than acknowledge_s (2)"),
    ],
)
def test_a_mistake_is_named_by_file_section_and_field(tmp_path, text, complaint):
    with pytest.raises(ConfigurationError) as error:
        read(tmp_path, text)
    assert str(error.value).startswith(f"settings {tmp_path}/agent.toml: {complaint}")
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "text",
    ["agent", "[agent]\n[agent]", b"\xff", b"a = 1\x00", "x = " + "[" * 5000, "x = 0x" + "f" * 5000, 'x = "\n"'],
    ids=["half", "twice", "not utf-8", "zero byte", "too deep", "too large a number", "line break"],
)
def test_what_is_no_toml_is_said_to_be_none(tmp_path, text):
    with pytest.raises(ConfigurationError, match=r"^settings [^\n]*agent\.toml: expected TOML: [^\n]+$"):
        read(tmp_path, text)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigurationError, match=r"missing\.toml: cannot read it: No such file"):
        AgentSettings.read(tmp_path / "missing.toml")
    with pytest.raises(ConfigurationError, match=r"cannot read it: Is a directory"):
        AgentSettings.read(tmp_path)


toml = st.recursive(
    st.booleans().map(lambda value: str(value).lower())
    | st.integers().map(str)
    | st.sampled_from(['"on"', '""', "nan", "-inf", "1.5", "1979-05-27", "07:32:00", '"x y"', '"*"']),
    lambda values: (
        st.lists(values, max_size=3).map(lambda some: f"[{', '.join(some)}]")
        | values.map(lambda one: f"{{ name = {one} }}")
    ),
    max_leaves=4,
)
fields = [f"{section}.{field}" for section, part in SECTIONS.items() for field in [*part.model_fields, "other"]]


@BOUNDED
@given(field=st.sampled_from([*fields, *SECTIONS, "other"]), value=toml)
def test_any_value_of_any_field_is_read_or_refused_in_one_line(tmp_path_factory, field, value):
    folder = tmp_path_factory.getbasetemp()
    try:
        read(folder, f"{field} = {value}")
    except ConfigurationError as error:
        assert field.split(".")[0] in str(error) or "no field is a date or a time" in str(error)
        assert "\n" not in str(error)


def test_the_sample_sets_nothing(tmp_path):
    assert read(tmp_path, render_sample()) == AgentSettings()


def test_the_sample_shows_every_field_as_it_can_be_set(tmp_path):
    shown = re.sub(r"^#(\w+ = )", r"\1", render_sample(), flags=re.MULTILINE)
    assert {name: set(fields) for name, fields in tomllib.loads(shown).items()} == {
        name: set(part.model_fields) for name, part in SECTIONS.items()
    }
    shown = shown.replace('kind = "slurm"', 'kind = "local"')  # its example of a corefile goes with this one
    shown = shown.replace(
        "classes = []", 'classes = [{ nodes = "node0", idle_w = 80, dynamic_w = 160 }]'
    )  # and of a cap
    found, default = read(tmp_path, shown), AgentSettings()
    examples = {
        "agent": {"advertise": "head.cluster", "munge_socket": Path("/run/munge/munge.socket.2")},
        "manager": {"kind": "local", "corefile": tmp_path / "corefiles/demo.core"},
        "power": {"cap_w": 2000.0, "classes": (PowerClass(nodes="node0", idle_w=80, dynamic_w=160),)},
    }
    for name in SECTIONS:
        assert getattr(found, name) == getattr(default, name).model_copy(update=examples.get(name, {}))


@pytest.mark.parametrize(
    ("section", "field"),
    [(name, field) for name, part in SECTIONS.items() for field, about in part.model_fields.items() if about.examples],
)
def test_every_example_can_be_set(tmp_path, section, field):
    page = render_reference().partition(f"## `[{section}]`")[2]
    example = re.search(rf"^\| `{field}` .* Example: `(.+)` \|$", page, re.MULTILINE)
    assert example is not None
    needed = {
        "corefile": 'manager.kind = "local"\n',
        "cap_w": 'power.classes = [{ nodes = "node0", idle_w = 80, dynamic_w = 160 }]\n',
    }
    read(tmp_path, f"{needed.get(field, '')}{section}.{field} = {example[1]}")


def test_every_field_is_described():
    for section, part in SECTIONS.items():
        assert part.__doc__
        for field, about in part.model_fields.items():
            assert about.description, f"[{section}] {field}"
            assert about.default is not None or about.examples, f"[{section}] {field}"


@pytest.mark.parametrize("page", PAGES)
def test_sample_and_reference_are_those_of_the_code(page):
    assert (REPOSITORY / page).read_text() == PAGES[page](), "run: python -m flexmpi.scheduler.agent.settings_pages"


def test_sample_and_reference_are_written_where_they_are(monkeypatch, tmp_path):
    assert settings_pages.CHECKOUT == REPOSITORY
    monkeypatch.setattr(settings_pages, "CHECKOUT", tmp_path)
    for page in PAGES:
        (tmp_path / page).parent.mkdir()
    settings_pages.main()
    assert {page: (tmp_path / page).read_text() for page in PAGES} == {page: write() for page, write in PAGES.items()}
