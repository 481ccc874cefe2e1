"""``python docs/draw_architecture.py`` draws the picture in docs/architecture.md anew, from the imports of the code."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import grimp

PAGE = Path(__file__).with_name("architecture.md")
START, END = "```mermaid\n", "```\n"
HOUSES = ("runtime", "scheduler")
"""The packages whose folders are rooms; elsewhere a package is a room itself."""

Arrows = Mapping[str, frozenset[str]]


def room_of(module: str) -> str | None:
    """Return the room of a module, as ``runtime.job`` or ``protocol``; None for the package itself and a house's own."""
    parts = module.split(".")[1:]
    if parts and parts[0] in HOUSES:
        return ".".join(parts[:2]) if len(parts) > 1 else None
    return parts[0] if parts else None


def arrows() -> Arrows:
    """Return for each room the rooms that it imports."""
    graph = grimp.build_graph("flexmpi", cache_dir=None)
    found: dict[str, set[str]] = defaultdict(set)
    for module in graph.modules:
        if (room := room_of(module)) is None:
            continue
        imported = (room_of(other) for other in graph.find_modules_directly_imported_by(module))
        found[room] |= {other for other in imported if other is not None and other != room}
    return {room: frozenset(others) for room, others in sorted(found.items())}


def reduced(all_arrows: Arrows) -> Arrows:
    """Leave out the arrows that follow from others: those to rooms that another imported room reaches."""
    reached: dict[str, frozenset[str]] = {}

    def reach(room: str) -> frozenset[str]:
        if room not in reached:
            own = all_arrows[room]
            reached[room] = own.union(*(reach(other) for other in own))
        return reached[room]

    return {
        room: frozenset(one for one in others if not any(one in reach(other) for other in others))
        for room, others in all_arrows.items()
    }


def picture() -> str:
    """Return the picture, as a flowchart of Mermaid."""
    all_arrows = arrows()
    lines = ["flowchart TB"]
    for house in HOUSES:
        rooms = [room for room in all_arrows if room.startswith(f"{house}.")]
        boxes = (f"        {_name(room)}[{room.partition('.')[2]}]" for room in rooms)
        lines += [f"    subgraph {house}", *boxes, "    end"]
    for room, others in reduced(all_arrows).items():
        lines += [f"    {_name(room)} --> {_name(other)}" for other in sorted(others)]
    return "\n".join(lines) + "\n"


def _name(room: str) -> str:
    return room.replace(".", "_")


def page_with(drawn: str) -> str:
    """Return the page with a picture in the place of its own."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    return before + START + drawn + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(page_with(picture()), encoding="utf-8")
