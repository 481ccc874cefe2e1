"""The ledger in a world on a virtual clock: messages are lost and late, jobs end, agents are killed; no node goes to two."""

from __future__ import annotations

import random
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.cluster.state import Job, JobState, Node, NodeState, Snapshot
from flexmpi.protocol.fence import Fence
from flexmpi.protocol.messages import (
    Acknowledged,
    Done,
    Ended,
    Failed,
    FromAgent,
    NodeRanks,
    Refused,
    Register,
    Registered,
    Resize,
    Unknown,
    Withdraw,
)
from flexmpi.protocol.messages import Sample as SampleMessage
from flexmpi.scheduler.deciding.deciding import Question, decide
from flexmpi.scheduler.deciding.supply import Territory, waiting_jobs
from flexmpi.scheduler.deciding.view import Bounds, build_view, free_nodes, still_free
from flexmpi.scheduler.jobs.ledger import Ledger, Timing
from flexmpi.scheduler.jobs.orders import Order, Stage

TIMING = Timing(acknowledge_s=2.0, limit_s=120.0, silent_s=30.0, cool_down_s=0.0, retry_s=5.0)
NODES = tuple(f"node{number}" for number in range(6))


@dataclass
class SimulatedJob:
    """A job that keeps the protocol: it remembers commands by id and refuses old epochs; all nodes but one are companions."""

    job_id: int
    nodes: list[str]
    low: int
    high: int
    fence: Fence = field(default_factory=Fence)
    memory: dict[str, Acknowledged | Done | Failed | Refused] = field(default_factory=dict)
    working: list[tuple[float, Resize]] = field(default_factory=list)
    going: dict[str, float] = field(default_factory=dict)
    registered: bool = False
    over: bool = False

    @property
    def held(self) -> tuple[NodeRanks, ...]:
        return tuple(NodeRanks(node=node, ranks=1) for node in self.nodes)

    def greet(self) -> Register:
        return Register(
            job_key=f"job{self.job_id}",
            job_id=self.job_id,
            name="simulated",
            uid=7,
            user="seven",
            nodes=self.held,
            minimum_nodes=self.low,
            maximum_nodes=self.high,
            processes_per_node=1,
            udp=None,
            epoch=self.fence.newest,
            unfinished=tuple(command.id for _, command in self.working),
            credential="none",
        )

    def sample(self) -> SampleMessage:
        times = dict.fromkeys(("slowest_real_s", "mean_busy_s", "mean_communication_s", "mean_io_s"), 0.1)
        return SampleMessage(iteration=1, iterations=1, nodes=self.held, **times)

    def take(self, message: FromAgent, now: float, taking_s: float) -> object | None:
        """Return the answer to a message, if there is one at once."""
        match message:
            case Registered():
                self.registered = True
                self.fence.newest = max(self.fence.newest, message.epoch)
            case Unknown():
                return self.greet()
            case Resize() if message.id in self.memory:
                return self.memory[message.id]
            case Withdraw():
                return self.give_up(message)
            case Resize():
                if (why := self.fence.take(message.epoch)) is not None:
                    return Refused(id=message.id, why=why, epoch=self.fence.newest)
                self.memory[message.id] = Acknowledged(id=message.id)
                self.working.append((now + taking_s, message))
                return self.memory[message.id]
        return None

    def give_up(self, message: Withdraw) -> object:
        """Fail what is being carried out; what is over is said again, and what has not come yet is refused."""
        for due in [each for each in self.working if each[1].id == message.id]:
            self.working.remove(due)
            self.memory[message.id] = Failed(id=message.id, why=message.why, nodes=self.held)
        if message.id not in self.memory:
            self.memory[message.id] = Refused(id=message.id, why=message.why, epoch=self.fence.newest)
        return self.memory[message.id]


