"""The program that `flexmpi run` starts: a script, or a module as ``python -m`` takes it; looked for, and not imported."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path

from flexmpi.errors import ConfigurationError
from flexmpi.protocol.rank_start import MODULE


def program_of(script: str, *, is_module: bool) -> tuple[str, ...]:
    """Return the program as ranks are told of it.

    Raises
    ------
    ConfigurationError
        There is no such script or module, or no folder to run it in.
    """
    if not is_module:
        _check_script(Path(script))
    try:
        folder = Path.cwd()
    except OSError as error:
        raise ConfigurationError(f"the working directory is gone: {error.strerror}") from None
    if is_module:
        _check_module(script, folder)
        return MODULE, script
    return (f"./{script}" if script.startswith("-") else script,)


def _check_script(script: Path) -> None:
    if not script.is_file():
        raise ConfigurationError("this is no script" if script.exists() else "no such script", file=str(script))
    if not os.access(script, os.R_OK):
        raise ConfigurationError("this script cannot be read", file=str(script))


def _check_module(name: str, folder: Path) -> None:
    """Look whether there is a module, first in a folder, as ``python -m`` does in the working directory."""
    places: Sequence[str] | None = [str(folder), *sys.path]
    found = ""
    for part in name.split("."):
        if places is None:
            hint = "; -m takes a module's name, without .py" if part == "py" else ""
            raise ConfigurationError(f"-m {name}: {found} is a module and no package{hint}")
        found = f"{found}.{part}" if found else part
        spec = _find(found, places) if part else None
        if spec is None:
            raise ConfigurationError(f"-m {name}: no module named {found!r}")
        places = spec.submodule_search_locations
    if places is not None and _find(f"{name}.__main__", places) is None:
        raise ConfigurationError(f"-m {name}: this package has no module __main__, which would be run")


def _find(name: str, places: Sequence[str]) -> ModuleSpec | None:
    """Find a module without importing its package; others than files, as editable installations have, by their finders."""
    if (spec := PathFinder.find_spec(name, places)) is not None:
        return spec
    specs = (finder.find_spec(name, None if "." not in name else places) for finder in sys.meta_path)
    return next((spec for spec in specs if spec is not None), None)
