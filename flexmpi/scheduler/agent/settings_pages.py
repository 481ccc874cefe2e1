"""The sample ``configuration_files/agent.toml`` and the page ``docs/agent-settings.md``, made from the settings themselves.

``python -m flexmpi.scheduler.agent.settings_pages`` writes them anew.
"""

from __future__ import annotations

import json
import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic.fields import FieldInfo

from flexmpi.scheduler.agent.settings import SECTIONS

_WIDTH = 110


def render_sample() -> str:
    """Return a settings file that sets nothing and shows every field with its default and what it means."""
    return "".join(f"{line}\n" for line in _sample())


def _sample() -> Iterator[str]:
    yield "# Settings of the cluster agent: flexmpi agent --config FILE"
    yield "# Each field is shown with its default: take the # away to set it. Where nothing is the default, the value is"
    yield "# an example. Names that end in _s are seconds. A relative path starts from this file's folder."
    for name, section in SECTIONS.items():
        yield ""
        yield f"[{name}]"
        yield from _comment(section.__doc__ or "")
        for field, about in section.model_fields.items():
            yield ""
            yield from _comment(f"{about.description}{_example(about) if about.default is not None else ''}")
            yield f"#{field} = {_toml(about.examples[0] if about.default is None and about.examples else about.default)}"


def _comment(text: str) -> list[str]:
    return textwrap.wrap(text, _WIDTH, initial_indent="# ", subsequent_indent="# ")


def _example(about: FieldInfo, quote: str = "") -> str:
    return f" Example: {quote}{_toml(about.examples[0])}{quote}" if about.examples else ""


def render_reference() -> str:
    """Return the page that lists every field."""
    return "".join(f"{line}\n" for line in _reference())


def _reference() -> Iterator[str]:
    yield "# Settings of the agent"
    yield ""
    yield "The file that `flexmpi agent --config FILE` reads, in TOML. What it does not set has its default; a field that is"
    yield "not known is an error. Names that end in `_s` are seconds. A relative path starts from the file's folder."
    yield "[administrator.md](administrator.md) says how they are used;"
    yield "[configuration_files/agent.toml](../configuration_files/agent.toml) is a file to start from."
    for name, section in SECTIONS.items():
        yield ""
        yield f"## `[{name}]`"
        yield ""
        yield section.__doc__ or ""
        yield ""
        yield "| field | default | means |"
        yield "|---|---|---|"
        for field, about in section.model_fields.items():
            default = "not set" if about.default is None else f"`{_toml(about.default)}`"
            yield f"| `{field}` | {default} | {about.description}{_example(about, '`')} |"


def _toml(value: Any) -> str:
    """Write a value as TOML; strings, numbers, lists and tables of one line are all there is."""
    if isinstance(value, Mapping):
        entries = ", ".join(f"{_key(key)} = {_toml(one)}" for key, one in value.items())
        return f"{{ {entries} }}" if entries else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(str(value) if isinstance(value, Path) else value)


def _key(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z0-9_-]+", name) else json.dumps(name)


CHECKOUT = Path(__file__).parents[3]
PAGES = {"configuration_files/agent.toml": render_sample, "docs/agent-settings.md": render_reference}


def main() -> None:
    """Write them anew, in the checkout that this module is in."""
    for path, render in PAGES.items():
        (CHECKOUT / path).write_text(render(), encoding="utf-8")


if __name__ == "__main__":
    main()
