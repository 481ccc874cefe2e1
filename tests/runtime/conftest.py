"""What tests of hardware counters share: a fake in place of python-papi, where a machine has no counters."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from types import ModuleType

import pytest

from tests.applications import REPOSITORY

FAKE_PAPI = REPOSITORY / "tests" / "fake_papi"
"""To be put into ``PYTHONPATH``, where it comes before the real one."""


def forget_papi() -> dict[str, ModuleType]:
    """Have what is called pypapi loaded anew, and return what has been loaded by that name."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name.partition(".")[0] == "pypapi"}


@pytest.fixture
def fake_papi(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The fake in place of python-papi: a processor with four events, and three counters for them."""
    loaded = forget_papi()
    monkeypatch.syspath_prepend(FAKE_PAPI)
    yield importlib.import_module("pypapi.papi_low")
    forget_papi()
    sys.modules.update(loaded)
