"""The files in memory that hold a node's rows: made when a rank first asks, passed by socket, and gone with this process.

They have no name anywhere, so nobody else reaches them and nothing of them stays after a kill. Sparse: each is as long as the
whole array, and takes memory for the parts that were written.
"""

from __future__ import annotations

import asyncio
import errno
import json
import mmap
import os
import socket
from collections.abc import Coroutine, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from flexmpi.runtime.machine.tasks import Tasks

LARGEST_REQUEST = 1 << 16
RETRY_S = 0.1
AT_ONCE_BYTES = 1 << 30
"""So much memory is given back before others have a turn."""
HINTS = {errno.EFBIG: " for the limit on files here (ulimit -f): raise that, or run with --blocks=private"}
"""What a person should do who reads that there is no file."""


class NodeFile(NamedTuple):
    """One file: its descriptor, its size, and the how manyeth it is of those that were made here."""

    descriptor: int
    size_bytes: int
    number: int


class NodeFiles:
    """The files of one node.

    Parameters
    ----------
    path
        Of the socket at which ranks ask for them.
    tasks
        The launcher's.
    """

    def __init__(self, path: Path, tasks: Tasks) -> None:
        self._path = path
        self._tasks = tasks
        self._files: dict[str, NodeFile] = {}
        self._made = 0
        self._listening: socket.socket | None = None
        self._talks: set[asyncio.Task[None]] = set()

    def open(self) -> None:
        """Listen to ranks from now on."""
        self._listening = listening = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        listening.setblocking(False)
        listening.bind(str(self._path))
        listening.listen(socket.SOMAXCONN)
        self._talk(self._admit(listening))

    def _talk(self, talk: Coroutine[object, object, None]) -> None:
        task = self._tasks.spawn(talk)
        self._talks.add(task)
        task.add_done_callback(self._talks.discard)

    async def _admit(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                rank, _ = await loop.sock_accept(listening)
            except OSError:  # no descriptor is free: the rank waits until one is
                await asyncio.sleep(RETRY_S)
                continue
            rank.setblocking(False)
            self._talk(self._serve(rank))

    async def _serve(self, rank: socket.socket) -> None:
        """Answer one rank that asks for files; what it says of memory that can go needs no answer."""
        loop = asyncio.get_running_loop()
        kept: set[str] = set()
        with rank, suppress(ConnectionError):
            while data := await loop.sock_recv(rank, LARGEST_REQUEST):
                request = json.loads(data)
                match request["kind"]:
                    case "file":
                        self._send_file(rank, request)
                    case "keep":
                        kept.add(request["key"])
                        await self._keep_only(request["key"], request["start"], request["stop"])
                    case "forget":
                        self.remove(request["key"])
                    case "drop":
                        for key in self._made_up_to(request["made"]) - kept:
                            self.remove(key)
                        kept.clear()
                    case "done":
                        rank.send(b"{}")

    def _send_file(self, rank: socket.socket, request: Mapping[str, Any]) -> None:
        try:
            file = self.file(request["key"], size_bytes=request["size_bytes"])
        except OSError as error:
            rank.send(json.dumps({"error": f"{error.strerror}{HINTS.get(error.errno or 0, '')}"}).encode())
        else:
            socket.send_fds(rank, [json.dumps({"made": self._made}).encode()], [file])

    def _made_up_to(self, number: int) -> set[str]:
        return {key for key, file in self._files.items() if file.number <= number}

    def file(self, key: str, *, size_bytes: int) -> int:
        """Return the descriptor of a file, which is made where there is none.

        Raises
        ------
        OSError
            There is no memory for it, no descriptor, or a limit on the size of files; or there is one of another size.
        """
        if key not in self._files:
            descriptor = os.memfd_create(f"flexmpi:{ascii(key)[1:-1]}"[:249], os.MFD_CLOEXEC)
            try:
                os.ftruncate(descriptor, size_bytes)
            except OSError:
                os.close(descriptor)
                raise
            self._made += 1
            self._files[key] = NodeFile(descriptor, size_bytes, self._made)
        file = self._files[key]
        if file.size_bytes != size_bytes:
            raise OSError(0, f"{key} has {file.size_bytes} bytes here, and {size_bytes} were asked for")
        return file.descriptor

    async def _keep_only(self, key: str, start: int, stop: int) -> None:
        """Give back the memory of all bytes of a file but those from ``start`` to ``stop``, as far as they are whole pages."""
        file, page = self._files.get(key), mmap.PAGESIZE
        if file is None or not file.size_bytes:
            return
        # Where the kernel cannot, the memory stays until the file is closed.
        with suppress(OSError), mmap.mmap(file.descriptor, file.size_bytes) as mapping:
            for low, high in ((0, start // page * page), (-(-stop // page) * page, len(mapping))):
                for first in range(low, high, AT_ONCE_BYTES):
                    mapping.madvise(mmap.MADV_REMOVE, first, min(AT_ONCE_BYTES, high - first))
                    await asyncio.sleep(0)

    def remove(self, key: str) -> None:
        """Close a file; ranks that map it keep it until they end."""
        if key in self._files:
            os.close(self._files.pop(key).descriptor)

    def close(self) -> None:
        """Close all; nobody is answered any more."""
        for talk in self._talks:
            talk.cancel()
        if self._listening is not None:
            self._listening.close()
            self._path.unlink(missing_ok=True)
        for key in list(self._files):
            self.remove(key)
