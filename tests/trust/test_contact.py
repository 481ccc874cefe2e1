from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
import zmq
import zmq.asyncio

from flexmpi.errors import AuthenticationError, ConfigurationError, FlexMPIError
from flexmpi.protocol.auth import Identity, identify
from flexmpi.trust.agent_folder import DEFAULT_FOLDER, agent_folder, wanted_agent
from flexmpi.trust.contact import Card, publish, read_contact
from flexmpi.trust.curve import admit_clients, secure_server, sender_key
from flexmpi.trust.keys import agent_keys, local_key
from flexmpi.trust.munge import Munge

LIMIT_S = 20.0
LOCAL = Card(address="tcp://127.0.0.1:7000", authority="local")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "agent"
    agent_keys(folder), local_key(folder, make=True)
    return folder


def complaint(folder: Path) -> str:
    with pytest.raises(FlexMPIError) as caught:
        read_contact(folder)
    return str(caught.value)


def test_a_card_is_read_as_it_was_published_and_is_readable_by_all(folder: Path) -> None:
    cards = [LOCAL, Card(address="tcp://[::1]:65535", authority="munge", munge_socket=Path("/run/munge/2"))]
    before = os.umask(0o077)
    try:
        for card in cards:
            publish(folder, card)
            contact = read_contact(folder)
            assert (contact.card, contact.server_key) == (card, agent_keys(folder).public)
            assert (folder / "agent.json").stat().st_mode & 0o777 == 0o644
    finally:
        os.umask(before)
    assert not list(folder.glob(".*"))


def test_a_reader_sees_the_old_card_or_the_new_one_and_never_a_part(folder: Path) -> None:
    publish(folder, LOCAL)
    with (folder / "agent.json").open() as old:
        publish(folder, Card(address="tcp://host-2.example:9000", authority="local"))
        assert Card.model_validate_json(old.read()) == LOCAL
    assert read_contact(folder).card.address == "tcp://host-2.example:9000"


def test_a_card_may_be_a_link_to_where_the_agent_may_write(folder: Path, tmp_path: Path) -> None:
    publish(tmp_path, LOCAL)
    (folder / "agent.json").symlink_to(tmp_path / "agent.json")
    assert read_contact(folder).card == LOCAL


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:7000", "tcp://*:7000", "tcp://host", "tcp://host:0", "tcp://host:65536", "ipc:///x", "tcp://a b:1"],
)
def test_an_address_is_that_of_a_host_and_a_port(folder: Path, address: str) -> None:
    (folder / "agent.json").write_text(f'{{"version": 1, "address": "{address}", "authority": "local"}}')
    where = f"{folder}/agent.json: agent's card, field address: expected tcp://HOST:PORT, got "
    assert complaint(folder).startswith(where)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("", "agent's card: Invalid JSON"),
        ("{", "agent's card: Invalid JSON"),
        ("[]", "agent's card: expected an object"),
        ('{"version": 2, "address": "tcp://h:1", "authority": "local"}', "field version: expected 1, got 2"),
        ('{"address": "tcp://h:1"}', "field authority: is missing"),
        ('{"address": "tcp://h:1", "authority": "me"}', "field authority: expected 'munge' or 'local', got 'me'"),
        ('{"address": "tcp://h:1", "authority": "munge", "munge_socket": "run"}', "expected an absolute path"),
        ('{"address": "tcp://h:1", "authority": "munge", "port": 1}', "field port: is not known"),
    ],
)
def test_what_is_wrong_with_a_card_is_said_in_one_line(folder: Path, text: str, what: str) -> None:
    (folder / "agent.json").write_text(text)
    said = complaint(folder)
    assert what in said and "\n" not in said and str(folder) in said


def test_what_is_missing_or_not_safe_is_said(folder: Path) -> None:
    assert complaint(folder) == f"no agent in {folder}: it has no agent.json, which an agent writes when it starts"
    publish(folder, LOCAL)
    (folder / "agent.json").chmod(0o664)
    assert "others can change agent's card" in complaint(folder)
    publish(folder, LOCAL)
    (folder / "agent.public").chmod(0o666)
    assert "others can change key file" in complaint(folder)
    (folder / "agent.public").unlink()
    assert complaint(folder) == f"cannot read key file {folder}/agent.public: No such file or directory"
    (folder / "agent.json").unlink()
    os.mkfifo(folder / "agent.json", 0o644)
    assert complaint(folder) == f"agent's card {folder}/agent.json is not a regular file"
    with pytest.raises(AuthenticationError, match=r"^cannot write agent's card /nowhere/agent.json: No such file"):
        publish(Path("/nowhere"), LOCAL)


