"""What the ranks have told about the program. Plain data."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass
class Application:
    """What the ranks have told about the program: whether it can change, which loop it is in, whether it has ended.

    Attributes
    ----------
    no_successor
        Why no world can take over from it, where one has failed in its own program.
    outputs
        The paths of the files that go on over its worlds, and the process set that opened each first, of those that compute.
    in_common
        Those of the files that it was warned of, for two worlds had them open.
    maximum
        The largest number of iterations of the loop; a program that converges ends it earlier.
    """

    obstacle: str | None = None
    loop: int | None = None
    maximum: int | None = None
    digest: int | None = None
    objects: tuple[str, ...] = ()
    finished: bool = False
    no_successor: str | None = None
    outputs: dict[str, int] = field(default_factory=dict)
    in_common: set[str] = field(default_factory=set)
