from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from flexmpi.cluster.submission import Submission
from flexmpi.errors import ConfigurationError, MessageError
from flexmpi.protocol import messages, replies, requests, wire
from flexmpi.protocol.auth import Action
from flexmpi.protocol.fence import Fence
from flexmpi.protocol.messages import decode_from_agent, decode_from_supervisor
from flexmpi.protocol.replies import decode_reply
from flexmpi.protocol.requests import decode_request
from flexmpi.protocol.wire import LARGEST_MESSAGE_BYTES, Message, encode
from tests.protocol.every_message import FROM_AGENT, FROM_SUPERVISOR, REPLIES, REQUESTS, texts

bounded = settings(derandomize=True, deadline=None, max_examples=100)

DIRECTIONS = [
    pytest.param(decode_from_supervisor, FROM_SUPERVISOR, messages.FromSupervisor, id="from supervisor"),
    pytest.param(decode_from_agent, FROM_AGENT, messages.FromAgent, id="from agent"),
    pytest.param(decode_request, REQUESTS, requests.AnyRequest, id="requests"),
    pytest.param(decode_reply, REPLIES, replies.Reply, id="replies"),
]
Decoder = Callable[[bytes], Message]

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts | st.just(10**4000),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


def register(**changes: Any) -> bytes:
    fields: dict[str, Any] = {
        "version": 1,
        "kind": "register",
        "job_key": "a1b2",
        "job_id": 12,
        "name": "jacobi",
        "uid": 1000,
        "user": "alice",
        "nodes": [{"node": "node0", "ranks": 4}],
        "minimum_nodes": 1,
        "maximum_nodes": 6,
        "processes_per_node": 4,
        "udp": {"host": "127.0.0.1", "port": 6666},
        "epoch": 0,
        "credential": "MUNGE:top-secret:",
    } | changes
    return json.dumps({name: value for name, value in fields.items() if value is not ...}).encode()


def why(decode: Decoder, data: bytes) -> str:
    """The error, which is one printable line of a bearable length."""
    with pytest.raises(MessageError) as caught:
        decode(data)
    text = str(caught.value)
    assert text.isprintable()
    assert len(text) <= wire.LONGEST_ERROR
    return text


@pytest.mark.parametrize(("decode", "strategies", "union"), DIRECTIONS)
def test_every_kind_survives_encoding_and_decoding(
    decode: Decoder, strategies: list[st.SearchStrategy[Any]], union: Any
) -> None:
    seen = set()
    for strategy in strategies:

        @given(strategy)
        @settings(bounded, max_examples=40)
        def check(message: Message) -> None:
            assert decode(encode(message)) == message
            seen.add(type(message))

        check()
    assert seen == set(get_args(union))


@pytest.mark.parametrize(("decode", "strategies", "union"), DIRECTIONS)
def test_any_bytes_are_a_message_or_an_error_of_one_line(
    decode: Decoder, strategies: list[st.SearchStrategy[Any]], union: Any
) -> None:
    def judge(data: bytes) -> None:
        try:
            message = decode(data)
        except MessageError:
            why(decode, data)
        else:
            assert isinstance(message, union)
            assert decode(encode(message)) == message

    @given(st.binary(max_size=200) | json_values.map(json.dumps).map(str.encode))
    @bounded
    def anything(data: bytes) -> None:
        judge(data)

    @given(st.one_of(strategies), st.data())
    @bounded
    def nearly_right(message: Message, data: st.DataObject) -> None:
        fields = json.loads(encode(message))
        name = data.draw(st.sampled_from(sorted(fields)) | texts)
        judge(json.dumps(fields | {name: data.draw(json_values)}).encode())
        fields.pop(name, None)
        judge(json.dumps(fields).encode())

    anything()
    nearly_right()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"minimum_nodes": "2"}, "register message, field minimum_nodes: expected a valid integer, got '2'"),
        ({"minimum_nodes": True}, "register message, field minimum_nodes: expected a valid integer, got True"),
        ({"processes_per_node": 0}, "field processes_per_node: expected greater than or equal to 1, got 0"),
        (
            {"epoch": 10**30},
            "field epoch: expected less than or equal to 9223372036854775807, got a number of 100 bits",
        ),
        ({"user": ...}, "register message, field user: is missing"),
        ({"colour": 1}, "register message, field colour: is not known"),
        ({"a\nb": 1}, "register message, field a b: is not known"),
        ({"nodes": []}, "register message, field nodes: "),
        ({"nodes": [{"node": "-w", "ranks": 1}]}, "field nodes.0.node: expected the name of a node, got '-w'"),
        ({"nodes": [{"node": "a", "ranks": 1}] * 2}, "field nodes: expected each node once, got a list"),
        ({"udp": {"host": "::1", "port": 0}}, "field udp.port: expected greater than or equal to 1, got 0"),
        ({"maximum_nodes": 2, "minimum_nodes": 3}, "maximum_nodes must be minimum_nodes (3) or more"),
        ({"array_job_id": 7}, "array_job_id and array_task_id go together"),
        ({"kind": "registre"}, "message, field kind: expected one of register, sample, "),
        ({"kind": ["register"]}, "message, field kind: expected a valid string, got a list"),
        ({"kind": "resize"}, "got 'resize'"),
    ],
)
def test_an_error_names_the_field_and_what_was_expected(changes: dict[str, Any], error: str) -> None:
    decode_from_supervisor(register())
    assert error in why(decode_from_supervisor, register(**changes))


