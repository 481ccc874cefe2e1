"""Has one process let another read its memory, and says whether that one took it for readable, and what it read.

``python read_memory.py CASE``: ``itself``; ``other_nonce``, ``other_start``, ``other_namespace`` or ``no_process``, where its
mark is wrong in that; or ``kept_private``, where the kernel refuses. Not a test itself.
"""

from __future__ import annotations

import ctypes
import json
import os
import sys
from dataclasses import replace

import numpy as np

from flexmpi.protocol.records import as_object, from_object, kinds_of
from flexmpi.runtime.arrays import process_memory
from flexmpi.runtime.arrays.process_memory import ProcessMark

PR_SET_DUMPABLE = 4
NOBODY = 65534


def be_ordinary(*, dumpable: bool) -> None:
    """Be a process that the kernel has rules for, which the superuser's are not."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, int(dumpable), 0, 0, 0)


def let_read(writing: int, until: int, *, dumpable: bool) -> None:
    """Say where a thousand bytes are, and keep them there until the other end of a pipe is closed."""
    be_ordinary(dumpable=dumpable)
    data = np.arange(1000, dtype=np.uint8)
    mark = as_object(process_memory.own_mark())
    os.write(writing, json.dumps([mark, process_memory.address_of(data)]).encode())
    os.close(writing)
    os.read(until, 1)


def wrong(mark: ProcessMark, case: str) -> ProcessMark:
    if case == "other_nonce":
        return replace(mark, nonce=mark.nonce[::-1])
    if case == "other_start":
        return replace(mark, started=mark.started + 1)
    if case == "other_namespace":
        return replace(mark, processes=mark.processes + (1 << 9))
    return mark


def main(case: str) -> None:
    reading, writing = os.pipe()
    until, ended = os.pipe()
    source = os.fork()
    if source == 0:
        os.close(ended)
        let_read(writing, until, dumpable=case != "kept_private")
        os._exit(0)
    os.close(writing)
    be_ordinary(dumpable=True)
    with os.fdopen(reading) as told:
        told_mark, address = json.load(told)
    mark = wrong(from_object(told_mark, kinds_of(ProcessMark)), case)
    if case == "no_process":
        os.close(ended)
        os.waitpid(source, 0)
    found = np.zeros(1000, dtype=np.uint8)
    readable = process_memory.is_readable(mark)
    copied = process_memory.copied(found, mark.pid, address, write=False)
    right = bool((found == np.arange(1000, dtype=np.uint8)).all())
    print(f"readable {readable}, copied {copied}, right {right}")


main(sys.argv[1])
