"""What an administrator sets for the agent: the sections and fields of ``agent.toml``, checked when it is read.

The sample and the page that list them are made from here, by `settings_pages`.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, NoReturn, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.errors import ConfigurationError
from flexmpi.protocol.requests import Mode
from flexmpi.protocol.wire import Count, Host, first_complaint
from flexmpi.scheduler.agent.settings_fields import (
    Draw,
    Endpoint,
    Factor,
    FilePath,
    HostList,
    Pause,
    Policy,
    User,
    Wait,
)
from flexmpi.scheduler.deciding.elastic import Rules
from flexmpi.scheduler.deciding.metering import Metering
from flexmpi.scheduler.deciding.power import Watts

_IN_TOML = {"expected an object": "expected a table", "expected a valid array": "expected a list"}


class Section(BaseModel):
    """A section of the file. Nothing is converted, and no field is ignored."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Agent(Section):
    """The agent itself: its files, where it listens, what it decides by and whom it obeys."""

    folder: FilePath = Field(
        default=Path("/var/lib/flexmpi"),
        description="Holds the agent's keys and card: agent.secret (its own), agent.public and agent.json (copied to "
        "/etc/flexmpi of every node). They are made on first use.",
    )
    journal: FilePath = Field(
        default=Path("/var/lib/flexmpi/journal.sqlite"),
        description="The file that remembers every decision, over restarts too. On a local disk: not on NFS.",
    )
    keep_days: Annotated[float, Field(gt=0, le=36500)] = Field(
        default=90.0,
        description="How long the journal remembers a decision, and what a job has used since it ran. Older ones are removed "
        "while the agent works; the file's space is used again.",
    )
    listen: Endpoint = Field(
        default="tcp://*:7117",
        description="Where jobs and commands connect to: an address of this host, an IPv6 address in brackets, or * for all "
        "of both families. With port 0 the system chooses the port.",
        examples=["tcp://10.0.0.1:7117"],
    )
    advertise: Host | None = Field(
        default=None,
        description="The name or address of this host that compute nodes reach it by. Not set: its host name.",
        examples=["head.cluster"],
    )
    tick_s: Wait = Field(default=1.0, description="How often the cluster is looked at and decided on.")
    mode: Mode = Field(
        default="observe",
        description='"observe": decide and record, touch nothing. "on": carry out. "off": have every extra node given '
        'back. "drain": give out nothing more. `flexmpi mode` changes it, from then on and over restarts.',
    )
    policy: Policy = Field(
        default="triggered",
        description='"triggered": only what people command. "fill": idle nodes that nobody waits for go to elastic '
        'jobs. "fair": the same in equal shares. "throughput", "deadline", "cost", "energy": sizes for all jobs '
        "together by what they have measured. `flexmpi policy` changes it, from then on and over restarts.",
        examples=["fill"],
    )
    operators: Annotated[tuple[User, ...], Field(max_length=1000)] = Field(
        default=(),
        description="Users, by name or uid, who may resize any job and change mode and policy, as root and the agent's "
        "own user may.",
        examples=[["root", 1000]],
    )
    authority: Literal["munge", "local"] = Field(
        default="munge",
        description='What proves who somebody is. "munge": the credentials that Slurm uses. "local": a key file that '
        "only the agent's own user can read, so it serves nobody else.",
    )
    munge_socket: FilePath | None = Field(
        default=None,
        description="Where munged listens. Not set: the usual place.",
        examples=["/run/munge/munge.socket.2"],
    )

    @property
    def advertised(self) -> str:
        """The name that others reach this host by."""
        return self.advertise or os.uname().nodename

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.munge_socket is not None and self.authority != "munge":
            raise ValueError('munge_socket means something with authority "munge" only')
        return self


