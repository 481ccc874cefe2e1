"""The key of a user's commands: in the user's home, nobody else's to read."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from flexmpi.errors import AuthenticationError
from flexmpi.trust.command_key import command_key


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def test_a_key_is_made_once_with_mode_0600_and_found_again(home: Path) -> None:
    assert command_key(make=False) is None
    assert list(home.iterdir()) == []
    key = command_key(make=True)
    assert key is not None
    assert len(key) == 32
    assert command_key(make=True) == command_key(make=False) == key
    file = home / ".flexmpi" / "commands.key"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700


def test_a_key_that_others_can_read_is_not_used(home: Path) -> None:
    command_key(make=True)
    (home / ".flexmpi" / "commands.key").chmod(0o640)
    with pytest.raises(AuthenticationError, match=r"others can read key file .* \(mode 0640\): chmod go-rwx"):
        command_key(make=False)


def test_a_key_in_a_folder_that_others_can_change_is_not_used(home: Path) -> None:
    command_key(make=True)
    (home / ".flexmpi").chmod(0o777)
    with pytest.raises(AuthenticationError, match="others can change the folder"):
        command_key(make=False)


def test_no_home_is_made_for_a_key(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    monkeypatch.setenv("HOME", str(home / "none"))
    assert command_key(make=False) is None
    with pytest.raises(AuthenticationError, match=r"cannot make key file .*none/\.flexmpi/commands\.key: No such file"):
        command_key(make=True)
    assert not (home / "none").exists()