class SimulatedWorld:
    """Jobs, nodes, a network that loses and delays, and an agent that may be killed."""

    def __init__(self, seed: int, *, policy: str, loss: float) -> None:
        self.random = random.Random(seed)
        self.policy, self.loss = policy, loss
        self.now = 0.0
        self.jobs: dict[int, SimulatedJob] = {}
        self.rigid: dict[int, tuple[int, list[str]]] = {}
        self.numbers = iter(range(1, 10_000))
        self.post: list[tuple[float, int, bool, object]] = []
        self.journal: dict[str, tuple[Order, str]] = {}
        self.epoch = self.withdrawn = 0
        self.restart()

    def restart(self) -> None:
        """Kill the agent and start another from the journal: what it had in mind or on its way is gone."""
        self.post = [each for each in self.post if not each[2]]
        self.epoch += 1
        self.ledger = Ledger(TIMING, epoch=self.epoch)
        self.idle_since: dict[str, float] = {}
        for order, outcome in self.journal.values():
            if outcome == "open":
                inherited = Order(
                    key=order.key,
                    job_id=order.job_id,
                    command=order.command,
                    what=order.what,
                    decided_at=order.decided_at,
                    inherited=True,
                )
                self.ledger.order(inherited)
                self.journal[order.id] = (inherited, "open")

    # What is true.

    def taken(self) -> dict[str, list[int]]:
        owners: dict[str, list[int]] = {node: [] for node in NODES}
        for job in self.jobs.values():
            for node in [*([] if job.over else job.nodes), *job.going]:
                owners[node].append(job.job_id)
        for job_id, (_, nodes) in self.rigid.items():
            for node in nodes:
                owners[node].append(job_id)
        return owners

    def check(self) -> None:
        assert all(len(owners) <= 1 for owners in self.taken().values()), self.taken()
        promised = [node for order in self.ledger.orders.values() for node in order.joining]
        assert len(set(promised)) == len(promised)

    def snapshot(self) -> Snapshot:
        owners = self.taken()
        nodes = tuple(
            Node(
                name=node,
                cores=1,
                states=frozenset({NodeState.ALLOCATED if owners[node] else NodeState.IDLE}),
                partitions=("main",),
            )
            for node in NODES
        )
        jobs = []
        for job in self.jobs.values():
            state = JobState.COMPLETED if job.over else JobState.RUNNING
            jobs.append(self._job(job.job_id, "elastic", state, job.nodes[:1], 1))
            jobs += [
                self._job(1000 * job.job_id + int(node[4:]), f"flexmpi-{job.job_id}", JobState.RUNNING, [node], 1)
                for node in [*([] if job.over else job.nodes[1:]), *job.going]
            ]
        for job_id, (wanted, held) in self.rigid.items():
            jobs.append(self._job(job_id, "rigid", JobState.RUNNING if held else JobState.PENDING, held, wanted))
        return Snapshot(taken_at=self.now, nodes=nodes, jobs=tuple(jobs))

    def _job(self, job_id: int, name: str, state: JobState, nodes: list[str], wanted: int) -> Job:
        return Job(
            job_id=job_id,
            name=name,
            uid=7,
            user="seven",
            state=state,
            reason="Resources" if state is JobState.PENDING else None,
            nodes=tuple(nodes),
            minimum_nodes=wanted,
            partitions=("main",),
        )

    # What happens.

    def start_waiting(self) -> None:
        free = [node for node, owners in self.taken().items() if not owners]
        for job_id, (wanted, held) in self.rigid.items():
            if not held:
                if wanted > len(free):
                    return
                self.rigid[job_id] = (wanted, free[:wanted])
                free = free[wanted:]

    def start_elastic(self) -> None:
        free = [node for node, owners in self.taken().items() if not owners]
        waits = any(not held for _, held in self.rigid.values())
        if free and not waits:
            number = next(self.numbers)
            self.jobs[number] = SimulatedJob(number, free[:1], 1, self.random.randint(1, 6))

    def send(self, job_id: int, message: object, *, to_agent: bool) -> None:
        if self.random.random() >= self.loss:
            # Late, but in their order, as over one connection.
            before = [at for at, other, direction, _ in self.post if (other, direction) == (job_id, to_agent)]
            at = max([*before, self.now + self.random.uniform(0, 1.5)])
            self.post.append((at, job_id, to_agent, message))

    def deliver(self) -> None:
        due = [each for each in self.post if each[0] <= self.now]
        self.post = [each for each in self.post if each[0] > self.now]
        for _, job_id, to_agent, message in sorted(due, key=lambda each: each[0]):
            job = self.jobs[job_id]
            connection = str(job_id).encode()
            if not to_agent:
                if not job.over and (answer := job.take(message, self.now, self.random.uniform(0, 5))) is not None:  # type: ignore[arg-type]
                    self.send(job_id, answer, to_agent=True)
            elif isinstance(message, Register):
                if not job.over:
                    known = self.snapshot().job_of[job_id]
                    self.ledger.register(message, known, connection=connection, now=self.now)
            else:
                self.ledger.hear(message, connection=connection, now=self.now)  # type: ignore[arg-type]

    def work(self) -> None:
        """Jobs carry out what they have taken: a node that somebody else has taken meanwhile is not granted."""
        for job in self.jobs.values():
            job.going = {node: until for node, until in job.going.items() if until > self.now}
            for due in [each for each in job.working if each[0] <= self.now]:
                job.working.remove(due)
                command = due[1]
                owners = self.taken()
                if job.over:
                    continue
                if any(owners[node] for node in command.add) or not set(command.leave) <= set(job.nodes[1:]):
                    answer: Done | Failed = Failed(id=command.id, why="not granted", nodes=job.held)
                else:
                    job.nodes = [node for node in job.nodes if node not in command.leave] + list(command.add)
                    # Slurm takes its time to end what ran there.
                    job.going |= {node: self.now + self.random.uniform(0, 4) for node in command.leave}
                    answer = Done(id=command.id, nodes=job.held)
                job.memory[command.id] = answer
                self.send(job.job_id, answer, to_agent=True)

    def tick(self) -> None:
        snapshot = self.snapshot()
        self.ledger.reconcile(snapshot, self.now, elapsed_s=1.0)
        free = free_nodes(snapshot, self.ledger, Territory())
        self.idle_since = still_free(free, self.idle_since, self.now)
        view = build_view(
            snapshot,
            self.ledger,
            waiting=waiting_jobs(snapshot),
            territory=Territory(),
            bounds=Bounds(),
            idle_since=self.idle_since,
            settle_s=2.0,
            now=self.now,
        )
        verdict = decide(Question(view=view, mode="on", policy=self.policy, bounds=Bounds()))
        for key, why in verdict.taken_back.items():
            order = self.ledger.withdrawable(self.ledger.members[key], self.now)
            assert order is not None
            self.ledger.withdraw(order, why, self.now)
            self.withdrawn += 1
        for decision in verdict.decisions:
            self.epoch = max(self.epoch, self.ledger.newest_epoch) + 1
            command = Resize(
                id=f"order{len(self.journal)}", epoch=self.epoch, cause="", add=decision.add, leave=decision.leave
            )
            job_id = self.ledger.members[decision.key].job.job_id
            order = Order(key=decision.key, job_id=job_id, command=command, what="", decided_at=self.now)
            self.journal[order.id] = (order, "open")
            self.ledger.order(order)
        self.ledger.deliver(self.now)
        self.flush()

    def flush(self) -> None:
        for connection, message in self.ledger.take_outgoing():
            self.send(int(connection), message, to_agent=False)
        for order in self.ledger.take_ended():
            assert self.journal[order.id][1] == "open"
            self.journal[order.id] = (order, order.stage.value)

    def second(self, *, quiet: bool = False) -> None:
        """Let one second pass, with or without events."""
        self.now += 1.0
        chance = self.random.random
        if not quiet:
            if chance() < 0.08:
                self.start_elastic()
            if chance() < 0.05:
                self.rigid[next(self.numbers)] = (self.random.randint(1, 4), [])
            ends = [number for number in self.rigid if chance() < 0.05]
            for number in ends:
                del self.rigid[number]
            for job in self.jobs.values():
                if not job.over and chance() < 0.01:
                    job.over = True
                    self.send(job.job_id, Ended(status=0), to_agent=True)
            if chance() < 0.03:
                self.restart()
        self.start_waiting()
        for job in self.jobs.values():
            if not job.over:
                self.send(job.job_id, job.sample() if job.registered else job.greet(), to_agent=True)
        self.deliver()
        self.work()
        self.tick()
        self.check()


