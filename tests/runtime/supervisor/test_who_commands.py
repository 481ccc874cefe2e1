"""Who may command a running application: other users and other machines try, by real sockets, nping and a network."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from flexmpi.protocol.address import Address
from tests.applications import COREFILES, PROGRAMS, Application
from tests.udp import NOBODY, needs_ipv6, needs_root, strangers_socket, told

QUICK = (f"--corefile={COREFILES / 'demo.core'}", "--interval=0.05s", "-n1")
COUNTING = (PROGRAMS / "counting.py", "--pause=0.001")
REFUSED = "error: only this job's own user and root may command it, and this command is not known to be theirs: "
LIMIT_S = 30.0

Start = Callable[..., Application]


def lives_on(application: Application) -> None:
    """See that it has not ended, nor changed, and goes on taking its own user's commands."""
    assert application.send("12:still here") == "ok: printed"
    assert not [event for event in application.seen if event["event"] == "reconfiguration"]
    application.wait_for("sample")


@needs_root
def test_another_user_can_neither_resize_nor_end_a_job_and_the_output_says_so_once(start: Start) -> None:
    application = start(*QUICK, *COUNTING)
    application.wait_for("loop")
    with strangers_socket() as end:
        for command in (b"5:", b"6:lhost:1", b"anything@5:", b"3:"):
            assert told(end, application.address(), command).startswith(
                f"{REFUSED}it comes from uid {NOBODY} (flexmpi send"
            )
    lives_on(application)
    assert application.send("5:").startswith("ok: ")
    lines = [line for line in application.finish()[1].splitlines() if "Refused packet" in line]
    assert len(lines) == 1, "however often somebody tries"
    assert re.match(rf"Refused packet from 127\.0\.0\.1:\d+: only this job.* uid {NOBODY} ", lines[0])


def test_a_command_whose_sender_has_gone_is_refused_for_it_could_be_anybodys(start: Start) -> None:
    application = start(*QUICK, *COUNTING)
    application.wait_for("loop")
    with socket.socket(type=socket.SOCK_DGRAM) as end:
        # No process can be seen to send this: it is taken in only when its socket is closed.
        application.process.send_signal(signal.SIGSTOP)
        end.sendto(b"5:", application.address())
    application.process.send_signal(signal.SIGCONT)
    lives_on(application)
    assert application.send("5:").startswith("ok: ")
    assert "its socket is closed already" in application.finish()[1]


