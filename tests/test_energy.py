"""Counters of energy, on a folder that looks like Linux's: which are read, what is said of others, and a full one."""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import Any, cast

import pytest

from togi import energy
from togi.energy import Counter, Found, Meter, find_counters


@pytest.fixture(autouse=True)
def no_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "_of_devices", lambda: iter(()))


def zone(powercap: Path, place: str, name: str, microjoules: int | str, full: int = 1_000_000) -> Path:
    folder = powercap / place
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{name}\n")
    (folder / "max_energy_range_uj").write_text(f"{full}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    return folder / "energy_uj"


def machine(powercap: Path) -> dict[str, Path]:
    zones = [
        ("intel-rapl:0", "package-0"),
        ("intel-rapl:0:0", "core"),
        ("intel-rapl:0:1", "dram"),
        ("intel-rapl:1", "package-1"),
        ("intel-rapl:2", "psys"),
        ("intel-rapl-mmio:0", "package-0"),
    ]
    (powercap / "intel-rapl").mkdir(parents=True)
    return {place: zone(powercap, place, name, 400_000) for place, name in zones}


def test_each_part_is_counted_once(tmp_path: Path) -> None:
    machine(tmp_path)
    found = find_counters(tmp_path)
    assert [counter.name for counter in found.counters] == ["package-0", "dram of package-0", "package-1"]
    assert found.told == "of package-0, dram of package-0, package-1"


def test_a_counter_that_was_full_goes_on(tmp_path: Path) -> None:
    files = machine(tmp_path)
    meter = Meter(find_counters(tmp_path))
    assert meter.joules() == 0.0
    files["intel-rapl:0"].write_text("900000\n")
    files["intel-rapl:0:0"].write_text("990000\n")  # within the package
    assert meter.joules() == pytest.approx(0.5)
    files["intel-rapl:0"].write_text("100000\n")  # 0.1 until full, and 0.1 after
    files["intel-rapl:1"].write_text("500000\n")
    assert meter.joules() == pytest.approx(0.5 + 0.2 + 0.1)
    meter.close()


def test_counters_are_looked_at_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(energy, "LOOK", 0.001)
    said = iter([0.0, 0.4, 0.1, 0.3])
    done = threading.Event()

    def read() -> float:
        value = next(said, None)
        if value is None:
            done.set()
        return 0.3 if value is None else value

    meter = Meter(Found(counters=(Counter(name="package-0", read=read, full=0.5),), unread=()))
    assert done.wait(5.0)
    meter.close()
    assert meter.joules() == pytest.approx(0.4 + 0.2 + 0.2)


class Library:
    """What of NVIDIA's library is called: one device that has used so many millijoules, or an error."""

    def __init__(self, says: int, millijoules: int = 0) -> None:
        self.says, self.millijoules = says, millijoules

    def nvmlInit_v2(self) -> int:
        return 0

    def nvmlDeviceGetCount_v2(self, count: Any) -> int:
        count._obj.value = 1
        return 0

    def nvmlDeviceGetHandleByIndex_v2(self, number: int, device: Any) -> int:
        device._obj.value = 1 + number
        return 0

    def nvmlDeviceGetTotalEnergyConsumption(self, device: Any, millijoules: Any) -> int:
        millijoules._obj.value = self.millijoules
        return self.says


def test_a_device_is_counted_in_joules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = Library(0, 7_000)
    monkeypatch.setattr(energy, "_of_devices", lambda: energy._devices_of(cast(ctypes.CDLL, library)))
    found = find_counters(tmp_path)
    assert found.told == f"of GPU 0; {tmp_path} counts no processor's energy"
    meter = Meter(found)
    library.millijoules = 9_500
    assert meter.joules() == pytest.approx(2.5)
    library.says = 3
    assert meter.joules() is None
    assert "that of GPU 0 cannot be read: NVIDIA's library says 3" in find_counters(tmp_path).told
    library.says = 4
    assert "only root may" in find_counters(tmp_path).told


UNREAD = [
    (lambda path: path.unlink(), "that of package-0 cannot be read: No such file or directory"),
    (lambda path: path.write_text("much"), "that of package-0 cannot be read: "),
    (lambda path: None, "only root may"),
]


@pytest.mark.parametrize(("spoil", "why"), UNREAD)
def test_what_cannot_be_read_is_said(tmp_path: Path, spoil: object, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    assert callable(spoil)
    spoil(path)
    if why == "only root may":
        whole = Path.read_text

        def refused(self: Path, **how: str) -> str:
            if self.name == "energy_uj":
                raise PermissionError(13, "Permission denied")
            return whole(self, **how)

        monkeypatch.setattr(Path, "read_text", refused)
    found = find_counters(tmp_path)
    assert found.told.startswith("not known: ")
    assert why in found.told
    assert Meter(found).joules() is None


def test_a_machine_without_counters_says_so(tmp_path: Path) -> None:
    assert find_counters(tmp_path).told == f"not known: {tmp_path} counts no processor's energy"


def test_a_counter_that_goes_away_leaves_nothing_known(tmp_path: Path) -> None:
    path = zone(tmp_path, "intel-rapl:0", "package-0", 0)
    meter = Meter(find_counters(tmp_path))
    path.unlink()
    assert meter.joules() is None
    zone(tmp_path / "again", "intel-rapl:0", "package-0", 0)
    assert meter.joules() is None, "what was missed in between is not known"
