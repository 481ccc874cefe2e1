"""How the ranks of one MPI world find each other while they initialise: the server's side of PMI-1, MPICH's wire protocol.

Pure: a line of one rank in, lines for ranks out. A launcher speaks it with ranks that no ``mpiexec`` has started.
Source: what MPICH 4.3 and 5.0 and their ``mpiexec`` say to each other (``mpiexec -verbose``).
"""

from __future__ import annotations

Replies = list[tuple[int, bytes]]


class Exchange:
    """The process manager of one world on one node.

    Parameters
    ----------
    size
        The number of its ranks.
    name
        A word that no other world on this machine has.

    Attributes
    ----------
    aborted
        The status of a rank that has called MPI_Abort.
    """

    def __init__(self, size: int, name: str) -> None:
        self._size = size
        self._name = name
        self._values = {"PMI_process_mapping": f"(vector,(0,1,{size}))"}
        self._in_barrier: list[int] = []
        self.aborted: int | None = None

    def answer(self, rank: int, line: bytes) -> Replies:
        """Take a line of a rank, and return who is told what; ValueError if it is not understood."""
        words = line.decode(errors="replace").split()
        fields = dict(word.split("=", 1) for word in words if "=" in word)
        match fields.get("cmd"):
            case "init":
                reply = "response_to_init pmi_version=1 pmi_subversion=1"
            case "get_maxes":
                reply = "maxes kvsname_max=256 keylen_max=64 vallen_max=1024"
            case "get_appnum":
                reply = "appnum appnum=0"
            case "get_my_kvsname":
                reply = f"my_kvsname kvsname={self._name}"
            case "get_universe_size":
                reply = f"universe_size size={self._size}"
            case "put" if fields.keys() >= {"key", "value"}:
                self._values[fields["key"]] = fields["value"]
                reply = "put_result"
            case "get":
                value = self._values.get(fields.get("key", ""))
                if value is None:
                    return [(rank, b"cmd=get_result rc=1\n")]
                reply = f"get_result value={value}"
            case "finalize":
                reply = "finalize_ack"
            case "barrier_in":
                return self._enter_barrier(rank)
            case "abort":
                self.aborted = int(fields.get("exitcode", "1")) & 0xFF or 1
                return []
            case _:
                raise ValueError(f"not understood: {line.decode(errors='replace').strip()!r}")
        name, _, values = reply.partition(" ")
        return [(rank, f"cmd={name} rc=0 {values}".rstrip().encode() + b"\n")]

    def _enter_barrier(self, rank: int) -> Replies:
        self._in_barrier.append(rank)
        if len(self._in_barrier) < self._size:
            return []
        waiting, self._in_barrier = self._in_barrier, []
        return [(each, b"cmd=barrier_out rc=0\n") for each in waiting]
