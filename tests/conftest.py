"""What all tests share: real applications, started by `flexmpi run` and ended with their test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from tests.applications import Application, Leftovers
from tests.libraries import LIBRARIES, python_of

SLURM_TESTS = "tests/devcluster/"
CHANGES = ("join", "handover")


@pytest.fixture(scope="session", autouse=True)
def signals_are_not_ignored() -> None:
    """Undo what a shell does to what it runs in the background, for what tests start would inherit it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    marked = metafunc.definition.get_closest_marker
    if marked("both_changes") is not None and marked("every_library") is not None:
        # Joining works under one library alone.
        ways = [(CHANGES[0], LIBRARIES[0]), *((CHANGES[1], library) for library in LIBRARIES)]
        metafunc.parametrize(("change", "library"), ways, indirect=True)
    elif marked("both_changes") is not None:
        metafunc.parametrize("change", CHANGES, indirect=True)
    elif marked("every_library") is not None:
        metafunc.parametrize("library", LIBRARIES, indirect=True)


class TwoAtATime(LoadScopeScheduling):
    """Tests go to whichever process is free, but those with a real Slurm to one, for they share a cluster."""

    def _split_scope(self, nodeid: str) -> str:
        return SLURM_TESTS if nodeid.startswith(SLURM_TESTS) else nodeid


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> TwoAtATime:
    return TwoAtATime(config, log)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Leave blocks in ranks' memory under the other libraries to the soak tests: they read it without MPI."""
    for item in items:
        chosen = getattr(getattr(item, "callspec", None), "params", {})
        if chosen.get("library", LIBRARIES[0]) != LIBRARIES[0] and chosen.get("blocks") == "private":
            item.add_marker(pytest.mark.soak)


@pytest.fixture
def change(request: pytest.FixtureRequest) -> str:
    """How ranks change in this test."""
    return str(getattr(request, "param", CHANGES[0]))


@pytest.fixture
def library(request: pytest.FixtureRequest) -> str:
    """The MPI library that this test runs under."""
    return str(getattr(request, "param", LIBRARIES[0]))


@pytest.fixture
def python(library: str) -> Path:
    """The interpreter whose environment has that library."""
    return python_of(library)


@pytest.fixture
def start(change: str, python: Path) -> Iterator[Callable[..., Application]]:
    """Start applications; when the test is over they have ended and nothing of them is left."""
    leftovers = Leftovers()
    applications: list[Application] = []
    how = () if change == CHANGES[0] else (f"--change={change}",)

    def start_one(*arguments: object, **options: object) -> Application:
        application = Application((*how, *arguments), folder=leftovers.folder, python=python, **options)
        applications.append(application)
        return application

    yield start_one
    for application in applications:
        application.close()
    leftovers.check()
