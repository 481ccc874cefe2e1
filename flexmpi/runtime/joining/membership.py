"""Join and leave: how separately started MPI worlds become one communicator and part again.

Only MPI calls and the exchange of port names are here; what moves and who decides are elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from time import monotonic

from mpi4py import MPI

from flexmpi.errors import MembershipError, RankLeaves
from flexmpi.runtime.communication.link import Link, Message
from flexmpi.runtime.job.places import members_places

ASSEMBLE_TIMEOUT_S = 60
"""How long newcomers wait for each other; they stall nobody."""
CONNECT_TIMEOUT_S = 5
"""How long newcomers wait for those who invited them, who are there already."""
ASSEMBLE_CONNECT_TIMEOUT_S = 20
"""The same among newcomers, many of whom may share a core while they start."""


def obstacle() -> str | None:
    """Return why this MPI cannot join and leave, with what to do; None where it can.

    The probe opens and closes a port. Open MPI opens ports too, but hangs at the later Disconnect; Intel MPI (2021.18) crashes
    where it is to open one.
    """
    remedy = "change ranks by --change handover, or install one that can, for example: pip install mpich"
    vendor, version = MPI.get_vendor()
    name = f"{vendor} {'.'.join(map(str, version))}"
    if vendor == "Open MPI":
        return f"{name} does not survive MPI_Comm_disconnect after MPI_Comm_connect; {remedy}"
    if vendor == "Intel MPI":
        return f"{name} does not survive MPI_Open_port; {remedy}"
    try:
        MPI.Close_port(MPI.Open_port())
    except MPI.Exception as error:
        return f"{name} has no dynamic processes (MPI_Open_port: {_reason(error)}); {remedy}"
    return None


def accept(
    comm: MPI.Intracomm,
    link: Link,
    *,
    reconfiguration: int,
    expected: range | None = None,
    timeout_s: float,
) -> MPI.Intracomm:
    """Let waiting newcomers in, behind the ranks that are here; collective over ``comm``, which stays usable.

    Accepting begins when the newcomers have said that they are about to connect, for an Accept that runs out of time does harm:
    MPICH (5.0, UCX) does not take back the receive it has posted, into memory that is soon in use again.

    Parameters
    ----------
    expected
        The positions (in `assemble`) of the worlds to let in; None for all the newcomers of the reconfiguration.

    Returns
    -------
    MPI.Intracomm
        All ranks: those of ``comm`` first, in their order.

    Raises
    ------
    MembershipError
        Nobody came within ``timeout_s`` seconds.
    """
    port, problem = "", ""
    if comm.rank == 0:
        port = MPI.Open_port()
        positions = None if expected is None else list(expected)
        link.send("port", reconfiguration=reconfiguration, port=port, expected=positions)
        problem = _await_newcomers(link, reconfiguration, timeout_s)
    if problem := comm.bcast(problem):
        raise MembershipError(problem)
    limit = MPI.Info.Create({"timeout": str(max(1, round(timeout_s)))})
    try:
        bridge = comm.Accept(port, limit, root=0)
    except MPI.Exception as error:
        raise MembershipError(f"no new rank connected within {timeout_s:g} s (MPI: {_reason(error)})") from None
    finally:
        limit.Free()
    # Only here: MPICH gives the number of a closed port to the next one, and somebody late would be taken for its newcomer.
    if port:
        MPI.Close_port(port)
    return _merge(bridge, high=False)


def connect(
    comm: MPI.Intracomm, link: Link, invitation: Message, *, timeout_s: int = CONNECT_TIMEOUT_S
) -> MPI.Intracomm:
    """Join the ranks that accept, behind them; collective over ``comm``, which stays usable.

    Parameters
    ----------
    invitation
        The message ``port``, with the port and who opened it; they accept once they have been told ``here``.

    Raises
    ------
    MembershipError
        Nobody accepts there any more.
    """
    # A rank that was stopped or starved for a while comes too late.
    if link.has_arrived("withdraw"):
        raise MembershipError("nobody accepts new ranks any more")
    if comm.rank == 0:
        link.send("here", reconfiguration=invitation["reconfiguration"], acceptor=invitation["acceptor"])
    limit = MPI.Info.Create({"timeout": str(timeout_s)})
    try:
        bridge = comm.Connect(invitation["port"], limit, root=0)
    except MPI.Exception as error:
        raise MembershipError(f"nobody accepts new ranks any more (MPI: {_reason(error)})") from None
    finally:
        limit.Free()
    return _merge(bridge, high=True)


def assemble(comm: MPI.Intracomm, link: Link, *, reconfiguration: int, position: int, count: int) -> MPI.Intracomm:
    """Join ``count`` separately started worlds, this one at ``position``, pairwise in a tree of log2(count) rounds.

    Returns
    -------
    MPI.Intracomm
        All their ranks, in the order of the positions.

    Raises
    ------
    MembershipError
        Some of them did not come.
    """
    invitations = Invitations(link, reconfiguration)
    step = 1
    while step < count:
        if position % (2 * step):
            invitation = invitations.await_for(position)
            position -= step
            merged = connect(comm, link, invitation, timeout_s=ASSEMBLE_CONNECT_TIMEOUT_S)
            comm = _replaced(comm, merged)
        elif position + step < count:
            expected = range(position + step, min(position + 2 * step, count))
            merged = accept(
                comm, link, reconfiguration=reconfiguration, expected=expected, timeout_s=ASSEMBLE_TIMEOUT_S
            )
            comm = _replaced(comm, merged)
        step *= 2
    return comm


class Invitations:
    """The ports to which one of several worlds that assemble is to connect.

    One of a later round may come first: to a rank whose world waits for another that has started late, from worlds that have
    started early.

    Parameters
    ----------
    link
        This rank's own, so that none of a world's ranks polls while it waits.
    reconfiguration
        The number of that for which they assemble.
    """

    def __init__(self, link: Link, reconfiguration: int) -> None:
        self._link = link
        self._reconfiguration = reconfiguration
        self._early: dict[int, Message] = {}

    def await_for(self, position: int) -> Message:
        """Sleep until the invitation is there of worlds from this position on.

        Raises
        ------
        RankLeaves
            This rank is not needed any more.
        """
        while position not in self._early:
            message = self._link.await_reply("port", "release")
            if message is None or message["kind"] == "release":
                raise RankLeaves
            if message["reconfiguration"] == self._reconfiguration and message["expected"] is not None:
                self._early[message["expected"][0]] = message
        return self._early.pop(position)


def arrange(merged: MPI.Intracomm, newcomers: Sequence[int]) -> MPI.Intracomm:
    """Number the ranks that have just merged by their places; collective, ``merged`` must not be used any more.

    Parameters
    ----------
    merged
        The present ranks in their order, then the newcomers in theirs.
    newcomers
        The newcomers' places among all of them.
    """
    members = members_places(merged.size, newcomers)
    order = [*members, *newcomers]
    if order == sorted(order):
        return merged
    arranged = merged.Split(0, order[merged.rank])
    assert isinstance(arranged, MPI.Intracomm)
    merged.Disconnect()
    return arranged


def part(comm: MPI.Intracomm, leaving: Collection[int]) -> MPI.Intracomm | None:
    """Return the communicator of those who stay, None in those who leave; collective, ``comm`` is not disconnected."""
    stays = comm.rank not in leaving
    rest = comm.Split(0 if stays else MPI.UNDEFINED, comm.rank)
    return rest if stays and isinstance(rest, MPI.Intracomm) else None


def _reason(error: MPI.Exception) -> str:
    """Return what an MPI library's error text says at its end; before that some have a whole call stack."""
    last = str(error.Get_error_string()).strip().split("\n")[-1]
    return last.rpartition("): ")[2].strip()


def _await_newcomers(link: Link, reconfiguration: int, limit_s: float) -> str:
    """Sleep until newcomers are about to connect; return why there is no use in accepting, if there is none."""
    end = monotonic() + limit_s
    while (message := link.await_reply("here", "withdraw", limit_s=end - monotonic())) is not None:
        if message["reconfiguration"] == reconfiguration:
            return "" if message["kind"] == "here" else "the new ranks are gone"
    return f"no new rank connected within {limit_s:g} s"


def _merge(bridge: MPI.Intercomm, *, high: bool) -> MPI.Intracomm:
    if bridge == MPI.COMM_NULL:
        # Where the root of a Connect or Accept runs out of time, MPICH raises there alone.
        raise MembershipError("the other side did not connect in time")
    merged = bridge.Merge(high=high)
    bridge.Disconnect()
    return merged


def _replaced(old: MPI.Intracomm, new: MPI.Intracomm) -> MPI.Intracomm:
    old.Disconnect()
    return new
