"""Whose a datagram is: by the kernel's table, without believing what any user can make it look like."""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from flexmpi.protocol.address import Address
from flexmpi.runtime.machine import senders
from flexmpi.runtime.machine.datagrams import sending_socket
from flexmpi.runtime.machine.senders import UdpSocket, doubt, doubt_about, own_and_root, parse_table
from tests.udp import needs_ipv6, needs_root, somebody_else, strangers_socket

OWN, OTHER = 1000, 1001
IP_PKTINFO = 8
LISTENING = 6666
HERE = Address("127.0.0.1", LISTENING)
SENDER = Address("127.0.0.1", 40000)
WILD = Address("0.0.0.0", SENDER.port)
NOTHING = Address("0.0.0.0", 0)

TABLE = """\
   sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode ref pointer drops
 5069: 0100007F:BF39 0100007F:1E61 01 00000000:00000000 00:00000000 00000000 65534        0 2321860 2 00000000d17ef5bd 0
13045: 00000000:1E61 00000000:0000 07 00000000:00000000 00:00000000 00000000  1000        0 2320868 2 000000007b6d43c0 0
"""
TABLE_6 = """\
  sl  local_address                         remote_address                        st tx_queue rx_queue tr tm->when retrnsmt   uid
 5069: 00000000000000000000000001000000:BF39 00000000000000000000000000000000:0000 07 00000000:00000000 00:00000000 00000000     0
 5070: 0000000000000000FFFF00000100007F:BF3A 0000000000000000FFFF00000100007F:1E61 01 00000000:00000000 00:00000000 00000000  1000
"""


def judged(
    *sockets: UdpSocket, sender: Address = SENDER, unshared: bool = True, reserved_below: int = 1024
) -> str | None:
    return doubt(
        sender,
        sockets,
        listening=LISTENING,
        users={0, OWN},
        reserved_below=reserved_below,
        unshared=lambda: unshared,
    )


@pytest.mark.skipif(sys.byteorder != "little", reason="the tables here are of a machine of the other order of bytes")
def test_the_kernels_tables_are_read_with_addresses_of_both_families() -> None:
    assert parse_table(TABLE, port=48953) == [UdpSocket(Address("127.0.0.1", 48953), Address("127.0.0.1", 7777), 65534)]
    assert parse_table(TABLE, port=7777) == [UdpSocket(Address("0.0.0.0", 7777), NOTHING, 1000)]
    assert parse_table(TABLE_6, port=48953) == [UdpSocket(Address("::1", 48953), Address("::", 0), 0)]
    assert parse_table(TABLE_6, port=48954) == [
        UdpSocket(Address("127.0.0.1", 48954), Address("127.0.0.1", 7777), 1000)
    ]
    assert parse_table(TABLE, port=1) == parse_table("", port=1) == []


@pytest.mark.parametrize("uid", [0, OWN])
def test_a_socket_of_the_user_or_root_is_believed_connected_or_not(uid: int) -> None:
    assert judged(UdpSocket(SENDER, HERE, uid)) is None
    assert judged(UdpSocket(WILD, NOTHING, uid)) is None


def test_another_users_socket_is_named() -> None:
    assert judged(UdpSocket(WILD, NOTHING, OTHER)) == "it comes from uid 1001"


@pytest.mark.parametrize("of_another", [WILD, SENDER, Address("127.0.0.2", SENDER.port), Address("::1", SENDER.port)])
def test_of_several_sockets_at_a_port_all_must_be_the_users_or_roots_whatever_their_address(
    of_another: Address,
) -> None:
    both = UdpSocket(SENDER, HERE, OWN), UdpSocket(of_another, NOTHING, OTHER)
    assert judged(*both) == judged(*reversed(both)) == "it comes from uid 1001"


def test_a_datagram_whose_socket_is_gone_is_nobodys() -> None:
    assert judged() == senders.GONE
    assert judged(UdpSocket(Address("0.0.0.0", 40001), NOTHING, OWN)) == senders.GONE


def test_a_socket_that_others_may_share_the_port_of_is_not_believed_unless_it_is_connected_here() -> None:
    assert judged(UdpSocket(WILD, NOTHING, 0), unshared=False) == senders.SHARED
    assert judged(UdpSocket(SENDER, NOTHING, 0)) == senders.SHARED, "the same port of 127.0.0.2 is anybody's"
    assert judged(UdpSocket(SENDER, Address("127.0.0.1", 53), 0)) == senders.SHARED
    assert judged(UdpSocket(SENDER, Address("10.0.0.9", LISTENING), 0)) == senders.SHARED, "connected elsewhere"
    assert judged(UdpSocket(SENDER, HERE, 0), unshared=False) is None


def test_a_reserved_port_is_roots_who_needs_no_socket_unless_a_service_of_another_user_has_it() -> None:
    reserved = Address("127.0.0.1", 53)
    assert judged(sender=reserved) is None
    assert judged(UdpSocket(Address("127.0.0.53", 53), NOTHING, OTHER), sender=reserved) is None
    assert judged(UdpSocket(Address("0.0.0.0", 53), NOTHING, OTHER), sender=reserved) == "it comes from uid 1001"
    assert judged(sender=reserved, reserved_below=0) == senders.GONE, "where anybody may use every port"
    assert judged(sender=Address("127.0.0.1", 0)) == senders.GONE, "a race sends from port 0 without any right"


