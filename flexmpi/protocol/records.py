"""Frozen dataclasses <-> JSON objects, for what is said inside a job, where neither end loads pydantic.

An object carries the name of its class as ``kind``. Fields are numbers, texts, truth values, other such records, None, tuples of
these, and dictionaries by text. Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, get_args, get_origin, get_type_hints

from flexmpi.errors import MessageError


def as_object(record: Any) -> dict[str, Any]:
    """Return a record as an object for JSON, with its kind."""
    return {"kind": type(record).__name__, **_plain(record)}


def from_object(value: Mapping[str, Any], kinds: Mapping[str, type]) -> Any:
    """Return the record that an object of `as_object` was.

    Raises
    ------
    MessageError
        It is none of these kinds, or a field is missing, unknown, or of another type.
    """
    kind = kinds.get(str(value.get("kind")))
    if kind is None:
        raise MessageError(f"expected one of {', '.join(sorted(kinds))}, got {value.get('kind')!r}")
    return _record(kind, {name: each for name, each in value.items() if name != "kind"}, kind.__name__)


def kinds_of(*records: type) -> dict[str, type]:
    """Return record classes by the name that they have in an object."""
    return {each.__name__: each for each in records}


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return {each.name: _plain(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    if isinstance(value, Mapping):
        return {name: _plain(each) for name, each in value.items()}
    return value


@cache
def _types(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(kind: type, value: Any, where: str) -> Any:
    types = _types(kind)
    if not isinstance(value, Mapping) or value.keys() != types.keys():
        raise MessageError(f"{where} has the fields {', '.join(types)}, got {value!r}")
    return kind(**{name: _value(types[name], each, f"{where}.{name}") for name, each in value.items()})


def _value(wanted: Any, value: Any, where: str) -> Any:
    """Return what a value of JSON is as a field of some type."""
    origin, inside = get_origin(wanted), get_args(wanted)
    if origin is UnionType:
        if value is None and NoneType in inside:
            return None
        (wanted,) = (each for each in inside if each is not NoneType)
        return _value(wanted, value, where)
    if is_dataclass(wanted):
        assert isinstance(wanted, type)
        return _record(wanted, value, where)
    if origin is tuple and isinstance(value, list):
        types = inside[:1] * len(value) if inside[1:] == (...,) else inside
        if len(types) == len(value):
            return tuple(_value(each, one, where) for each, one in zip(types, value, strict=True))
    elif origin is dict and isinstance(value, dict):
        return {name: _value(inside[1], each, where) for name, each in value.items()}
    elif wanted is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(wanted, type) and type(value) is wanted:
        return value
    raise MessageError(f"{where} must be {getattr(wanted, '__name__', wanted)}, got {value!r}")
