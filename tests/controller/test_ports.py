from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from flexmpi.controller.ports import LARGEST_PORT, Ports, bind
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.address import Address


class Binder:
    """Binds to no real port: says that those in ``taken`` are in use."""

    def __init__(self, taken: set[int]) -> None:
        self.taken = taken
        self.open: list[socket.socket] = []

    def __call__(self, address: Address) -> socket.socket | None:
        if address.port in self.taken:
            return None
        self.open.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        return self.open[-1]


@pytest.fixture
def sockets() -> Iterator[list[socket.socket]]:
    ends: list[socket.socket] = []
    yield ends
    for end in ends:
        end.close()


def taken_ports(ports: Ports, count: int, sockets: list[socket.socket]) -> list[int]:
    chosen = []
    for _ in range(count):
        listen, reports = ports.take()
        sockets.append(reports)
        chosen.append(listen.port)
    return chosen


def test_applications_get_pairs_of_ports_upwards_from_the_first(sockets: list[socket.socket]) -> None:
    assert taken_ports(Ports(6666, bind=Binder(set())), 3, sockets) == [6666, 6668, 6670]


def test_a_pair_with_a_port_in_use_is_left_out(sockets: list[socket.socket]) -> None:
    binder = Binder({6666, 6669})
    assert taken_ports(Ports(6666, bind=binder), 2, sockets) == [6670, 6672]
    assert [end for end in binder.open if end.fileno() >= 0] == sockets


@pytest.mark.parametrize("first", [LARGEST_PORT - 1, LARGEST_PORT - 2])
def test_running_out_of_ports_is_an_error(first: int, sockets: list[socket.socket]) -> None:
    ports = Ports(first, bind=Binder(set()))
    taken_ports(ports, 1, sockets)
    with pytest.raises(ConfigurationError, match=f"no two neighbouring UDP ports are free from {first} on"):
        ports.take()


def test_a_real_port_in_use_is_skipped_and_the_report_port_is_bound_the_other_left_free(
    sockets: list[socket.socket],
) -> None:
    sockets.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    sockets[0].bind(("127.0.0.1", 0))
    busy = sockets[0].getsockname()[1]
    listen, reports = Ports(busy - 1).take()
    sockets.append(reports)
    assert listen.port > busy
    assert reports.getsockname() == ("127.0.0.1", listen.port + 1)
    assert bind(Address(*reports.getsockname())) is None
    free = bind(listen)
    assert free is not None
    sockets.append(free)
