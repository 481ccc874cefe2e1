"""What single fields of the agent's settings may be: paths, endpoints, hosts, users, times and watts."""

from __future__ import annotations

import pwd
import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo

from flexmpi.cluster.hostlists import expand_hosts
from flexmpi.errors import ManagerError
from flexmpi.protocol.wire import PolicyName, UserNumber
from flexmpi.scheduler.deciding.policies import POLICIES

LONGEST_WAIT_S = 7 * 24 * 3600.0

_ENDPOINT = re.compile(r"tcp://(?:\*|[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([0-9]{1,5})")


def _path(value: object, info: ValidationInfo) -> object:
    """Take a relative path from the folder of the file that it stands in."""
    if not isinstance(value, str):
        return value
    if not value or "\0" in value:
        raise ValueError("expected a path")
    try:
        return str(Path((info.context or {}).get("folder", "")) / Path(value).expanduser())
    except RuntimeError:
        raise ValueError("expected a path, and a user of this system after '~'") from None


def _endpoint(text: str) -> str:
    found = _ENDPOINT.fullmatch(text)
    if found is None or int(found[1]) > 65535:
        raise ValueError("expected tcp://ADDRESS:PORT such as tcp://*:7117")
    return text


def _hosts(text: str) -> str:
    try:
        expand_hosts(text)
    except ManagerError:
        raise ValueError("expected a list of hosts such as node[0-3,7]") from None
    return text


def _uid(user: object) -> object:
    if not isinstance(user, str):
        return user
    try:
        return pwd.getpwnam(user).pw_uid
    except (KeyError, ValueError):
        raise ValueError("expected the name of a user of this system, or a uid without quotes") from None


def _policy(name: str) -> str:
    if name not in POLICIES:
        raise ValueError(f"expected one of {', '.join(POLICIES)}")
    return name


FilePath = Annotated[Path, BeforeValidator(_path)]
Endpoint = Annotated[str, AfterValidator(_endpoint)]
HostList = Annotated[str, AfterValidator(_hosts)]
Policy = Annotated[PolicyName, AfterValidator(_policy)]
User = Annotated[UserNumber, BeforeValidator(_uid)]
Wait = Annotated[float, Field(gt=0, le=LONGEST_WAIT_S)]
Draw = Annotated[float, Field(ge=0, le=1e9)]
Factor = Annotated[float, Field(gt=0, le=1e6)]
Pause = Annotated[float, Field(ge=0, le=LONGEST_WAIT_S)]