def test_a_contact_is_made_by_the_cards_authority(folder: Path) -> None:
    publish(folder, LOCAL)
    assert read_contact(folder).authority() == local_key(folder, make=False)
    publish(folder, Card(address="tcp://h:1", authority="munge", munge_socket=Path("/run/x")))
    assert read_contact(folder).authority() == Munge(socket=Path("/run/x"))
    publish(folder, LOCAL)
    (folder / "agent.local").unlink()
    with pytest.raises(AuthenticationError, match=r"cannot read key file .*agent.local"):
        read_contact(folder).authority()


def test_a_credential_is_good_for_its_own_connection_and_each_has_its_own(folder: Path) -> None:
    async def test() -> None:
        context = zmq.asyncio.Context()
        admitted = admit_clients(context)
        try:
            keys = agent_keys(folder)
            server = context.socket(zmq.ROUTER)
            secure_server(server, keys)
            port = server.bind_to_random_port("tcp://127.0.0.1")
            publish(folder, Card(address=f"tcp://127.0.0.1:{port}", authority="local"))
            contact = read_contact(folder)
            connections = [contact.dial(context) for _ in range(2)]
            assert len({connection.client_key for connection in connections}) == 2
            for connection in connections:
                await asyncio.wait_for(connection.socket.send(connection.credential().encode()), LIMIT_S)
                _, frame = await asyncio.wait_for(server.recv_multipart(copy=False), LIMIT_S)
                assert sender_key(frame) == connection.client_key
                authority = local_key(folder, make=False)
                found = identify(authority, frame.bytes.decode(), client_key=sender_key(frame), server_key=keys.public)
                assert found == Identity(os.geteuid(), os.getegid())
        finally:
            admitted.stop()
            context.destroy(linger=0)

    asyncio.run(test())


def test_nothing_is_queued_for_an_agent_that_is_not_reached(folder: Path) -> None:
    with zmq.Context() as context, context.socket(zmq.REP) as reserved:
        port = reserved.bind_to_random_port("tcp://127.0.0.1")
        reserved.unbind(reserved.getsockopt_string(zmq.LAST_ENDPOINT))
        publish(folder, Card(address=f"tcp://127.0.0.1:{port}", authority="local"))
        with read_contact(folder).dial(context).socket as socket, pytest.raises(zmq.Again):
            socket.send(b"lost", zmq.NOBLOCK)


def test_the_folder_is_the_options_else_the_environments_else_the_usual_one(folder: Path) -> None:
    there = {"FLEXMPI_AGENT": str(folder)}
    assert agent_folder(None, {}) == DEFAULT_FOLDER
    assert agent_folder(None, there) == folder
    assert agent_folder("/elsewhere", there) == Path("/elsewhere")
    assert agent_folder("none", there) is None
    assert agent_folder(None, {"FLEXMPI_AGENT": "none"}) is None
    assert agent_folder("here", {}) == Path.cwd() / "here"


def test_a_job_follows_an_agent_that_is_named_or_one_that_is_at_the_usual_place(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flexmpi.trust.agent_folder.DEFAULT_FOLDER", folder)
    assert wanted_agent(None, {}, in_a_job=True) is None
    for in_a_job in (False, True):
        assert wanted_agent(str(folder), {}, in_a_job=in_a_job) == folder
        assert wanted_agent(None, {"FLEXMPI_AGENT": str(folder)}, in_a_job=in_a_job) == folder
    publish(folder, LOCAL)
    assert wanted_agent(None, {}, in_a_job=True) == folder
    assert wanted_agent(None, {}, in_a_job=False) is None
    assert wanted_agent("none", {}, in_a_job=True) is None


def test_choosing_the_folder_loads_neither_zmq_nor_pydantic() -> None:
    code = "import sys, flexmpi.trust.agent_folder; sys.exit(bool({'zmq', 'pydantic'} & set(sys.modules)))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_card_whose_field_is_wrong_is_a_configuration_error(folder: Path) -> None:
    (folder / "agent.json").write_text("{}")
    with pytest.raises(ConfigurationError):
        read_contact(folder)
