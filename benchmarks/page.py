"""``python -m benchmarks.page`` writes docs/benchmarks.md from the results kept in ``benchmarks/results``."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from benchmarks.figures import Result, Table, shown
from benchmarks.report import stated

RESULTS = Path(__file__).parent / "results"
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
ORDER = [
    "reconfiguration",
    "node_memory",
    "ahead",
    "process_sets",
    "startup",
    "redistribution",
    "overhead",
    "decision",
    "released_node",
    "prediction",
]
HEADING = """# Benchmarks

Written by `python -m benchmarks.page` from the results in [benchmarks/results](../benchmarks/results); change nothing here.
What is compared was measured side by side in one run. A figure is the median, with the smallest and the largest of the
measurements in brackets. To measure on your own machine:

```console
$ .venv/bin/python -m benchmarks.reconfiguration --json reconfiguration.json
```
"""


def kept() -> list[Result]:
    """Return the results in the repository, in the order of the page."""
    files = sorted(RESULTS.glob("*.json"), key=lambda file: ORDER.index(file.stem))
    return [Result.from_json(json.loads(file.read_text(encoding="utf-8"))) for file in files]


def page(results: Sequence[Result]) -> str:
    """Return the whole page, in Markdown."""
    return "\n".join([HEADING, *map(_section, results)])


def _section(result: Result) -> str:
    lines = [f"## {result.title}", "", f"`python -m benchmarks.{result.name}`. {result.method}", ""]
    for table in result.tables:
        lines += [*_table(table), ""]
    if result.targets:
        lines += [f"- {'met' if target.met else '**not met**'}: {stated(target)}" for target in result.targets] + [""]
    lines += [f"- {limit}" for limit in result.limits] + [""] * bool(result.limits)
    lines += [f"Measured on: {'; '.join(f'{name}: {value}' for name, value in result.machine.items())}.", ""]
    return "\n".join(lines)


def _table(table: Table) -> list[str]:
    rule = "|".join(["---", *["---:"] * (len(table.headings) - 1)])
    rows = [f"| {' | '.join(map(shown, row))} |" for row in table.rows]
    return [f"**{table.title}**", "", f"| {' | '.join(table.headings)} |", f"|{rule}|", *rows, "", *table.notes]


def main() -> None:
    """Write the page."""
    PAGE.write_text(page(kept()), encoding="utf-8")
    print(f"wrote {PAGE.name}")


if __name__ == "__main__":
    main()
