"""Where in the user's program something happens, for messages that name its line. Standard library only."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import FrameType

_FOREIGN = tuple(f"{folder}{os.sep}" for folder in (Path(__file__).parents[2], Path(os.__file__).parent))
_LIBRARIES = ("/site-packages/", "/dist-packages/")


def line_of_program() -> str:
    """Return the innermost line of the program that is being executed as ``FILE:NUMBER``; empty if there is none."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and _is_foreign(frame.f_code.co_filename):
        frame = frame.f_back
    return "" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"


def _is_foreign(file: str) -> bool:
    """Tell code that is Python's, a library's or FlexMPI's."""
    return file.startswith(("<", *_FOREIGN)) or any(part in file for part in _LIBRARIES)
