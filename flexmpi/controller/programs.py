"""What the names in workload and batch files stand for: a script, its arguments, more options of `flexmpi run`.

Nothing here starts a program.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from flexmpi.controller.lines import read_text
from flexmpi.errors import ConfigurationError

PLACEHOLDERS = ("size", "cpu", "com", "io", "io_action", "iterations")
"""What a batch file says of an application, in its order; the number of ranks, ``procs``, follows."""

_PLACEHOLDER = re.compile(r"\{(\w+)\}")
_KEYS = ("script", "arguments", "options", "defaults")


@dataclass(frozen=True)
class Program:
    """One entry of the applications file.

    Attributes
    ----------
    arguments
        Of the script; ``{size}`` and the like stand for what a batch file says, or else for the default.
    options
        More options of `flexmpi run`.
    defaults
        Placeholder -> text.
    """

    name: str
    script: Path
    arguments: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)

    def filled_arguments(self, values: Mapping[str, str], *, ranks: int) -> tuple[str, ...]:
        """Return the script's arguments for these values, which go before the defaults."""
        known = {**self.defaults, **values, "procs": str(ranks)}
        return tuple(_PLACEHOLDER.sub(lambda found: known[found[1]], argument) for argument in self.arguments)


def read_programs(path: Path) -> dict[str, Program]:
    """Read an applications file (TOML): a table for each name, with ``script`` and what else the program needs.

    A relative script is relative to the file.

    Raises
    ------
    ConfigurationError
        The file cannot be read or is no TOML, a script is not there, a field is not what it should be or unknown, or a
        placeholder is unknown or has no default.
    """
    file = f"applications file {path}"
    try:
        tables = tomllib.loads(read_text(path, file=file))
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(str(error), file=file) from None
    if not tables:
        raise ConfigurationError("no application in it, expected tables such as [jio]", file=file)
    try:
        return {name: _program(name, table, folder=path.parent) for name, table in tables.items()}
    except ConfigurationError as error:
        raise ConfigurationError(str(error), file=file) from None


def _program(name: str, table: object, *, folder: Path) -> Program:
    if not re.fullmatch(r"\w[\w.-]*", name):
        raise ConfigurationError(f"name must be one word of letters, digits, '.', '_' and '-', got {name!r}")
    if not isinstance(table, dict):
        raise ConfigurationError(f"expected a table [{name}], got {name} = {table!r}")
    if unknown := [key for key in table if key not in _KEYS]:
        raise ConfigurationError(f"[{name}] has no field {unknown[0]!r}, expected {', '.join(_KEYS)}")
    script = table.get("script")
    if not isinstance(script, str):
        raise ConfigurationError(f"[{name}] script must be a file name, got {script!r}")
    if not (folder / script).is_file():
        raise ConfigurationError(f"[{name}] script must be there, relative to this file, got {script!r}")
    program = Program(
        name,
        (folder / script).resolve(),
        arguments=_texts(table, "arguments", name=name),
        options=_texts(table, "options", name=name),
        defaults=_defaults(table.get("defaults", {}), name=name),
    )
    _check_placeholders(program)
    return program


def _texts(table: Mapping[str, object], key: str, *, name: str) -> tuple[str, ...]:
    texts = table.get(key, [])
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise ConfigurationError(f"[{name}] {key} must be a list of texts, got {texts!r}")
    return tuple(texts)


def _defaults(values: object, *, name: str) -> dict[str, str]:
    if not isinstance(values, dict):
        raise ConfigurationError(f"[{name}] defaults must be a table, got {values!r}")
    for key, value in values.items():
        if key not in PLACEHOLDERS:
            raise ConfigurationError(f"[{name}] defaults has no {key!r}, expected {', '.join(PLACEHOLDERS)}")
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise ConfigurationError(f"[{name}] defaults: {key} must be a number or a text, got {value!r}")
    return {key: str(value) for key, value in values.items()}


def _check_placeholders(program: Program) -> None:
    for argument in program.arguments:
        for placeholder in _PLACEHOLDER.findall(argument):
            if placeholder not in (*PLACEHOLDERS, "procs"):
                known = ", ".join((*PLACEHOLDERS, "procs"))
                raise ConfigurationError(
                    f"[{program.name}] arguments: no placeholder {{{placeholder}}}, expected one of {known}"
                )
            if placeholder != "procs" and placeholder not in program.defaults:
                raise ConfigurationError(
                    f"[{program.name}] defaults has no {placeholder}, which the arguments need in a workload file"
                )
