"""What all tests share: real applications, started by `flexmpi run` and ended with their test."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator

import pytest

from tests.applications import Application, Leftovers


@pytest.fixture(scope="session", autouse=True)
def signals_are_not_ignored() -> None:
    """Undo what a shell does to what it runs in the background, for what tests start would inherit it."""
    for number in (signal.SIGINT, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@pytest.fixture
def start() -> Iterator[Callable[..., Application]]:
    """Start applications; when the test is over they have ended and nothing of them is left."""
    leftovers = Leftovers()
    applications: list[Application] = []

    def start_one(*arguments: object, **options: object) -> Application:
        application = Application(arguments, folder=leftovers.folder, **options)
        applications.append(application)
        return application

    yield start_one
    for application in applications:
        application.close()
    leftovers.check()
