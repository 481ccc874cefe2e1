"""The energy meters of a machine, on folders of the form that Linux gives them below ``/sys/class/powercap``.

The trees are plain files, which a test turns as the kernel would; the reader cannot tell.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flexmpi.runtime.job.measurements import EnergyReading, adds_up
from flexmpi.runtime.machine.energy import EnergyMeter, machine_identity, used_uj
from tests.powercap import Powercap

RANGE_UJ = 262_143_328_850


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def tree(tmp_path: Path) -> Powercap:
    """Two packages with memory, cores inside the first, the platform, and the first package once more by another way."""
    powercap = Powercap(tmp_path / "powercap")
    powercap.add("intel-rapl:0", "package-0", range_uj=RANGE_UJ)
    powercap.add("intel-rapl:0:0", "core", range_uj=RANGE_UJ)
    powercap.add("intel-rapl:0:1", "dram", range_uj=65_712_999_613)
    powercap.add("intel-rapl:1", "package-1", range_uj=RANGE_UJ)
    powercap.add("intel-rapl:1:0", "dram", range_uj=65_712_999_613)
    powercap.add("intel-rapl:2", "psys", range_uj=RANGE_UJ)
    powercap.add("intel-rapl-mmio:0", "package-0", range_uj=RANGE_UJ)
    (powercap.root / "intel-rapl").mkdir()
    (powercap.root / "intel-rapl" / "enabled").write_text("1\n")
    return powercap


# One meter


@settings(derandomize=True, deadline=None, max_examples=200)
@given(st.integers(1, 2**40), st.integers(0, 2**41), st.lists(st.integers(0, 2**40), max_size=20))
def test_what_was_used_is_found_again_however_often_the_counter_wraps_around(range_uj, start, uses):
    """Between two readings there is less than a whole range, as the reader sees to."""
    uses = [use % (range_uj + 1) for use in uses]
    true, readings = start, [start % (range_uj + 1)]
    for use in uses:
        true += use
        readings.append(true % (range_uj + 1))
    found = [used_uj(a, b, range_uj=range_uj) for a, b in itertools.pairwise(readings)]
    assert found == uses


def test_without_a_known_range_a_counter_that_went_back_tells_nothing():
    assert used_uj(100, 130, range_uj=None) == 30
    assert used_uj(130, 100, range_uj=None) is None


def test_a_reading_beyond_the_range_tells_nothing():
    assert used_uj(100, 2000, range_uj=1000) is None
    assert used_uj(2000, 100, range_uj=1000) is None


# A machine


def test_every_zone_has_a_name_of_its_own_and_the_second_way_to_a_package_is_left_out(tree):
    assert EnergyMeter(tree.root).sources == [
        "rapl:package-0",
        "rapl:package-0/core",
        "rapl:package-0/dram",
        "rapl:package-1",
        "rapl:package-1/dram",
        "rapl:psys",
    ]
    assert EnergyMeter(tree.root).missing == {}


def test_two_zones_of_one_name_are_told_apart_by_their_folders(tree):
    tree.add("intel-rapl:3", "psys", range_uj=RANGE_UJ)
    assert EnergyMeter(tree.root).sources[-2:] == ["rapl:psys", "rapl:psys (intel-rapl:3)"]


def test_a_period_has_its_seconds_and_the_joules_of_each_source(tree):
    clock = Clock()
    meter = EnergyMeter(tree.root, clock)
    tree.use("intel-rapl:0", 12.5)
    tree.use("intel-rapl:0:1", 1.25)
    clock.now += 0.5
    assert meter.spent() == (
        0.5,
        {
            "rapl:package-0": 12.5,
            "rapl:package-0/core": 0.0,
            "rapl:package-0/dram": 1.25,
            "rapl:package-1": 0.0,
            "rapl:package-1/dram": 0.0,
            "rapl:psys": 0.0,
        },
    )
    clock.now += 2.0
    tree.use("intel-rapl:1", 3.0)
    seconds, joules = meter.spent()
    assert (seconds, joules["rapl:package-0"], joules["rapl:package-1"]) == (2.0, 0.0, 3.0)


def test_why_a_meter_is_missing_is_known_for_the_period_in_which_it_is(tree):
    meter = EnergyMeter(tree.root)
    meter.spent()
    assert meter.lost == {}
    tree.file("intel-rapl:0").write_text(f"{RANGE_UJ + 1}\n")
    tree.file("intel-rapl:1").unlink()
    tree.file("intel-rapl:1:0").write_text("no number\n")
    assert meter.spent()[1]["rapl:package-0"] is None
    assert meter.lost == {
        "rapl:package-0": f"energy_uj is above its range of {RANGE_UJ} (max_energy_range_uj)",
        "rapl:package-1": "energy_uj: No such file or directory",
        "rapl:package-1/dram": "energy_uj holds no number",
    }


def test_a_meter_that_went_back_without_a_known_range_says_so_once_and_counts_on(tree):
    (tree.root / "intel-rapl:2" / "max_energy_range_uj").unlink()
    tree.file("intel-rapl:2").write_text("500\n")
    meter = EnergyMeter(tree.root)
    tree.file("intel-rapl:2").write_text("400\n")
    meter.update()
    meter.update()
    assert meter.spent()[1]["rapl:psys"] is None
    assert meter.lost == {"rapl:psys": "energy_uj went back, and how far it counts is not known (max_energy_range_uj)"}
    assert (meter.spent()[1]["rapl:psys"], meter.lost) == (0.0, {})


def test_a_period_may_be_longer_than_a_counter_lasts_if_it_is_read_in_between(tree):
    meter = EnergyMeter(tree.root)
    for _ in range(5):
        tree.use("intel-rapl:0", 0.6 * RANGE_UJ / 1e6)
        meter.update()
    assert meter.spent()[1]["rapl:package-0"] == pytest.approx(3.0 * RANGE_UJ / 1e6, abs=1e-3)


def test_the_total_is_that_of_packages_and_memory():
    joules = {"rapl:package-0": 10.0, "rapl:package-0/core": 7.0, "rapl:package-0/dram": 2.0, "rapl:psys": 30.0}
    assert EnergyReading(("n",), 1.0, joules).total_j == 12.0
    assert [source for source in joules if adds_up(source)] == ["rapl:package-0", "rapl:package-0/dram"]
    assert adds_up("rapl:package-1-die-0")


@pytest.mark.parametrize(
    "joules", [{}, {"rapl:psys": 30.0}, {"rapl:package-0": None}, {"rapl:package-0": 1.0, "rapl:package-1": None}]
)
def test_a_total_of_which_something_is_missing_is_missing(joules):
    assert EnergyReading(("n",), 1.0, joules).total_j is None


# What is missing is None, and never 0


def test_a_machine_without_the_folder_has_no_meter_and_says_so(tmp_path):
    meter = EnergyMeter(tmp_path / "powercap")
    assert meter.sources == []
    assert meter.missing == {str(tmp_path / "powercap"): "No such file or directory"}
    assert meter.spent()[1] == {}


def test_a_folder_without_a_zone_has_no_meter_and_says_so(tmp_path):
    assert EnergyMeter(tmp_path).missing == {str(tmp_path): "no intel-rapl zone there"}


def without_the_file(tree: Powercap) -> str:
    tree.file("intel-rapl:1").unlink()
    return "energy_uj: No such file or directory"


def as_a_folder(tree: Powercap) -> str:
    tree.file("intel-rapl:1").unlink()
    tree.file("intel-rapl:1").mkdir()
    return "energy_uj: Is a directory"


def with_other_content(content: bytes) -> Callable[[Powercap], str]:
    def damage(tree: Powercap) -> str:
        tree.file("intel-rapl:1").write_bytes(content)
        return "energy_uj holds no number"

    return damage


DAMAGES = [without_the_file, as_a_folder, *map(with_other_content, (b"", b"-5\n", b"1e9\n", b"\xff"))]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_meter_that_cannot_be_read_is_missing_and_says_why(tree, damage):
    why = damage(tree)
    meter = EnergyMeter(tree.root)
    assert "rapl:package-1" not in meter.sources
    assert meter.missing == {str(tree.root / "intel-rapl:1"): why}
    _, joules = meter.spent()
    assert joules["rapl:package-1"] is None
    assert joules["rapl:package-0"] == 0.0
    assert EnergyReading(("n",), 1.0, joules).total_j is None


def test_a_meter_that_is_only_for_root_is_missing_for_others_and_says_why():
    """As on most machines today: since 2020 ``energy_uj`` has mode 0400."""
    with as_an_ordinary_user(), tempfile.TemporaryDirectory(dir="/tmp") as folder:
        tree = Powercap(Path(folder) / "powercap")
        tree.add("intel-rapl:0", "package-0", range_uj=RANGE_UJ)
        tree.file("intel-rapl:0").chmod(0)
        meter = EnergyMeter(tree.root)
        assert meter.sources == []
        assert meter.missing == {str(tree.root / "intel-rapl:0"): "energy_uj: Permission denied"}
        assert meter.spent()[1] == {"rapl:package-0": None}
        tree.file("intel-rapl:0").chmod(0o444)
        meter.spent()
        assert meter.spent()[1] == {"rapl:package-0": 0.0}


@contextmanager
def as_an_ordinary_user() -> Iterator[None]:
    """Root may read every file; nobody in particular may not."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_what_a_meter_counted_while_it_could_not_be_read_is_missing_and_not_taken_for_a_wrap_around(tree):
    meter = EnergyMeter(tree.root)
    tree.use("intel-rapl:0", 5.0)
    kept = tree.file("intel-rapl:0").read_text()
    tree.file("intel-rapl:0").write_text("")
    assert meter.spent()[1]["rapl:package-0"] is None
    assert "rapl:package-0" not in meter.sources
    tree.file("intel-rapl:0").write_text(kept)
    assert meter.spent()[1]["rapl:package-0"] is None
    assert "rapl:package-0" in meter.sources
    tree.use("intel-rapl:0", 2.0)
    assert meter.spent()[1]["rapl:package-0"] == 2.0