class Manager(Section):
    """The resource manager that nodes come from."""

    kind: Literal["slurm", "pyslurm", "local"] = Field(
        default="slurm",
        description='"slurm": Slurm, by its commands. "pyslurm": Slurm, by its library. "local": virtual nodes of '
        "this machine, for trying things out.",
    )
    corefile: FilePath | None = Field(
        default=None, description='The virtual nodes; needed with kind "local".', examples=["corefiles/demo.core"]
    )
    limit_s: Wait = Field(default=20.0, description="How long the manager may take for one answer.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if (self.corefile is not None) != (self.kind == "local"):
            raise ValueError('corefile is needed with kind "local" and means something there only')
        return self


class Nodes(Section):
    """Which nodes the agent may give to jobs."""

    partitions: tuple[str, ...] = Field(
        default=(), description="Nodes of these partitions only. None: of all.", examples=[["batch", "long"]]
    )
    exclude: HostList = Field(
        default="", description="Nodes that are never given out, as Slurm writes them.", examples=["node[0-3,10],login"]
    )

    @property
    def excluded(self) -> frozenset[str]:
        """The names of the nodes that are never given out."""
        return frozenset(expand_hosts(self.exclude))


class Limits(Section):
    """How many extra nodes, those beyond their minimum, the elastic jobs of one group may have together."""

    accounts: Mapping[str, Count] = Field(
        default={}, description="Of an account. One that is not named has no limit.", examples=[{"physics": 16}]
    )
    partitions: Mapping[str, Count] = Field(
        default={}, description="Of a partition. One that is not named has no limit.", examples=[{"batch": 32}]
    )


class Hysteresis(Section):
    """What keeps sizes from swinging to and fro."""

    cool_down_s: Pause = Field(default=30.0, description="After a change a job does not grow again for so long.")
    settle_s: Pause = Field(default=3.0, description="A node must have been idle so long before it is given out.")
    retry_s: Pause = Field(
        default=60.0,
        description="After an order that failed a job is left alone for so long; twice as long after each further "
        "one, up to 16 times.",
    )
    second_look_s: Wait = Field(
        default=120.0,
        description="A waiting job for which all the nodes it needs are idle has so long to start. If it has not, nothing is "
        "kept or given back for it for 10 minutes; twice as long after each further time, up to a day.",
    )


class Orders(Section):
    """How long the steps of an order to a job may take."""

    acknowledge_s: Wait = Field(
        default=2.0, description="An order that the job has not acknowledged by then is sent again."
    )
    limit_s: Wait = Field(default=600.0, description="An order that is not done by then is given up.")
    silent_s: Wait = Field(default=60.0, description="A job that has not been heard from for so long is not resized.")

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        if self.acknowledge_s >= self.limit_s:
            raise ValueError(f"limit_s ({self.limit_s:g}) must be more than acknowledge_s ({self.acknowledge_s:g})")
        return self


class PowerClass(Section):
    """What some nodes draw, each of them."""

    nodes: HostList
    idle_w: Draw
    dynamic_w: Draw


class Power(Section):
    """Watts of nodes, and what all of them may draw together. Where nothing is measured these figures are taken as they are."""

    cap_w: Draw | None = Field(
        default=None,
        description="What all nodes together may draw, in watts: elastic jobs do not grow beyond it, and shrink to keep to it. "
        "It needs classes. `flexmpi powercap` changes it, from then on and over restarts.",
        examples=[2000.0],
    )
    classes: tuple[PowerClass, ...] = Field(
        default=(),
        description="What each of some nodes draws: idle_w whenever it is powered, dynamic_w on top of that when a job has "
        "it. Nodes that are in no class count nothing, and are not given out while there is a cap.",
        examples=[[{"nodes": "node[0-3]", "idle_w": 80.0, "dynamic_w": 160.0}]],
    )
    measured: bool = Field(
        default=False,
        description="Whether a class has the watts that jobs measure on its nodes, from 3 readings on. Off: jobs' owners could "
        "report anything, and RAPL counts processors and memory only, not a node's whole draw. Not for virtual nodes.",
    )

    @property
    def metering(self) -> Metering:
        """The classes of nodes and their watts, nothing being measured yet."""
        return Metering(
            class_of={node: each.nodes for each in self.classes for node in expand_hosts(each.nodes)},
            declared={each.nodes: Watts(each.idle_w, each.dynamic_w) for each in self.classes},
        )

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        named = [node for each in self.classes for node in expand_hosts(each.nodes)]
        if len(set(named)) < len(named):
            twice = next(node for node in named if named.count(node) > 1)
            raise ValueError(f"classes: {twice} is in two of them")
        for field, is_set in (("cap_w", self.cap_w is not None), ("measured", self.measured)):
            if is_set and not named:
                raise ValueError(f"{field} needs classes that say what nodes draw")
        return self


class Sizing(Section):
    """How sizes are chosen for all jobs together, with the policies throughput, deadline, cost and energy."""

    horizon_s: Wait = Field(
        default=600.0,
        description="A change of a job's nodes must repay what it costs within so long, or by the end of the job's time limit "
        "if that is sooner.",
    )
    slowdown: Annotated[float, Field(ge=1, le=1e6)] = Field(
        default=1.5,
        description='With "cost" and "energy": how many times as long as on its fastest size an iteration of a job may take.',
    )
    exact_s: Pause = Field(
        default=0.5,
        description="How long GLPK, in a process of its own, may look for better sizes at a time, where those found without it "
        "are not proven to be the best. 0: it is not asked. It needs swiglpk: pip install swiglpk.",
    )
    prices: Mapping[HostList, Factor] = Field(
        default={},
        description="What a node costs an hour, by lists of nodes, in any currency. One that is not named costs 1, so that "
        "prices are node-hours.",
        examples=[{"node[0-3]": 1.0, "fat[0-1]": 2.5}],
    )
    weights: Mapping[str, Factor] = Field(
        default={},
        description="How much the speed of a job counts against that of others, by account. One that is not named counts 1.",
        examples=[{"physics": 2.0}],
    )

    @property
    def rules(self) -> Rules:
        """The same as policies take it."""
        return Rules(
            horizon_s=self.horizon_s,
            slowdown=self.slowdown,
            node_hour={node: price for nodes, price in self.prices.items() for node in expand_hosts(nodes)},
            weights=self.weights,
            exact_s=self.exact_s,
        )


class AgentSettings(Section):
    """All that ``agent.toml`` says; what it does not say has its default."""

    agent: Agent = Agent()
    manager: Manager = Manager()
    nodes: Nodes = Nodes()
    limits: Limits = Limits()
    hysteresis: Hysteresis = Hysteresis()
    orders: Orders = Orders()
    power: Power = Power()
    sizing: Sizing = Sizing()

    @field_validator("power")
    @classmethod
    def _agrees(cls, power: Power, info: ValidationInfo) -> Power:
        if power.measured and getattr(info.data.get("manager"), "kind", None) == "local":
            raise ValueError('measured means nothing with manager.kind "local", whose nodes are one machine')
        return power

    @classmethod
    def read(cls, path: Path) -> AgentSettings:
        """Read a settings file; relative paths in it start from its folder.

        Raises
        ------
        ConfigurationError
            The file cannot be read, is no TOML, or a field is not what it should be.
        """
        file = f"settings {path}"
        try:
            # As JSON: there a list may stand for a tuple and a string for a path, and nothing else is converted.
            text = json.dumps(tomllib.loads(path.read_text(encoding="utf-8")), default=_refuse)
        except OSError as error:
            raise ConfigurationError(f"cannot read it: {error.strerror or error}", file=file) from None
        except (ValueError, RecursionError) as error:
            raise ConfigurationError(f"expected TOML: {error}", file=file) from None
        try:
            return cls.model_validate_json(text, context={"folder": path.parent.absolute()})
        except ValidationError as error:
            raise ConfigurationError(_complaint(error), file=file) from None


def _refuse(value: object) -> NoReturn:
    """Refuse dates and times, which JSON has not and no field is."""
    raise ValueError(f"no field is a date or a time, got {value}")


SECTIONS: Mapping[str, type[Section]] = {name: type(part) for name, part in AgentSettings()}


def _complaint(error: ValidationError) -> str:
    """Say which field is wrong as somebody who reads TOML would: ``[agent] tick_s: …``."""
    (section, *field), words = first_complaint(error)
    for in_json, in_toml in _IN_TOML.items():
        words = words.replace(in_json, in_toml)
    if section not in SECTIONS:
        return f"{section}: is no section, expected one of {', '.join(f'[{name}]' for name in SECTIONS)}"
    if not field:
        return f"[{section}]: {words}"
    if field[0] not in (known := SECTIONS[section].model_fields):
        return f"[{section}] {field[0]}: is not known, expected one of {', '.join(known)}"
    return f"[{section}] {'.'.join(field)}: {words}"