@needs_root
def test_npings_line_of_the_manual_is_roots_by_its_port_and_another_users_by_its_socket(start: Start) -> None:
    if shutil.which("nping") is None or shutil.which("setpriv") is None:
        pytest.skip("nping or setpriv is not installed: apt-get install nmap util-linux")
    application = start(*QUICK, *COUNTING)
    application.wait_for("loop")
    nping = ["nping", "--udp", "-p", str(application.address().port), "-c", "1", "127.0.0.1", "--data-string"]
    another = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", *nping, "5:"]
    tried = subprocess.run(another, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert "SENT" in tried.stdout, tried.stderr
    lives_on(application)
    subprocess.run([*nping, "6:lhost:1"], capture_output=True, timeout=LIMIT_S, check=True)
    assert application.wait_for("reconfiguration")["cause"] == "udp 6:lhost:1"


@needs_root
def test_an_open_port_is_asked_for_and_warned_of(start: Start) -> None:
    application = start(*QUICK, "--listen-open", *COUNTING)
    application.wait_for("loop")
    with strangers_socket() as end:
        assert told(end, application.address(), b"5:").startswith("ok: ")
    status, _, errors = application.finish()
    address = application.address()
    warning = f"flexmpi: warning: UDP {address} takes commands from anybody who reaches it (--listen-open)\n"
    assert (status, errors) == (143, warning)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--listen-open"], "--listen-open needs --listen, which says the port"),
        (
            ["--listen-open", "--listen=0", "--token-file=token"],
            "--listen-open takes commands from anybody, --token-file does not: give one of them",
        ),
        (["--listen=::1:6666"], "--listen: an IPv6 address needs brackets, as [::1]:6666, got '::1:6666'"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: list[str], why: str) -> None:
    command = [sys.executable, "-m", "flexmpi.cli", "run", *options, str(COUNTING[0])]
    tried = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert (tried.returncode, tried.stderr) == (2, f"flexmpi: error: {why}\n")


@needs_ipv6
def test_a_job_takes_its_users_commands_by_ipv6_and_warns_of_nothing(start: Start, tmp_path: Path) -> None:
    application = start(*QUICK, "--listen=[::1]:0", *COUNTING, environment={"HOME": str(tmp_path)})
    application.wait_for("loop")
    assert application.address().host == "::1"
    assert flexmpi_send(application.address(), "12:hello", home=tmp_path) == (0, "ok: printed\n", "")
    assert application.send("5:").startswith("ok: ")
    status, output, errors = application.finish()
    assert (status, errors) == (143, "")
    assert f"Listening for commands at UDP {application.address()}\n" in output
    assert list(tmp_path.iterdir()) == [], "only this machine reaches it: no key is needed"


# From another machine: a network of its own.


@dataclass(frozen=True)
class Elsewhere:
    """A network namespace that reaches this one as another machine would."""

    name: str
    this_machine: str

    def prefix(self) -> list[str]:
        return ["ip", "netns", "exec", self.name]


@pytest.fixture
def elsewhere() -> Iterator[Elsewhere]:
    """Another machine, as far as the network tells."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("only root can make a network, and with ip: apt-get install iproute2")
    number = os.getpid() % 250
    name, near, far = f"flexmpi-{os.getpid()}", f"fx{os.getpid()}a"[-15:], f"fx{os.getpid()}b"[-15:]
    here, there = f"198.18.{number}.1", f"198.18.{number}.2"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no network can be made here: {made.stderr.strip()}")
    try:
        for command in (
            f"ip link add {near} type veth peer name {far} netns {name}",
            f"ip addr add {here}/30 dev {near}",
            f"ip link set {near} up",
            f"ip -n {name} addr add {there}/30 dev {far}",
            f"ip -n {name} link set {far} up",
        ):
            subprocess.run(command.split(), check=True)
        yield Elsewhere(name, here)
    finally:
        subprocess.run(["ip", "netns", "del", name], check=True)


def flexmpi_send(
    address: Address, command: str, *, home: Path, prefix: tuple[str, ...] | list[str] = ()
) -> tuple[int, str, str]:
    """Run `flexmpi send` as a user with this home does."""
    sent = subprocess.run(
        [*prefix, sys.executable, "-m", "flexmpi.cli", "send", str(address), command],
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=False,
        env={**os.environ, "HOME": str(home)},
    )
    return sent.returncode, sent.stdout, sent.stderr


def test_from_another_machine_the_users_key_proves_a_command_and_flexmpi_send_finds_it(
    start: Start, tmp_path: Path, elsewhere: Elsewhere
) -> None:
    homes = tmp_path / "user", tmp_path / "another"
    for home in homes:
        home.mkdir()
    application = start(*QUICK, "--listen=0.0.0.0:0", *COUNTING, environment={"HOME": str(homes[0])})
    application.wait_for("loop")
    key = homes[0] / ".flexmpi" / "commands.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    address = Address(elsewhere.this_machine, application.address().port)
    status, reply, _ = flexmpi_send(address, "5:", home=homes[1], prefix=elsewhere.prefix())
    assert (status, reply[: len(REFUSED)]) == (1, REFUSED)
    assert "it comes from another machine" in reply
    lives_on(application)
    sent = flexmpi_send(address, "6:lhost:1", home=homes[0], prefix=elsewhere.prefix())
    assert sent == (0, "ok: reconfiguration 1: start 1 rank on demo-1\n", "")
    assert application.wait_for("reconfiguration")["ranks_after"] == 2
    # This machine's own address is its own, and needs no key.
    assert flexmpi_send(address, "12:hello", home=homes[1]) == (0, "ok: printed\n", "")


def test_a_key_that_cannot_be_made_is_warned_of_and_the_job_runs(start: Start, tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path / "none")}
    application = start(*QUICK, "--listen=0.0.0.0:0", *COUNTING, "--iterations=50", environment=home)
    status, _, errors = application.finish()
    assert status == 0
    assert errors.startswith("flexmpi: warning: no signed commands are taken: cannot make key file ")
    assert len(errors.splitlines()) == 1
