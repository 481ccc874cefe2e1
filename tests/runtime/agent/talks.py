"""A job's talk with the agent, with a clock that the test moves."""

from __future__ import annotations

from flexmpi.protocol.messages import (
    Acknowledged,
    Cost,
    FromAgent,
    FromSupervisor,
    NodeRanks,
    Register,
    Registered,
    Resize,
    Sample,
)
from flexmpi.protocol.wire import encode
from flexmpi.runtime.agent.conversation import (
    Act,
    AnyCommand,
    CarryOut,
    Conversation,
    Facts,
    Prove,
    Send,
    State,
)

FACTS = Facts(
    job_key="key",
    job_id=7,
    array_job_id=None,
    array_task_id=None,
    name="solve",
    uid=1000,
    user="ann",
    minimum_nodes=1,
    maximum_nodes=4,
    processes_per_node=2,
    udp=None,
)
ONE = (NodeRanks(node="n1", ranks=2),)
TWO = (*ONE, NodeRanks(node="n2", ranks=2))
COST = Cost(start_s=1.0, join_s=0.1, balance_s=0.0, move_s=0.1, part_s=0.0, stall_s=0.2, moved_bytes=8)
SAMPLE = Sample(
    iteration=9, iterations=3, slowest_real_s=1, mean_busy_s=1, mean_communication_s=0, mean_io_s=0, nodes=ONE
)


class Talk:
    """A conversation with a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 100.0
        self.job = Conversation(FACTS, lambda: self.now)

    def hear(self, message: FromAgent) -> list[Act]:
        return self.job.received(encode(message), TWO)

    def known(self, *, epoch: int = 0) -> Talk:
        """Go through a registration."""
        assert self.job.connected() == [Prove()]
        (sent,) = self.job.proved("credential", ONE)
        assert isinstance(sent, Send) and isinstance(sent.message, Register)
        self.hear(Registered(epoch=epoch))
        assert self.job.state is State.KNOWN
        return self

    def begun(self, command: AnyCommand) -> AnyCommand:
        """Take a command that is new."""
        assert self.hear(command) == [CarryOut(command)]
        assert said(self.job.taken(command)) == [Acknowledged(id=command.id)]
        return command


def said(acts: list[Act]) -> list[FromSupervisor]:
    return [act.message for act in acts if isinstance(act, Send)]


def order(name: str = "1", *, epoch: int = 1) -> Resize:
    return Resize(id=name, epoch=epoch, cause="test", add=("n2",))
