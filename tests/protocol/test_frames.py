"""Authenticated messages: whatever reaches the other end changed, twice, late or in part is refused."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from flexmpi.errors import LinkError
from flexmpi.protocol import frames
from flexmpi.protocol.frames import LENGTH_BYTES, NONCE_BYTES, PROOF_BYTES, Frames, Message, check_proof, proof

KEY = bytes(range(32))
NONCES = bytes(2 * NONCE_BYTES)
HEAD = LENGTH_BYTES + PROOF_BYTES

properties = settings(derandomize=True, deadline=None, max_examples=100)
texts = st.text(max_size=20)
messages = st.lists(
    st.fixed_dictionaries({"kind": texts, "value": texts | st.integers() | st.none()}), min_size=1, max_size=5
)


def ends() -> tuple[Frames, Frames]:
    return Frames(KEY, "supervisor", NONCES), Frames(KEY, "launcher", NONCES)


def cut(stream: bytes, places: list[int]) -> list[bytes]:
    """Cut a stream at some places, which may lie anywhere."""
    edges = sorted({0, len(stream), *(place % (len(stream) + 1) for place in places)})
    return [stream[start:stop] for start, stop in pairwise(edges)]


@properties
@given(messages, st.lists(st.integers(min_value=0), max_size=10))
def test_messages_arrive_in_their_order_however_the_stream_is_cut(sent: list[Message], places: list[int]) -> None:
    supervisor, launcher = ends()
    stream = b"".join(supervisor.encode(message) for message in sent)
    assert [message for piece in cut(stream, places) for message in launcher.feed(piece)] == sent


@properties
@given(messages)
def test_both_directions_count_their_own_messages(sent: list[Message]) -> None:
    supervisor, launcher = ends()
    for message in sent:
        assert launcher.feed(supervisor.encode(message)) == [message]
        assert supervisor.feed(launcher.encode(message)) == [message]


@properties
@given(messages, st.data())
def test_a_changed_byte_is_refused_or_never_completes_a_message(sent: list[Message], data: st.DataObject) -> None:
    supervisor, launcher = ends()
    stream = bytearray(b"".join(supervisor.encode(message) for message in sent))
    place = data.draw(st.integers(0, len(stream) - 1))
    stream[place] ^= data.draw(st.integers(1, 255))
    received: list[Message] = []
    try:
        for piece in cut(bytes(stream), data.draw(st.lists(st.integers(min_value=0), max_size=5))):
            received += launcher.feed(piece)
    except LinkError:
        pass
    assert received == sent[: len(received)]
    assert len(received) < len(sent)


@properties
@given(messages, st.data())
def test_frames_that_are_dropped_repeated_or_reordered_are_refused(sent: list[Message], data: st.DataObject) -> None:
    supervisor, launcher = ends()
    made = [supervisor.encode(message) for message in sent]
    delivered = data.draw(st.lists(st.integers(0, len(made) - 1), min_size=1, max_size=len(made) + 2))
    assume(delivered != list(range(len(delivered))))
    good = next(place for place, number in enumerate(delivered) if number != place)
    for number in delivered[:good]:
        assert launcher.feed(made[number]) == [sent[number]]
    with pytest.raises(LinkError, match="a message that the other end did not send as the next one"):
        launcher.feed(made[delivered[good]])


@properties
@given(st.binary(min_size=HEAD, max_size=200))
def test_what_nobody_with_the_key_has_sent_is_never_a_message(garbage: bytes) -> None:
    _, launcher = ends()
    try:
        assert launcher.feed(garbage) == []
    except LinkError as error:
        assert "\n" not in str(error)


def test_an_end_does_not_take_its_own_messages_for_the_others() -> None:
    supervisor, _ = ends()
    with pytest.raises(LinkError):
        supervisor.feed(supervisor.encode({"kind": "stop"}))


@pytest.mark.parametrize(
    "other",
    [Frames(KEY, "supervisor", bytes([1, *bytes(2 * NONCE_BYTES - 1)])), Frames(bytes(32), "supervisor", NONCES)],
    ids=["another connection", "another key"],
)
def test_messages_of_another_connection_or_key_are_refused(other: Frames) -> None:
    _, launcher = ends()
    with pytest.raises(LinkError):
        launcher.feed(other.encode({"kind": "stop"}))


def test_a_length_beyond_the_limit_is_refused_before_the_message_has_come() -> None:
    _, launcher = ends()
    with pytest.raises(
        LinkError, match=f"a message of {2**32 - 1} bytes, at most {frames.LARGEST_MESSAGE} were expected"
    ):
        launcher.feed(b"\xff" * HEAD)


def test_a_proof_holds_for_one_role_one_key_and_one_pair_of_nonces() -> None:
    shown = proof(KEY, "launcher", NONCES)
    check_proof(KEY, "launcher", NONCES, shown)
    other = bytes([1]) + NONCES[1:]
    for key, role, nonces in ((KEY, "supervisor", NONCES), (bytes(32), "launcher", NONCES), (KEY, "launcher", other)):
        with pytest.raises(LinkError, match="does not know this job's key"):
            check_proof(key, role, nonces, shown)


def test_the_key_does_not_travel() -> None:
    supervisor, _ = ends()
    sent = supervisor.encode({"kind": "start", "pset": 1}) + proof(KEY, "supervisor", NONCES)
    assert KEY not in sent
    assert json.dumps({"kind": "start", "pset": 1}).encode() in sent
