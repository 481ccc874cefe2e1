"""Strategies that make every kind of message, with every value that its fields may have."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from flexmpi.protocol import messages, replies, requests
from flexmpi.protocol.wire import LARGEST_COUNT, LARGEST_INTEGER, Message

names = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
texts = st.text(max_size=60)
credentials = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=80)
counts, positive = st.integers(0, LARGEST_COUNT), st.integers(1, LARGEST_COUNT)
integers, numbers = st.integers(0, LARGEST_INTEGER), st.integers(1, 2**32 - 1)
uids = st.integers(0, 2**32 - 2)
seconds = st.floats(0, allow_infinity=False, allow_nan=False)
held = st.lists(
    st.builds(messages.NodeRanks, node=names, ranks=counts), max_size=4, unique_by=lambda one: one.node
).map(tuple)
node_names = st.lists(names, max_size=4, unique=True).map(tuple)
energies = st.lists(
    st.builds(
        lambda node, seconds, watts, processor_s: messages.NodeEnergy(
            node=node, seconds=seconds, joules=watts * seconds, processor_s=processor_s
        ),
        names,
        st.floats(0, messages.LONGEST_PERIOD_S, exclude_min=True),
        st.floats(0, 0.99 * messages.MOST_WATTS),
        seconds,
    ),
    max_size=4,
    unique_by=lambda one: one.node,
).map(tuple)
costs = st.builds(
    messages.Cost,
    start_s=st.none() | seconds,
    **dict.fromkeys(("join_s", "balance_s", "move_s", "part_s", "stall_s"), seconds),
    moved_bytes=integers,
)
outcomes: dict[str, Any] = {"id": names, "cost": st.none() | costs, "nodes": held}
commands: dict[str, Any] = {"id": names, "epoch": integers, "cause": texts}
asked: dict[str, Any] = {"dry_run": st.booleans(), "credential": credentials}
done = st.builds(messages.Done, **outcomes)
failed = st.builds(messages.Failed, **outcomes, why=texts)
rejected = st.builds(messages.Rejected, why=texts)
ranges = st.tuples(positive, positive).map(sorted)


@st.composite
def registrations(draw: st.DrawFn) -> messages.Register:
    least, most = draw(ranges)
    of_array = draw(st.booleans())
    return messages.Register(
        job_key=draw(names),
        job_id=draw(st.none() | numbers),
        array_job_id=draw(numbers) if of_array else None,
        array_task_id=draw(integers) if of_array else None,
        name=draw(texts),
        uid=draw(uids),
        user=draw(texts),
        nodes=draw(held.filter(bool)),
        minimum_nodes=least,
        maximum_nodes=most,
        processes_per_node=draw(positive),
        udp=draw(st.none() | st.builds(messages.Address, host=names | st.just("::1"), port=st.integers(1, 65535))),
        epoch=draw(integers),
        unfinished=draw(node_names),
        credential=draw(credentials),
    )


@st.composite
def resizes(draw: st.DrawFn) -> messages.Resize:
    nodes = draw(node_names.filter(bool))
    split = draw(st.integers(0, len(nodes)))
    fields = {name: draw(value) for name, value in commands.items()}
    return messages.Resize(add=nodes[:split], leave=nodes[split:], **fields)


@st.composite
def sizes(draw: st.DrawFn, kind: type[requests.Expand] | type[requests.Shrink]) -> Message:
    by_count = draw(st.booleans())
    fields = {name: draw(value) for name, value in asked.items()}
    if by_count:
        return kind(job=draw(names), count=draw(st.none() | positive), **fields)
    return kind(job=draw(names), nodes=draw(node_names), **fields)


job_rows = st.builds(
    replies.JobRow,
    job=names,
    name=texts,
    uid=uids,
    user=texts,
    state=texts,
    why=st.none() | texts,
    elastic=st.booleans(),
    nodes=node_names,
    ranks=st.none() | counts,
    minimum_nodes=positive,
    maximum_nodes=positive,
    companions=st.lists(numbers, max_size=3).map(tuple),
    node_hours=seconds,
)
watts, sources = st.floats(0, 1e12), st.sampled_from(["declared", "measured"])
node_rows = st.builds(
    replies.NodeRow,
    node=names,
    cores=counts,
    states=st.tuples(texts),
    job=st.none() | names,
    why=st.none() | texts,
    idle_w=st.none() | watts,
    dynamic_w=st.none() | watts,
    watts_source=st.none() | sources,
)
history_rows = st.builds(
    replies.HistoryRow,
    id=names,
    decided_at=seconds,
    job=st.none() | names,
    what=texts,
    cause=texts,
    outcome=st.sampled_from(["observed", "open", "done", "failed"]),
    why=st.none() | texts,
    cost=st.none() | costs,
)
figures = st.builds(replies.Figure, value=seconds, error=seconds)
alternatives = st.builds(
    replies.Alternative,
    nodes=positive,
    iteration_s=figures,
    speed=seconds,
    price=seconds,
    watts=st.none() | watts,
    joules=st.none() | seconds,
    watts_source=st.none() | sources,
    value=st.none() | st.floats(allow_infinity=False, allow_nan=False),
    is_present=st.booleans(),
    is_chosen=st.booleans(),
)
explanations = st.builds(
    replies.Explanation,
    job=names,
    name=texts,
    user=texts,
    policy=names,
    nodes=node_names,
    minimum_nodes=positive,
    maximum_nodes=positive,
    samples=counts,
    sampled_nodes=st.tuples(positive),
    **dict.fromkeys(("serial_s", "parallel_s", "per_node_s"), st.none() | figures),
    unknown=st.none() | texts,
    start_s=seconds,
    stall_s=seconds,
    changes=counts,
    reason=texts,
    changed=st.none() | texts,
    alternatives=st.tuples(alternatives),
)
modes = st.sampled_from(["observe", "on", "off", "drain"])
FROM_SUPERVISOR: list[st.SearchStrategy[Any]] = [
    registrations(),
    st.builds(
        messages.Sample,
        iteration=integers,
        iterations=st.integers(1, LARGEST_INTEGER),
        maximum=st.none() | integers,
        **dict.fromkeys(("slowest_real_s", "mean_busy_s", "mean_communication_s", "mean_io_s"), seconds),
        nodes=held,
        energy=energies,
    ),
    st.builds(messages.Acknowledged, id=names),
    st.builds(messages.Refused, id=names, why=texts, epoch=integers),
    done,
    failed,
    st.builds(messages.Ended, status=st.integers(0, 255), why=st.none() | texts),
]
FROM_AGENT: list[st.SearchStrategy[Any]] = [
    st.builds(messages.Registered, epoch=integers),
    st.builds(messages.Unknown),
    rejected,
    resizes(),
    st.builds(messages.Balance, **commands),
    st.builds(messages.Stop, **commands),
    st.builds(messages.Withdraw, id=names, why=texts),
]
REQUESTS: list[st.SearchStrategy[Any]] = [
    st.builds(requests.Jobs, **asked),
    st.builds(requests.Nodes, **asked),
    st.builds(requests.History, job=st.none() | names, entries=positive, **asked),
    sizes(requests.Expand),
    sizes(requests.Shrink),
    st.builds(requests.Balance, job=names, **asked),
    st.builds(requests.Stop, job=names, **asked),
    st.builds(requests.SetPolicy, name=st.none() | names, **asked),
    st.builds(requests.SetPowercap, cap_w=st.none() | st.just("none") | watts, **asked),
    st.builds(requests.Explain, job=names, **asked),
    st.builds(requests.SetMode, mode=st.none() | modes, **asked),
    st.builds(
        requests.Submit,
        script=texts.map(lambda text: f"#!{text}"),
        arguments=st.tuples(texts),
        name=st.none() | texts,
        nodes=positive,
        maximum_nodes=st.none() | positive,
        tasks=st.none() | positive,
        time_limit_s=st.none() | st.floats(0, exclude_min=True, allow_infinity=False),
        output=st.none() | texts,
        directory=st.none() | texts,
        environment=st.dictionaries(texts, texts, max_size=3),
        **asked,
    ),
]
REPLIES: list[st.SearchStrategy[Any]] = [
    st.builds(replies.JobList, jobs=st.tuples(job_rows)),
    st.builds(replies.NodeList, nodes=st.tuples(node_rows)),
    st.builds(replies.HistoryList, entries=st.tuples(history_rows)),
    st.builds(
        replies.PowerDraw,
        cap_w=st.none() | watts,
        drawn_w=watts,
        others_w=watts,
        **dict.fromkeys(("declared", "measured", "undeclared"), counts),
    ),
    explanations,
    st.builds(replies.Settings, policy=names, mode=modes),
    st.builds(replies.Accepted, id=names, what=texts, job=st.none() | names, dry_run=st.booleans()),
    rejected,
    done,
    failed,
]
