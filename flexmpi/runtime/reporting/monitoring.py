"""The monitoring service of one job (commands 4 and 7): a report line to whoever listens at the end of each interval."""

from __future__ import annotations

import re
import socket
from collections.abc import Iterable
from contextlib import suppress

from flexmpi.errors import CommandError, ConfigurationError
from flexmpi.protocol.address import Address
from flexmpi.runtime.job.measurements import EnergyReading, IntervalReport
from flexmpi.runtime.machine.datagrams import resolved
from flexmpi.runtime.reporting.report import energy_line, monitoring_line

DEFAULT_COUNTERS = ("PAPI_SP_OPS", "PAPI_TOT_CYC")
"""The two that the original FlexMPI starts with. They are counted only if somebody asks for it."""
MOST_COUNTERS = 2

_PRESET = r"PAPI_[A-Z0-9]+(_[A-Z0-9]+)+"
_NATIVE = r"(?!PAPI_)[A-Z][A-Z0-9]*([_.-][A-Z0-9]+)+|[a-z][a-z0-9_]*::+[A-Za-z][A-Za-z0-9_.-]*"


class Monitor:
    """Sends report lines by UDP while it is on.

    Parameters
    ----------
    address
        Where to; None where nobody was named (``--report``).
    in_seconds
        Real and processor time in seconds instead of the manual's microseconds.
    counters
        The hardware events that its lines show; empty for the original's.

    Raises
    ------
    ConfigurationError
        The address names no host.
    """

    def __init__(self, address: Address | None, *, in_seconds: bool, counters: tuple[str, ...] = ()) -> None:
        self.counters = counters or DEFAULT_COUNTERS
        # Looked up once: a look-up for each line would hold the job up where the name service is slow.
        found = None if address is None else resolved(address, what="--report")[0]
        self._address = None if found is None else found[1]
        self._in_seconds = in_seconds
        self._on = False
        self._socket = socket.socket(socket.AF_INET if found is None else found[0], socket.SOCK_DGRAM)
        self._socket.setblocking(False)

    def switch(self, on: bool) -> str:
        """Turn the service on or off and say so.

        Raises
        ------
        CommandError
            There is nobody to report to.
        """
        if on and self._address is None:
            raise CommandError("there is nobody to report to: start with --report [HOST:]PORT")
        self._on = on
        return f"monitoring is on, reports go to UDP {self._address}" if on else "monitoring is off"

    def with_others(self, first: str, second: str | None) -> tuple[str, ...]:
        """Return the counters that command 7 wants; the second stays as it is where none is named.

        Raises
        ------
        CommandError
            A name is neither that of a PAPI preset (PAPI_TOT_INS) nor of a native event (INST_RETIRED, perf::CYCLES).
        """
        names = (first, *(self.counters[1:] if second is None else (second,)))
        for name in names:
            if (wrong := _not_an_event(name)) is not None:
                raise CommandError(wrong)
        return names

    def report(self, interval: IntervalReport, host: str) -> None:
        """Send the line of an interval, if the service is on."""
        if self._on:
            self.send(monitoring_line(interval, host, self.counters, in_seconds=self._in_seconds))

    def report_energy(self, readings: Iterable[EnergyReading]) -> None:
        """Send a line for each machine whose energy is known, if the service is on."""
        for reading in readings:
            if self._on and reading.joules:
                self.send(energy_line(reading))

    def send(self, text: str) -> None:
        """Send a line; nobody has to be there to receive it."""
        if self._address is not None:
            with suppress(OSError):
                self._socket.sendto(text.encode(), self._address)

    def close(self) -> None:
        """Give the socket back."""
        self._socket.close()


def parse_counters(text: str | None) -> tuple[str, ...]:
    """Read ``EVENT`` or ``EVENT,EVENT``.

    Raises
    ------
    ConfigurationError
        These are not one or two events.
    """
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if len(names) > MOST_COUNTERS:
        raise ConfigurationError(f"--counters takes one or two events, got {len(names)}")
    for name in names:
        if (wrong := _not_an_event(name)) is not None:
            raise ConfigurationError(f"--counters: {wrong}")
    return names


def _not_an_event(name: str) -> str | None:
    """Say what is wrong with an event's name by its form; None if nothing is."""
    if re.fullmatch(f"{_PRESET}|{_NATIVE}", name):
        return None
    return f"{name!r} is not an event, expected a PAPI preset as PAPI_TOT_INS or a native event as INST_RETIRED"