@pytest.mark.parametrize("data", [b"", b"[]", b'"register"', b"{", b"\xff", b"[" * 10_000, b'{"kind": "\\ud800"}'])
def test_what_is_no_object_is_said_to_be_none(data: bytes) -> None:
    assert why(decode_from_supervisor, data).startswith("message: ")


@pytest.mark.parametrize("version", [0, 2, 10**4000])
@pytest.mark.parametrize("kind", ["register", "telepathy"])
def test_an_unknown_version_is_told_which_are_understood(version: int, kind: str) -> None:
    text = why(decode_from_supervisor, register(version=version, kind=kind, colour="a field of later versions"))
    assert text.startswith("message of version ")
    assert text.endswith(" (versions understood: 1)")


def test_a_message_without_version_is_refused() -> None:
    assert why(decode_from_supervisor, register(version=...)) == "message, field version: is missing"
    assert why(decode_from_supervisor, register(version="1")).startswith("message, field version: expected a valid int")


def test_no_secret_is_quoted_or_printed() -> None:
    assert "secret" not in why(decode_from_supervisor, register(credential="top secret"))
    assert "secret" not in why(decode_request, encode(submit()).replace(b'"hidden"', b'["secret"]'))
    assert "secret" not in repr(decode_from_supervisor(register()))
    assert "hidden" not in repr(submit())


SAMPLE = messages.Sample(
    iteration=10,
    iterations=5,
    slowest_real_s=1.5,
    mean_busy_s=1.0,
    mean_communication_s=0.25,
    mean_io_s=0.0,
    nodes=(messages.NodeRanks(node="node0", ranks=4), messages.NodeRanks(node="node1", ranks=2)),
)


@pytest.mark.parametrize("word", ["NaN", "Infinity", "-Infinity", "-1.0"])
def test_seconds_are_finite_and_not_negative(word: str) -> None:
    assert SAMPLE.ranks == 6
    text = why(decode_from_supervisor, encode(SAMPLE).replace(b"1.5", word.encode()))
    assert text.startswith("sample message, field slowest_real_s: expected ")


def test_a_sample_of_a_job_that_knows_nothing_of_energy_is_read() -> None:
    fields = json.loads(encode(SAMPLE))
    del fields["energy"]
    assert decode_from_supervisor(json.dumps(fields).encode()) == SAMPLE


@pytest.mark.parametrize(
    ("energy", "error"),
    [
        ([{"joules": 3e5}], "field energy.0: joules must be those of 100000 W at most"),
        ([{"joules": -1.0}], "field energy.0.joules: expected greater than or equal to 0, got -1.0"),
        ([{"seconds": 0.0}], "field energy.0.seconds: expected greater than 0, got 0.0"),
        ([{"seconds": 1e9}], "field energy.0.seconds: expected less than or equal to 10000000, got 1000000000.0"),
        ([{"processor_s": -1.0}], "field energy.0.processor_s: expected greater than or equal to 0, got -1.0"),
        ([{"node": "-w"}], "field energy.0.node: expected the name of a node, got '-w'"),
        ([{}, {}], "field energy: expected each node once, got a list"),
    ],
)
def test_an_absurd_reading_of_energy_is_refused(energy: list[dict[str, Any]], error: str) -> None:
    usual = {"node": "node0", "seconds": 2.0, "joules": 100.0, "processor_s": 8.0}
    fields = json.loads(encode(SAMPLE)) | {"energy": [usual | changed for changed in energy]}
    assert error in why(decode_from_supervisor, json.dumps(fields).encode())