@pytest.mark.parametrize("policy", ["fill", "fair"])
@given(seed=st.integers(0, 2**32 - 1), loss=st.sampled_from([0.0, 0.1, 0.5]))
@settings(derandomize=True, deadline=None, max_examples=20)
def test_whatever_is_lost_late_or_killed_no_node_goes_to_two_and_all_come_to_use(
    policy: str, seed: int, loss: float
) -> None:
    world = SimulatedWorld(seed, policy=policy, loss=loss)
    for _ in range(150):
        world.second()
    # Now it is quiet, and nothing is lost any more: everything heals.
    world.loss = 0.0
    world.rigid = {number: each for number, each in world.rigid.items() if each[1]}
    for _ in range(200):
        world.second(quiet=True)
    assert not world.ledger.orders
    assert all(outcome != "open" for _, outcome in world.journal.values())
    alive = [job for job in world.jobs.values() if not job.over]
    assert {member.job.job_id for member in world.ledger.members.values()} == {job.job_id for job in alive}
    idle = [node for node, owners in world.taken().items() if not owners]
    assert not idle or all(len(job.nodes) == job.high for job in alive)


def test_orders_are_taken_back_in_such_a_world() -> None:
    world = SimulatedWorld(7, policy="fill", loss=0.1)
    for _ in range(300):
        world.second()
    assert world.withdrawn > 0


