"""Who may command a job, and what is printed of those who may not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from flexmpi.errors import AuthenticationError
from flexmpi.protocol.signatures import sign
from flexmpi.runtime.supervisor.admission import LINE_EVERY_S, Admission, Remarks

KEY, NONCE = b"k" * 32, "a" * 32
SENDER = "127.0.0.1:40000"


def admission(why_not: str | None, **options: object) -> Admission:
    return Admission(_doubt_about=lambda sender, *, listening: why_not, **options)  # type: ignore[arg-type]


def test_a_command_that_the_kernel_says_is_the_users_is_taken_as_it_is() -> None:
    assert admission(None).admit(b"6:lhost:2", SENDER) == b"6:lhost:2"
    assert admission(None).admit(b"anything@6:lhost:2", SENDER) == b"6:lhost:2"


def test_the_kernel_is_asked_about_the_sender_and_the_port_it_has_sent_to() -> None:
    asked = []
    asking = Admission(listening=6666, _doubt_about=lambda sender, **told: asked.append((sender, told)))
    asking.admit(b"5:", "[::1]:40000")
    assert asked == [(("::1", 40000), {"listening": 6666})]


def test_what_the_kernel_cannot_tell_is_refused_with_what_to_do() -> None:
    with pytest.raises(AuthenticationError) as raised:
        admission("its socket is closed").admit(b"5:", SENDER)
    assert str(raised.value) == (
        "only this job's own user and root may command it, and this command is not known to be theirs: its socket is closed "
        "(flexmpi send proves it with the user's key, TOKEN@ with --token-file)"
    )


def test_a_signed_command_is_taken_from_wherever_it_comes_but_only_once() -> None:
    from_elsewhere = admission("it comes from elsewhere", key=KEY)
    signed = sign(b"5:", key=KEY, job=from_elsewhere.number, nonce=NONCE)
    assert from_elsewhere.admit(signed, SENDER) == b"5:"
    with pytest.raises(AuthenticationError, match="has come before: it counts once"):
        from_elsewhere.admit(signed, SENDER)
    again = sign(b"5:", key=KEY, job=from_elsewhere.number, nonce="b" * 32)
    assert from_elsewhere.admit(again, SENDER) == b"5:"


@pytest.mark.parametrize("changed", ["key", "job", "command"])
def test_a_command_signed_for_something_else_is_refused_and_said_so(changed: str) -> None:
    from_elsewhere = admission("it comes from elsewhere", key=KEY)
    job = replace(from_elsewhere).number if changed != "job" else admission(None).number
    signed = sign(b"12:x", key=b"x" * 32 if changed == "key" else KEY, job=job, nonce=NONCE)
    if changed == "command":
        signed = signed.replace(b"12:x", b"5:")
    with pytest.raises(AuthenticationError, match="elsewhere, and it is not signed with this job's user's key"):
        from_elsewhere.admit(signed, SENDER)


def test_a_command_that_is_not_signed_well_may_still_be_known_by_its_socket() -> None:
    local = admission(None)
    assert local.admit(sign(b"5:", key=KEY, job="0" * 32, nonce=NONCE), SENDER) == b"5:"


def test_with_a_token_it_alone_counts_beside_a_signature() -> None:
    with_token = admission(None, token="s3cret", key=KEY)
    with pytest.raises(AuthenticationError, match=r"asks for a token before the command \(TOKEN@COMMAND\)"):
        with_token.admit(b"5:", SENDER)
    assert replace(with_token, _doubt_about=lambda *_, **__: "elsewhere").admit(b"s3cret@5:", SENDER) == b"5:"
    assert with_token.admit(sign(b"5:", key=KEY, job=with_token.number, nonce=NONCE), SENDER) == b"5:"


def test_an_open_port_asks_nothing() -> None:
    assert admission("it comes from elsewhere", open_to_all=True).admit(b"5:", SENDER) == b"5:"


def test_of_those_who_may_not_a_line_is_printed_once_in_a_while_and_says_how_many_it_stands_for() -> None:
    now = [100.0]
    remarks = Remarks(clock=lambda: now[0])
    assert remarks.about("one") == ["one"]
    assert [remarks.about("two"), remarks.about("three")] == [[], []]
    now[0] += LINE_EVERY_S
    assert remarks.about("four") == ["four (and 2 others since the last such line)"]
    now[0] += LINE_EVERY_S
    assert remarks.about("five") == ["five"]
