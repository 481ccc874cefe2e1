from __future__ import annotations

import asyncio
import os
import shutil
import socket
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.errors import AuthenticationError
from flexmpi.protocol import auth
from flexmpi.protocol.auth import Action, Identity, SharedKey, Signed, check_payload, identify, may, payload_of, prove
from flexmpi.trust.keys import CurveKeys, local_key
from flexmpi.trust.munge import Munge, clocks, parse_unmunge

bounded = settings(derandomize=True, deadline=None, max_examples=200)

LIMIT_S = 20.0
CLIENT, SERVER, OTHER = (CurveKeys.fresh().public for _ in range(3))
uids = st.integers(1, 6)


@pytest.fixture(scope="module")
def munge() -> Iterator[Munge]:
    """A munged of these tests' own, with its own key."""
    daemon = shutil.which("munged", path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if daemon is None or shutil.which("munge") is None:
        pytest.skip("munge is not installed")
    with tempfile.TemporaryDirectory(prefix="fx-munge-", dir="/tmp") as name:  # a Unix socket's path must be short
        folder = Path(name)
        key = folder / "key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
        options = [f"--{option}={folder / file}" for option, file in files.items()]
        process = subprocess.Popen([daemon, "--foreground", "--force", *options], stderr=subprocess.PIPE, text=True)
        assert process.stderr is not None
        try:
            said = []
            for line in process.stderr:  # ends when munged does
                said.append(line)
                if "Created socket" in line:
                    break
            else:
                pytest.fail("munged did not start: " + "".join(said))
            yield Munge(folder / "socket", limit_s=LIMIT_S)
        finally:
            process.terminate()
            process.communicate(timeout=LIMIT_S)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def shared(folder: Path) -> SharedKey:
    return local_key(folder, make=True)


@pytest.fixture(params=["munge", "local"])
def authority(request: pytest.FixtureRequest) -> auth.Authority:
    return request.getfixturevalue("munge" if request.param == "munge" else "shared")


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# -- credentials


def test_a_credential_tells_whose_it_is(authority: auth.Authority) -> None:
    credential = prove(authority, client_key=CLIENT, server_key=SERVER)
    found = identify(authority, credential, client_key=CLIENT, server_key=SERVER)
    assert found == Identity(os.getuid(), os.getgid())


def test_two_credentials_of_one_connection_differ(authority: auth.Authority) -> None:
    made = {prove(authority, client_key=CLIENT, server_key=SERVER) for _ in range(2)}
    assert len(made) == 2


def test_a_credential_is_good_again_on_its_own_connection_and_on_no_other(authority: auth.Authority) -> None:
    credential = prove(authority, client_key=CLIENT, server_key=SERVER)
    first = identify(authority, credential, client_key=CLIENT, server_key=SERVER)
    assert identify(authority, credential, client_key=CLIENT, server_key=SERVER) == first
    with pytest.raises(AuthenticationError, match="made for another connection"):
        identify(authority, credential, client_key=OTHER, server_key=SERVER)
    with pytest.raises(AuthenticationError, match="made for another agent"):
        identify(authority, credential, client_key=CLIENT, server_key=OTHER)


def test_a_credential_for_another_purpose_is_refused(authority: auth.Authority) -> None:
    for payload in ("", "hello", f"flexmpi-agent/0,{CLIENT},{SERVER},00", f"{auth.PURPOSE},{CLIENT},{SERVER}"):
        with pytest.raises(AuthenticationError, match=f"not made for a FlexMPI agent.*{auth.PURPOSE}"):
            identify(authority, authority.sign(payload), client_key=CLIENT, server_key=SERVER)


@pytest.mark.parametrize("place", [0.1, 0.5, 0.9])
def test_a_tampered_credential_is_refused(authority: auth.Authority, place: float) -> None:
    credential = prove(authority, client_key=CLIENT, server_key=SERVER)
    at = int(place * len(credential))
    changed = credential[:at] + ("A" if credential[at] != "A" else "B") + credential[at + 1 :]
    with pytest.raises(AuthenticationError, match=r"^the credential "):
        identify(authority, changed, client_key=CLIENT, server_key=SERVER)


@pytest.mark.parametrize("text", ["", ":", "hello", "LOCAL:", "LOCAL::", "MUNGE:AAAA:", "é", "\udcff:\udcff"])
def test_what_is_no_credential_is_refused(authority: auth.Authority, text: str) -> None:
    with pytest.raises(AuthenticationError, match=r"^the credential "):
        authority.read(text)


def test_a_credential_made_with_another_local_key_is_refused(tmp_path: Path, shared: SharedKey) -> None:
    other = local_key(tmp_path / "other", make=True)
    with pytest.raises(AuthenticationError, match="not made with this agent's local key"):
        shared.read(prove(other, client_key=CLIENT, server_key=SERVER))


def test_a_local_credential_is_no_munge_credential_nor_the_other_way_round(munge: Munge, shared: SharedKey) -> None:
    with pytest.raises(AuthenticationError, match="not of the form LOCAL"):
        shared.read(prove(munge, client_key=CLIENT, server_key=SERVER))
    with pytest.raises(AuthenticationError, match="refused"):
        munge.read(prove(shared, client_key=CLIENT, server_key=SERVER))


def test_an_expired_credential_is_refused(munge: Munge) -> None:
    brief = Munge(munge.socket, limit_s=LIMIT_S, lifetime_s=1)
    credential = prove(brief, client_key=CLIENT, server_key=SERVER)

    def use_for_long() -> None:
        give_up = time.monotonic() + LIMIT_S
        while time.monotonic() < give_up:
            identify(munge, credential, client_key=CLIENT, server_key=SERVER)

    day, here = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC", os.uname().nodename
    named = rf"made at {day} by the clock of \S+, read at {day} by the clock of {here}, \d+ s later"
    with pytest.raises(
        AuthenticationError, match=f"the credential was refused: it has expired: {named}, .* good for 1 s"
    ):
        use_for_long()


@pytest.mark.parametrize(("made", "apart"), [(1796012345, "600 s later"), (1796013545, "600 s earlier")])
def test_of_a_credential_by_a_clock_that_is_wrong_both_clocks_are_named(made: int, apart: str) -> None:
    printed = (
        f"ENCODE_HOST:     10.0.0.3\nENCODE_TIME:     {made}\nDECODE_TIME:     1796012945\nTTL:             300\n\nx"
    )
    words = clocks(printed, reader="login")
    assert f"by the clock of 10.0.0.3, read at 2026-11-30 04:29:05 UTC by the clock of login, {apart}" in words
    assert "good for 300 s" in words
    assert clocks("", reader="login") == ""


def test_a_credential_carries_the_uid_of_who_made_it(munge: Munge) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can have another user make a credential")
    assert munge.socket is not None
    munge.socket.parent.chmod(0o711)
    command = [
        "munge",
        f"--socket={munge.socket}",
        f"--string={payload_of(client_key=CLIENT, server_key=SERVER, nonce='00')}",
    ]
    made = subprocess.run(command, capture_output=True, text=True, check=True, timeout=LIMIT_S, user=65534, group=65533)
    found = identify(munge, made.stdout.strip(), client_key=CLIENT, server_key=SERVER)
    assert found == Identity(65534, 65533)


def test_a_munged_that_is_gone_or_silent_is_told_in_time(munge: Munge, tmp_path: Path) -> None:
    with pytest.raises(AuthenticationError, match=r"no credential could be made: .*No such file"):
        Munge(tmp_path / "nowhere").sign("hello")
    with tempfile.TemporaryDirectory(prefix="fx-", dir="/tmp") as name, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{name}/s")
        silent.listen()
        for ask in (Munge(Path(name, "s"), limit_s=0.2).sign, Munge(Path(name, "s"), limit_s=0.2).read):
            with pytest.raises(AuthenticationError, match=r"munge did not answer within 0\.2 s"):
                ask(munge.sign("hello"))


def beside(munge: Munge, payload: str) -> str:
    return asyncio.run(munge.sign_beside(payload))


def test_munge_beside_other_work_makes_the_same_credentials_and_the_same_errors(
    munge: Munge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert munge.read(beside(munge, "hello")) == Signed("hello", Identity(os.getuid(), os.getgid()))
    with pytest.raises(AuthenticationError, match=r"no credential could be made: .*No such file"):
        beside(Munge(tmp_path / "nowhere"), "hello")
    with tempfile.TemporaryDirectory(prefix="fx-", dir="/tmp") as name, socket.socket(socket.AF_UNIX) as silent:
        silent.bind(f"{name}/s")
        silent.listen()
        with pytest.raises(AuthenticationError, match=r"munge did not answer within 0\.2 s"):
            beside(Munge(Path(name, "s"), limit_s=0.2), "hello")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AuthenticationError, match="cannot run munge: No such file"):
        beside(munge, "hello")


def test_a_munge_that_hangs_ends_with_the_task_that_waits_for_it(tmp_path: Path) -> None:
    told = tmp_path / "told"
    os.mkfifo(told)
    hanging = tmp_path / "munge"
    hanging.write_text(f"#!/bin/sh\necho $$ > {told}\nexec sleep 3600\n")
    hanging.chmod(0o755)

    async def give_up() -> int:
        signing = asyncio.create_task(Munge().sign_beside("hello"))
        pid = int(await asyncio.wait_for(asyncio.to_thread(told.read_text), LIMIT_S))
        signing.cancel()
        await asyncio.wait([signing], timeout=LIMIT_S)
        assert signing.cancelled()
        return pid

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
        pid = asyncio.run(give_up())
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_missing_munge_command_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(AuthenticationError, match="cannot run munge: No such file"):
        Munge().sign("hello")


def test_the_output_of_unmunge_is_read_strictly() -> None:
    figures = "UID:             1000\nGID:             100\nLENGTH:          14\n\n"
    assert parse_unmunge(figures + "UID: 0\n\nGID: 0") == Signed("UID: 0\n\nGID: 0", Identity(1000, 100))
    for wrong in ("", figures, figures + "UID: 0\n\nGID: 00", figures.replace("UID", "ID") + "UID: 0\n\nGID: 0"):
        with pytest.raises(AuthenticationError, match="unmunge printed something else"):
            parse_unmunge(wrong)


@given(st.text())
@bounded
def test_only_its_own_payload_is_taken_for_a_connection(text: str) -> None:
    check_payload(payload_of(client_key=CLIENT, server_key=SERVER, nonce="00"), client_key=CLIENT, server_key=SERVER)
    with pytest.raises(AuthenticationError):
        check_payload(text, client_key=CLIENT, server_key=SERVER)


# -- who may do what


@given(uids, st.sampled_from(Action), st.none() | uids, uids, st.frozensets(uids, max_size=3))
@bounded
def test_nobody_changes_what_is_not_theirs(
    uid: int, action: Action, owner: int | None, agent: int, operators: frozenset[int]
) -> None:
    permission = may(uid, action, job_owner=owner, agent_uid=agent, operators=operators)
    assert permission.why.isprintable() and permission.why
    if action is Action.READ:
        assert permission
    elif action is Action.REGISTER:
        assert bool(permission) == (uid == owner)
    elif action is Action.SUBMIT:
        assert bool(permission) == (uid == agent)
    elif action in (Action.POLICY, Action.MODE, Action.POWERCAP):
        assert bool(permission) == (uid == agent or uid in operators)
    else:
        assert bool(permission) == (uid in (owner, agent) or uid in operators)


@pytest.mark.parametrize("action", [action for action in Action if action is not Action.REGISTER])
def test_root_may_do_all_but_register_a_job_of_others(action: Action) -> None:
    assert may(0, action, job_owner=1, agent_uid=2)
    assert not may(0, Action.REGISTER, job_owner=1, agent_uid=2)


def test_a_refusal_says_who_may() -> None:
    refused = may(3, Action.EXPAND, job_owner=1, agent_uid=2, operators=(4,))
    assert refused.why == "uid 3 may not expand this job: only its owner (uid 1) and operators may"
    assert may(4, Action.EXPAND, job_owner=1, agent_uid=2, operators=(4,)).why == "an operator"
    assert may(1, Action.MODE, agent_uid=2).why == "uid 1 may not change the mode: only operators may"
    named = may(3, Action.STOP, job_owner=1, agent_uid=2, name_of={1: "ana", 3: "ben"}.__getitem__)
    assert named.why == "ben may not stop this job: only its owner (ana) and operators may"
