"""What a job tells the agent of itself when it registers."""

from __future__ import annotations

import os
import pwd
import secrets

from flexmpi.protocol.address import EVERY_ADDRESS, Address
from flexmpi.protocol.messages import Address as MessageAddress
from flexmpi.runtime.agent.conversation import Facts
from flexmpi.runtime.job.options import JobOptions

KEY_BYTES = 8


def facts_of(options: JobOptions, *, listening: Address | None) -> Facts:
    """Return what a job tells of itself; ``listening`` is where it takes text commands, if anywhere."""
    identity = options.identity
    uid = os.getuid()
    return Facts(
        job_key=secrets.token_hex(KEY_BYTES),
        job_id=identity.job_id,
        array_job_id=identity.array_job_id,
        array_task_id=identity.array_task_id,
        name=identity.name or options.program,
        uid=uid,
        user=_user(uid),
        minimum_nodes=options.limits.minimum_nodes,
        maximum_nodes=options.limits.maximum_nodes,
        processes_per_node=options.processes_per_node,
        udp=None if listening is None else _reachable(listening, options),
    )


def _reachable(listening: Address, options: JobOptions) -> MessageAddress:
    """Return where others reach the listener; one that listens at every address is reached by this machine's name."""
    host = listening.host
    if host in EVERY_ADDRESS:
        host = os.uname().nodename if options.allocation is None else options.allocation.addresses[0]
    return MessageAddress(host=host, port=listening.port)


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
