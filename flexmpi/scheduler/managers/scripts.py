"""The text of a job's script, which is read when the job is submitted and not when it starts."""

from __future__ import annotations

from pathlib import Path

from flexmpi.cluster.submission import Submission
from flexmpi.errors import ManagerError


def script_text(submission: Submission) -> str:
    """Return the script.

    Raises
    ------
    ManagerError
        It cannot be read, or is none.
    """
    if submission.is_text:
        return submission.script
    try:
        text = Path(submission.script).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ManagerError(f"script {submission.script} cannot be read: {error}") from None
    if not text.startswith("#!"):
        raise ManagerError(f"script {submission.script} must begin with '#!', got {text[:20]!r}")
    return text