def test_growth_that_failed_keeps_a_job_from_growing_and_not_from_shrinking() -> None:
    world = SimulatedWorld(1, policy="triggered", loss=0.0)
    world.jobs[1] = SimulatedJob(1, ["node0"], 1, 6)
    while not world.ledger.members:
        world.second(quiet=True)
    (member,) = world.ledger.members.values()

    def fails(name: str, **fields: tuple[str, ...]) -> None:
        command = Resize(id=name, epoch=9, cause="", **fields)
        world.ledger.order(Order(key=member.key, job_id=1, command=command, what="", decided_at=world.now))
        world.ledger.hear(Failed(id=name, why="", nodes=()), connection=member.connection, now=world.now)

    fails("1", add=("node1",))
    assert world.ledger.may_change(member, world.now) and not world.ledger.may_grow(member, world.now)
    later = world.now + TIMING.retry_s
    assert world.ledger.may_grow(member, later)
    fails("2", leave=("node1",))
    assert not world.ledger.may_change(member, later)


def test_growth_that_was_taken_back_is_no_failure() -> None:
    world = SimulatedWorld(1, policy="triggered", loss=0.0)
    world.jobs[1] = SimulatedJob(1, ["node0"], 1, 6)
    while not world.ledger.members:
        world.second(quiet=True)
    (member,) = world.ledger.members.values()
    command = Resize(id="1", epoch=9, cause="", add=("node1",))
    world.ledger.order(Order(key=member.key, job_id=1, command=command, what="", decided_at=world.now))
    order = world.ledger.withdrawable(member, world.now)
    assert order is not None
    world.ledger.withdraw(order, "needed", world.now)
    assert world.ledger.withdrawable(member, world.now) is None
    world.ledger.hear(Failed(id="1", why="needed", nodes=()), connection=member.connection, now=world.now)
    assert world.ledger.may_grow(member, world.now)


def test_an_order_goes_only_by_the_steps_of_its_table() -> None:
    order = Order(key="a", job_id=1, command=Resize(id="1", epoch=1, cause="", add=("n",)), what="", decided_at=0.0)
    order.step(Stage.TAKEN)
    order.step(Stage.DONE)
    with pytest.raises(ValueError, match="cannot go from done to taken"):
        order.step(Stage.TAKEN)