def test_a_failure_in_the_middle_of_a_period_makes_the_whole_period_missing(tree):
    meter = EnergyMeter(tree.root)
    kept = tree.file("intel-rapl:0").read_text()
    tree.file("intel-rapl:0").write_text("")
    meter.update()
    tree.file("intel-rapl:0").write_text(kept)
    meter.update()
    tree.use("intel-rapl:0", 2.0)
    assert meter.spent()[1]["rapl:package-0"] is None
    assert meter.spent()[1]["rapl:package-0"] == 0.0


def test_a_meter_whose_range_is_not_known_is_missing_when_it_wraps_around_and_right_otherwise(tree):
    (tree.root / "intel-rapl:0" / "max_energy_range_uj").write_text("0\n")
    meter = EnergyMeter(tree.root)
    tree.file("intel-rapl:0").write_text("2000000\n")
    assert meter.spent()[1]["rapl:package-0"] == 2.0
    tree.file("intel-rapl:0").write_text("17\n")
    assert meter.spent()[1]["rapl:package-0"] is None


def test_a_zone_without_a_name_is_called_by_its_folder_and_counts_into_no_total(tree):
    (tree.root / "intel-rapl:2" / "name").unlink()
    assert "rapl:intel-rapl:2" in EnergyMeter(tree.root).sources
    assert not adds_up("rapl:intel-rapl:2")


# Which machine


def test_nodes_of_one_machine_know_that_they_are(tmp_path):
    (tmp_path / "boot_id").write_text("1b4e28ba-2fa1-11d2-883f-0016d3cca427\n")
    assert machine_identity(tmp_path / "boot_id") == "1b4e28ba-2fa1-11d2-883f-0016d3cca427"
    assert machine_identity(tmp_path / "none") is None
    assert machine_identity() == machine_identity()
