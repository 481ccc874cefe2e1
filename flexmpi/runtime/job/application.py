"""What the ranks have told about the program. Plain data."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Application:
    """What the ranks have told about the program: whether it can change, which loop it is in, whether it has ended.

    Attributes
    ----------
    maximum
        The largest number of iterations of the loop; a program that converges ends it earlier.
    """

    obstacle: str | None = None
    loop: int | None = None
    maximum: int | None = None
    digest: int | None = None
    objects: tuple[str, ...] = ()
    finished: bool = False
