"""How a rank of an application whose ranks change by handover comes into its world."""

from __future__ import annotations

from collections.abc import Mapping

from flexmpi.protocol.handover import MemoryOutOfReach, Welcome
from flexmpi.runtime.arrays.layout import Layout
from flexmpi.runtime.arrays.node_rows import NodeRows
from flexmpi.runtime.arrays.private_rows import PrivateRows
from flexmpi.runtime.arrays.registry import Registry
from flexmpi.runtime.arrays.world_rows import Passing, WorldRows
from flexmpi.runtime.communication.calls import Clock
from flexmpi.runtime.communication.files import NodeFilesLine
from flexmpi.runtime.communication.group import Group
from flexmpi.runtime.communication.link import Link
from flexmpi.runtime.job.interval import Interval
from flexmpi.runtime.machine.processes import FILES_NAME
from flexmpi.runtime.rank.handover_agreement import HandoverAgreement
from flexmpi.runtime.rank.inheritance import place
from flexmpi.runtime.rank.once import OnceForAll
from flexmpi.runtime.rank.spoken import hear, say

WAYS: Mapping[str, type[WorldRows]] = {"node": NodeRows, "private": PrivateRows}
"""Where rows lie, by what `Welcome` calls it."""


def opened(
    link: Link, registry: Registry, clock: Clock, interval: Interval, *, group: Group, once: OnceForAll
) -> HandoverAgreement:
    """Hear what this world is, and take part in it; collective."""
    welcome: Welcome = hear(link, Welcome)
    files = NodeFilesLine(str(place().socket.with_name(FILES_NAME)))
    kind = WAYS[welcome.blocks]
    rows = kind(group.control, welcome.places, lambda key, size_bytes: files.file(key, size_bytes=size_bytes))
    if welcome.change and (unreadable := rows.unreadable(Passing(welcome.change, ahead=True))):
        if group.control.rank == 0:
            say(link, MemoryOutOfReach(welcome.change, unreadable))
        welcome = hear(link, Welcome)
    registry.start(welcome.weights, group.control.rank, make_room=rows.room)
    if welcome.change:
        registry.succeed(Layout.of(welcome.places, welcome.shared).shared)
    return HandoverAgreement(
        link, registry, clock, interval, group=group, welcome=welcome, rows=rows, files=files, once=once
    )
