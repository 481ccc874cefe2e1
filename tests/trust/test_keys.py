from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest
import zmq

from flexmpi.errors import AuthenticationError
from flexmpi.trust.keys import CurveKeys, agent_keys, agent_public_key, local_key


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_the_agents_keys_are_made_once_with_the_right_modes_whatever_the_umask(folder: Path) -> None:
    before = os.umask(0o000)
    try:
        made = agent_keys(folder)
    finally:
        os.umask(before)
    assert (mode(folder / "agent.secret"), mode(folder / "agent.public"), mode(folder)) == (0o600, 0o644, 0o755)
    assert zmq.curve_public(made.secret.encode()) == made.public.encode()
    assert agent_keys(folder) == made
    assert agent_public_key(folder / "agent.public") == made.public
    assert sorted(path.name for path in folder.iterdir()) == ["agent.public", "agent.secret"]
    assert made.secret not in repr(made)


def test_a_public_key_file_that_is_lost_or_not_of_the_secret_key_is_made_anew(folder: Path) -> None:
    made = agent_keys(folder)
    (folder / "agent.public").unlink()
    assert agent_keys(folder) == made
    (folder / "agent.public").write_bytes(b"\xff" + CurveKeys.fresh().public.encode())
    assert agent_keys(folder) == made
    assert agent_public_key(folder / "agent.public") == made.public


def test_of_two_agents_started_at_once_both_have_the_key_of_the_first(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = CurveKeys.fresh()

    def meanwhile() -> CurveKeys:
        monkeypatch.undo()
        (folder / "agent.secret").touch(mode=0o600)
        (folder / "agent.secret").write_text(first.secret)
        return CurveKeys.fresh()

    monkeypatch.setattr(CurveKeys, "fresh", meanwhile)
    assert agent_keys(folder) == first
    assert sorted(path.name for path in folder.iterdir()) == ["agent.public", "agent.secret"]


@pytest.mark.parametrize("wrong", [0o640, 0o604, 0o620, 0o660, 0o644])
def test_a_secret_that_others_can_read_or_change_is_refused(folder: Path, wrong: int) -> None:
    agent_keys(folder), local_key(folder, make=True)
    for name, read in (("agent.secret", agent_keys), ("agent.local", lambda where: local_key(where, make=True))):
        (folder / name).chmod(wrong)
        with pytest.raises(
            AuthenticationError, match=rf"^others can read key file .*/{name} \(mode {wrong:04o}\): chmod"
        ):
            read(folder)


def test_a_secret_owned_by_somebody_else_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    agent_keys(folder), local_key(folder, make=True)
    owner = os.geteuid()
    if owner == 0:
        for name in ("agent.secret", "agent.local"):
            os.chown(folder / name, 65534, 65534)
        expected = r"owned by uid 65534, expected uid 0$"
    else:
        monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
        expected = rf"owned by uid {owner}, expected uid"
    for read in (agent_keys, lambda where: local_key(where, make=False)):
        with pytest.raises(AuthenticationError, match=expected):
            read(folder)


def test_a_public_key_that_somebody_else_could_have_put_there_is_refused(folder: Path) -> None:
    agent_keys(folder)
    public, owner = folder / "agent.public", os.geteuid()
    assert agent_public_key(public, owners=(owner,))
    with pytest.raises(AuthenticationError, match=rf"owned by uid {owner}, expected uid .*{owner + 1}$"):
        agent_public_key(public, owners=(owner + 1,))
    public.chmod(0o664)
    with pytest.raises(AuthenticationError, match=r"^others can change key file .* \(mode 0664\): chmod go-w "):
        agent_public_key(public)


def test_a_folder_that_others_can_change_is_refused_before_a_key_is_made_there(folder: Path) -> None:
    folder.mkdir()
    folder.chmod(0o777)
    for read in (agent_keys, lambda where: local_key(where, make=True)):
        with pytest.raises(AuthenticationError, match=r"^others can change the folder .* \(mode 0777\): chmod go-w "):
            read(folder)
    assert not list(folder.iterdir())
    folder.chmod(0o1777)  # as /tmp: others cannot replace what is in it
    assert agent_keys(folder)


def test_a_file_that_holds_no_key_is_refused_and_left_alone(folder: Path) -> None:
    agent_keys(folder), local_key(folder, make=True)
    for name, read in (
        ("agent.secret", agent_keys),
        ("agent.local", lambda where: local_key(where, make=True)),
        ("agent.public", lambda where: agent_public_key(where / "agent.public")),
    ):
        for content in (b"", b"\xff" * 40, b"too short", b"a" * 41, b"\n".join([b"a" * 20] * 2)):
            (folder / name).write_bytes(content)
            with pytest.raises(AuthenticationError, match=rf"^key file .*/{name} holds no key: expected one line"):
                read(folder)
            assert (folder / name).read_bytes() == content


def test_a_key_file_that_is_missing_or_no_file_is_told(folder: Path) -> None:
    with pytest.raises(AuthenticationError, match=r"^cannot read key file .*/agent.public: No such file"):
        agent_public_key(folder / "agent.public")
    with pytest.raises(AuthenticationError, match=r"^cannot read key file .*/agent.local: No such file"):
        local_key(folder, make=False)
    folder.mkdir()
    os.mkfifo(folder / "agent.secret", 0o600)
    with pytest.raises(AuthenticationError, match=r"^key file .*/agent.secret is not a regular file$"):
        agent_keys(folder)
    (folder / "file").touch()
    with pytest.raises(AuthenticationError, match=r"^cannot make key file .*: "):
        agent_keys(folder / "file")
