"""The rooms are as docs/architecture.md says, and the contracts that hold their arrows are contracts by folder."""

from __future__ import annotations

import importlib.util
import re
import sys
import tomllib
from types import ModuleType

import grimp
import pytest

from tests.applications import REPOSITORY

PACKAGE = REPOSITORY / "flexmpi"
PAGE = REPOSITORY / "docs" / "architecture.md"
CONTRACTS = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
LONGEST_LIST = 10


@pytest.fixture(scope="module")
def drawing() -> ModuleType:
    specification = importlib.util.spec_from_file_location("draw_architecture", PAGE.with_name("draw_architecture.py"))
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_picture_is_that_of_the_code(drawing: ModuleType) -> None:
    assert PAGE.read_text() == drawing.page_with(drawing.picture()), "run: python docs/draw_architecture.py"


def test_every_room_has_one_line_on_the_page_and_no_other_has(drawing: ModuleType) -> None:
    named = re.findall(r"^\| `([\w/]+)` \| ", PAGE.read_text(), re.MULTILINE)
    assert sorted(named) == sorted(room.replace(".", "/") for room in drawing.arrows())


def test_an_arrow_that_follows_from_others_is_left_out_and_no_other(drawing: ModuleType) -> None:
    arrows = {"top": {"middle", "bottom", "aside"}, "middle": {"bottom"}, "aside": set(), "bottom": set()}
    frozen = {room: frozenset(others) for room, others in arrows.items()}
    assert drawing.reduced(frozen) == {**frozen, "top": frozenset({"middle", "aside"})}


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract["name"])
def test_a_contract_has_no_exception_and_no_long_list(contract: dict[str, object]) -> None:
    assert not {"ignore_imports", "exhaustive_ignores"} & set(contract)
    assert not contract.get("allow_indirect_imports", False)
    assert all(len(value) <= LONGEST_LIST for value in contract.values() if isinstance(value, list))


@pytest.mark.parametrize(
    ("part", "needed"),
    [
        ("flexmpi.runtime.rank", {"mpi4py", "numpy", "pypapi"}),
        ("flexmpi.runtime.launcher", {"pypapi"}),
        ("flexmpi.optimiser.glpk_child", {"swiglpk"}),
        ("flexmpi.scheduler.managers.pyslurm_child", {"pyslurm"}),
        ("flexmpi.scheduler.managers.local_job", set()),
    ],
)
def test_a_process_reaches_no_package_but_the_standard_library_and_those_it_is_for(part: str, needed: set[str]) -> None:
    graph = grimp.build_graph("flexmpi", include_external_packages=True, cache_dir=None)
    reached = graph.find_upstream_modules(part, as_package=True)
    packages = {module.partition(".")[0] for module in reached} - sys.stdlib_module_names
    # A child that carries a library under the GPL shares no code with the rest.
    assert packages - {"flexmpi"} <= needed
    assert ("flexmpi" in packages) == part.startswith("flexmpi.runtime.")


def test_hardly_a_file_lies_flat_in_a_house() -> None:
    for house in ("runtime", "scheduler"):
        assert [file.name for file in (PACKAGE / house).glob("*.py")] == ["__init__.py"]
