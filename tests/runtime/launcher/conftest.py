"""What tests of launchers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.applications import Leftovers


@pytest.fixture
def folder() -> Iterator[Path]:
    """The temporary folder of jobs of which nothing is left when the test is over."""
    leftovers = Leftovers()
    yield leftovers.folder
    leftovers.check()