def test_what_bears_the_listeners_own_port_is_nobodys() -> None:
    assert judged(UdpSocket(HERE, NOTHING, OWN), sender=HERE) == senders.REFLECTED


def test_in_a_container_that_lacks_users_the_one_that_stands_for_them_is_not_believed() -> None:
    assert own_and_root(65534, map_of_users="0 0 4294967295", nobody=65534) == {0, 65534}
    assert own_and_root(65534, map_of_users="0 1000 1", nobody=65534) == {0}
    assert own_and_root(1000, map_of_users="1000 1000 1", nobody=65534) == {0, 1000}


# By the kernel of this machine.


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as end:
        end.bind(("127.0.0.1", 0))
        end.settimeout(10.0)
        yield end


def heard(listener: socket.socket) -> str | None:
    sender = Address.of(listener.recvfrom(100)[1])
    return doubt_about(sender, listening=listener.getsockname()[1])


def test_this_users_own_sockets_are_believed(listener: socket.socket) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as plain, socket.socket(type=socket.SOCK_DGRAM) as connected:
        plain.sendto(b"5:", listener.getsockname())
        assert heard(listener) is None
        connected.connect(listener.getsockname())
        connected.send(b"5:")
        assert heard(listener) is None


@needs_ipv6
def test_this_users_own_sockets_are_believed_by_ipv6_too() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as end, sending_socket(socket.AF_INET6) as sending:
        end.bind(("::1", 0))
        end.settimeout(10.0)
        sending.sendto(b"5:", end.getsockname())
        assert heard(end) is None


@needs_root
def test_another_users_socket_is_not_believed(listener: socket.socket) -> None:
    with strangers_socket() as end:
        end.sendto(b"5:", listener.getsockname())
        assert heard(listener) == "it comes from uid 65534"


def test_whoever_closes_at_once_is_not_believed(listener: socket.socket) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as end:
        end.sendto(b"5:", listener.getsockname())
    assert heard(listener) == senders.GONE


@needs_root
def test_another_users_datagram_with_the_address_of_a_bystanders_socket_is_not_believed(
    listener: socket.socket,
) -> None:
    """IP_PKTINFO lets anybody send with any address of the machine, from a port of their own at another one."""
    with socket.socket(type=socket.SOCK_DGRAM) as bystander:
        bystander.bind(("127.0.0.1", 0))
        with strangers_socket() as end:
            end.bind(("127.0.0.2", bystander.getsockname()[1]))
            chosen = struct.pack("=I4s4s", 0, socket.inet_aton("127.0.0.1"), bytes(4))
            end.sendmsg([b"5:"], [(socket.IPPROTO_IP, IP_PKTINFO, chosen)], 0, listener.getsockname())
        assert listener.recv(100, socket.MSG_PEEK) == b"5:"
        assert heard(listener) == senders.SHARED


@needs_root
def test_another_user_who_shared_a_bystanders_port_is_not_believed(listener: socket.socket) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as bystander:
        bystander.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bystander.bind(("0.0.0.0", 0))
        with strangers_socket() as end:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            end.bind(bystander.getsockname())
            end.sendto(b"5:", listener.getsockname())
        assert heard(listener) == senders.SHARED


@needs_root
@pytest.mark.parametrize("host", ["0.0.0.0", "127.0.0.1", "127.0.0.2"])
def test_nobody_else_can_speak_for_the_socket_that_commands_are_sent_from(host: str) -> None:
    with sending_socket(socket.AF_INET) as sending, strangers_socket() as end:
        for option in (socket.SO_REUSEADDR, socket.SO_REUSEPORT):
            end.setsockopt(socket.SOL_SOCKET, option, 1)
        with pytest.raises(OSError, match="Address already in use"), somebody_else():
            end.bind((host, sending.getsockname()[1]))


@pytest.mark.parametrize("host", ["198.51.100.77", "fe80::1", "2001:db8::1"])
def test_what_comes_from_elsewhere_is_not_looked_up_here(host: str) -> None:
    assert doubt_about(Address(host, 40000), listening=LISTENING) == senders.ELSEWHERE


def test_where_the_kernel_does_not_tell_nobody_is_believed(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listener: socket.socket
) -> None:
    assert senders.kernel_tells()
    with sending_socket(socket.AF_INET) as sending:
        sending.sendto(b"5:", listener.getsockname())
        monkeypatch.setattr(senders, "TABLES", (str(tmp_path / "none"),))
        assert not senders.kernel_tells()
        assert heard(listener) == senders.NO_TABLE


def test_an_older_kernel_without_user_namespaces_tells_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, listener: socket.socket
) -> None:
    for name in ("RESERVED_PORTS", "USER_MAP", "NOBODY"):
        monkeypatch.setattr(senders, name, tmp_path / name)
    with sending_socket(socket.AF_INET) as sending:
        sending.sendto(b"5:", listener.getsockname())
        assert heard(listener) is None
