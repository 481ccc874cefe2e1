"""How a rank gets its node's files: it asks the launcher at a socket, and gets a descriptor with the answer.

Standard library only.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from flexmpi.errors import LinkError, NodeMemoryError

LARGEST_ANSWER = 1 << 12


class NodeFilesLine:
    """A rank's line to the files of its node.

    Parameters
    ----------
    path
        The launcher's socket for them.

    Raises
    ------
    LinkError
        The launcher is not there.
    """

    def __init__(self, path: str) -> None:
        self._made = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            self._socket.connect(path)
        except OSError as error:
            self._socket.close()
            raise LinkError(f"cannot reach the node launcher at {path}: {error.strerror}") from None

    def file(self, key: str, *, size_bytes: int) -> int:
        """Return a descriptor of one of the node's files, the caller's to close; it is made where there is none.

        Raises
        ------
        NodeMemoryError
            The node cannot have it, with the reason.
        LinkError
            The launcher is gone.
        """
        answer, descriptors = self._ask({"kind": "file", "key": key, "size_bytes": size_bytes})
        if not descriptors:
            raise NodeMemoryError(f"{key}: this node has no memory file of {size_bytes} bytes: {answer['error']}")
        self._made = answer["made"]
        os.set_inheritable(descriptors[0], False)
        return descriptors[0]

    def keep_only(self, kept: Mapping[str, tuple[int, int]], *, wait: bool = False) -> None:
        """Have the node give back the memory of all files but the bytes from the first to the second number of these.

        Files that were made after this line last got one stay whole. Does not ``wait`` for it, unless that is asked for.

        Raises
        ------
        LinkError
            The launcher is gone.
        """
        for key, (start, stop) in kept.items():
            self._send({"kind": "keep", "key": key, "start": start, "stop": stop})
        self._send({"kind": "drop", "made": self._made})
        if wait:
            self._ask({"kind": "done"})

    def forget(self, keys: Iterable[str]) -> None:
        """Have the node close files that nobody will ask for any more; who maps one keeps it. Does not wait for it.

        Raises
        ------
        LinkError
            The launcher is gone.
        """
        for key in keys:
            self._send({"kind": "forget", "key": key})

    def _ask(self, request: Mapping[str, object]) -> tuple[dict[str, Any], list[int]]:
        self._send(request)
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, LARGEST_ANSWER, 1)
        except OSError as error:
            raise LinkError(f"the node launcher is gone: {error.strerror}") from None
        if not data:
            raise LinkError("the node launcher has hung up")
        return json.loads(data), descriptors

    def _send(self, request: Mapping[str, object]) -> None:
        try:
            self._socket.send(json.dumps(request).encode())
        except OSError as error:
            raise LinkError(f"the node launcher is gone: {error.strerror}") from None

    def close(self) -> None:
        """Hang up."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
