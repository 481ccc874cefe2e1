"""Reading the text files of the controller: the lines that say something, and the numbers in them.

What a line means is workload.py's and batch.py's.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from flexmpi.errors import ConfigurationError


def read_text(path: Path, *, file: str) -> str:
    """Read a UTF-8 text; ``file`` is what errors call it.

    Raises
    ------
    ConfigurationError
        It cannot be read, or is not UTF-8 text.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise ConfigurationError(f"cannot be read: {error.strerror}", file=file) from None
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"not UTF-8 text, got byte 0x{error.object[error.start]:02x}", file=file) from None


def content_lines(text: str) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and content of the lines that have any besides a comment; ``#`` starts one."""
    # Not splitlines(): it also breaks at form feeds and the like, and the numbers would not be an editor's.
    for number, line in enumerate(text.split("\n"), start=1):
        if content := line.partition("#")[0].strip():
            yield number, content


def signed_number(text: str) -> int | None:
    """Return the number that the text is, a sign allowed; None if it is something else."""
    return int(text) if re.fullmatch(r"[+-]?[0-9]{1,9}", text) else None