def test_a_message_too_long_is_neither_sent_nor_read() -> None:
    script = "#!" * (2 * 1024 * 1024)
    long = submit(script=script, arguments=(script,) * 4)
    with pytest.raises(MessageError, match=rf"expected at most {LARGEST_MESSAGE_BYTES}"):
        encode(long)
    assert f"expected at most {LARGEST_MESSAGE_BYTES}" in why(decode_request, b" " * (LARGEST_MESSAGE_BYTES + 1))


def test_free_text_becomes_one_printable_line() -> None:
    failure = messages.Failed(id="c1", why="Traceback:\n  \x1b[31mred\x1b[0m\ttext \u202e")
    assert failure.why == "Traceback: [31mred [0m text"
    assert len(messages.Failed(id="c1", why="x" * 10_000).why) == wire.LONGEST_LINE


def test_messages_cannot_be_changed_and_fields_are_checked_when_they_are_made() -> None:
    with pytest.raises(ValidationError):
        messages.Unknown().version = 2  # type: ignore[misc, assignment]
    with pytest.raises(ValidationError) as caught:
        requests.Expand(job="12", nodes=("node1", "node 2"), credential="x")
    assert wire.complaint(caught.value, "expand") == "expand, field nodes.1: expected the name of a node, got 'node 2'"


@pytest.mark.parametrize(
    ("add", "leave", "error"),
    [((), (), "no node to add or to leave"), (("a", "b"), ("b",), "b cannot both be added and left")],
)
def test_a_resize_changes_something_and_contradicts_itself_nowhere(
    add: tuple[str, ...], leave: tuple[str, ...], error: str
) -> None:
    fields = {"version": 1, "kind": "resize", "id": "c1", "epoch": 1, "cause": "fill", "add": add, "leave": leave}
    assert error in why(decode_from_agent, json.dumps(fields).encode())


def test_a_size_is_a_number_or_a_list_of_nodes() -> None:
    fields = {"version": 1, "kind": "shrink", "job": "12", "count": 2, "nodes": ["node1"], "credential": "x"}
    assert "count and nodes cannot both be given" in why(decode_request, json.dumps(fields).encode())


def submit(**changes: Any) -> requests.Submit:
    fields: dict[str, Any] = {"script": "#!/bin/sh\n", "environment": {"TOKEN": "hidden"}, "credential": "x"} | changes
    return requests.Submit(**fields)


def test_a_submit_request_is_a_submission_of_the_same_fields() -> None:
    asked = submit(arguments=("a b",), name="solver", nodes=2, maximum_nodes=4, tasks=8, time_limit_s=60.0)
    assert asked.submission() == Submission(
        script="#!/bin/sh\n",
        arguments=("a b",),
        name="solver",
        nodes=2,
        maximum_nodes=4,
        tasks=8,
        time_limit_s=60.0,
        environment={"TOKEN": "hidden"},
    )
    with pytest.raises(ConfigurationError, match="nodes must be 3 or more, got at most 2"):
        submit(nodes=3, maximum_nodes=2).submission()


def test_a_script_is_sent_as_text_and_never_as_a_path_of_the_agent() -> None:
    text = why(decode_request, encode(submit()).replace(b"#!/bin/sh", b"/bin/sh"))
    assert text == "submit message, field script: expected the text of a script, which begins with '#!'"


def test_every_request_asks_for_the_right_to_do_what_it_changes() -> None:
    plain: dict[str, Any] = {"credential": "x"}
    looks = [requests.Jobs(**plain), requests.Nodes(**plain), requests.History(**plain)]
    looks += [requests.SetPolicy(**plain), requests.SetMode(**plain)]
    assert {requests.action_of(look) for look in looks} == {Action.READ}
    changes = [
        requests.Expand(job="12", **plain),
        requests.Shrink(job="12", **plain),
        requests.Balance(job="12", **plain),
        requests.Stop(job="12", dry_run=True, **plain),
        requests.SetPolicy(name="fill", **plain),
        requests.SetMode(mode="on", **plain),
        requests.SetPowercap(cap_w=900.0, **plain),
        submit(),
    ]
    assert {requests.action_of(change) for change in changes} == set(Action) - {Action.READ, Action.REGISTER}


@given(st.integers(0, 10), st.lists(st.integers(0, 10), max_size=12))
@bounded
def test_a_job_refuses_exactly_the_epochs_older_than_the_newest_it_has_seen(first: int, epochs: list[int]) -> None:
    fence, newest = Fence(first), first
    for epoch in epochs:
        assert (fence.take(epoch) is not None) == (epoch < newest)
        newest = max(newest, epoch)
        assert fence.newest == newest
    assert fence.take(newest - 1) == f"epoch {newest - 1} is older than {newest}, the newest this job has seen"
