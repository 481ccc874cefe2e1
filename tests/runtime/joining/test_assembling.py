"""Newcomers that join each other first: each finds its turn, in whatever order they have started."""

from __future__ import annotations

import json

import pytest

from flexmpi.errors import RankLeaves
from flexmpi.runtime.joining.membership import Invitations
from tests.runtime.communication.test_link import Launcher, launcher

__all__ = ["launcher"]


def port_of(acceptor: int, *, expected: list[int] | None, reconfiguration: int = 5) -> dict[str, object]:
    """Return what the supervisor tells of a port that the world at some position has opened."""
    return {"kind": "port", "reconfiguration": reconfiguration, "port": f"port of {acceptor}", "expected": expected}


def tell(launcher: Launcher, *messages: dict[str, object]) -> None:
    launcher.connection.sendall(b"".join(json.dumps(message).encode() + b"\n" for message in messages))


def test_an_invitation_of_a_later_round_that_comes_first_is_kept_for_its_turn(launcher: Launcher) -> None:
    # World 7 is to connect to 6, and both of them to 4; but 4 and 5 have started, and joined, before 6.
    tell(launcher, port_of(4, expected=[6, 7]), port_of(6, expected=[7]), port_of(0, expected=[4, 5, 6, 7]))
    invitations = Invitations(launcher.link, 5)
    found = [invitations.await_for(position)["port"] for position in (7, 6, 4)]
    assert found == ["port of 6", "port of 4", "port of 0"]


def test_an_invitation_for_another_reconfiguration_or_to_all_newcomers_is_not_taken_for_one_of_these(
    launcher: Launcher,
) -> None:
    late, to_all = port_of(2, expected=[3], reconfiguration=4), port_of(0, expected=None)
    tell(launcher, late, to_all, port_of(2, expected=[3]))
    assert Invitations(launcher.link, 5).await_for(3)["reconfiguration"] == 5


def test_who_is_let_go_waits_for_no_invitation(launcher: Launcher) -> None:
    tell(launcher, {"kind": "release"})
    with pytest.raises(RankLeaves):
        Invitations(launcher.link, 5).await_for(1)
