"""How much energy the machine has used, where it counts that itself. It knows no run, and never guesses.

Linux tells it of processors and their memory (RAPL, under ``/sys/class/powercap``), NVIDIA's own library of its
devices. The rest of a machine is counted by neither. A counter of the processor begins again at 0 when it is full,
often within the hour, so the counters are looked at on the way.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

POWERCAP = Path("/sys/class/powercap")
LOOK = 20.0  # seconds between two looks: no counter of a machine below 3 kW is filled twice in that time
_SUCCESS, _NOT_ALLOWED = 0, 4  # nvmlReturn_t


@dataclass(frozen=True, kw_only=True)
class Counter:
    """Counts the joules of one part of the machine; ``full`` is where it begins again at 0, None where it never does.
    ``read`` raises OSError where it cannot be read."""

    name: str
    read: Callable[[], float]
    full: float | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """The counters that can be read, and why others cannot, a sentence each."""

    counters: tuple[Counter, ...]
    unread: tuple[str, ...]

    @property
    def told(self) -> str:
        """What is counted, or why nothing is."""
        if not self.counters:
            return f"not known: {'; '.join(self.unread)}"
        return f"of {', '.join(counter.name for counter in self.counters)}" + "".join(f"; {why}" for why in self.unread)


class Meter:
    """The joules since it was made, of all counters together; it looks at them by itself until ``close``."""

    def __init__(self, found: Found) -> None:
        self.found = found
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._total, self._failed = 0.0, not found.counters
        self._last = [0.0] * len(found.counters)
        self._look(first=True)
        if not self._failed:
            threading.Thread(target=self._keep_looking, daemon=True).start()

    def joules(self) -> float | None:
        """None where nothing is counted, and where a counter could not be read on the way."""
        self._look()
        return None if self._failed else self._total

    def close(self) -> None:
        self._ended.set()

    def _keep_looking(self) -> None:
        while not self._ended.wait(LOOK) and not self._failed:
            self._look()

    def _look(self, *, first: bool = False) -> None:
        with self._lock:
            try:
                now = [counter.read() for counter in self.found.counters]
            except OSError:
                self._failed = True
                return
            if not first:
                self._total += sum(map(_since, self.found.counters, self._last, now))
            self._last = now


def _since(counter: Counter, before: float, now: float) -> float:
    return now - before if now >= before or counter.full is None else now - before + counter.full


def find_counters(powercap: Path = POWERCAP) -> Found:
    """All counters of this machine."""
    counters: list[Counter] = []
    unread: list[str] = []
    for one in (*_of_processors(powercap), *_of_devices()):
        try:
            if isinstance(one, Counter):
                one.read()
                counters.append(one)
            else:
                unread.append(one)
        except PermissionError:
            assert isinstance(one, Counter)
            unread.append(f"that of {one.name} cannot be read: only root may, until root allows it")
        except OSError as error:
            assert isinstance(one, Counter)
            unread.append(f"that of {one.name} cannot be read: {error.strerror or error}")
    return Found(counters=tuple(counters), unread=tuple(unread))


def _of_processors(powercap: Path) -> Iterator[Counter | str]:
    """Packages, and the memory beside them. What is within a package is counted with it; ``intel-rapl-mmio`` counts
    the same packages again, and ``psys`` more than that, but not on every machine."""
    zones = sorted(powercap.glob("intel-rapl:*"))
    found = [(zone, name) for zone in zones if (name := _name(zone)).startswith("package") or name == "dram"]
    if not found:
        yield f"{powercap} counts no processor's energy"
    for zone, name in found:
        package = f" of {_name(powercap / zone.name.rpartition(':')[0])}" if name == "dram" else ""
        yield Counter(name=name + package, read=_reader(zone / "energy_uj"), full=_full(zone))


def _name(zone: Path) -> str:
    try:
        return (zone / "name").read_text(encoding="ascii").strip()
    except (OSError, ValueError):
        return ""


def _full(zone: Path) -> float | None:
    try:
        return _reader(zone / "max_energy_range_uj")()
    except OSError:
        return None


def _reader(path: Path) -> Callable[[], float]:
    def read() -> float:
        try:
            return int(path.read_text(encoding="ascii")) / 1e6
        except ValueError as error:
            raise OSError(f"{path} holds no number") from error

    return read


def _of_devices() -> Iterator[Counter | str]:
    """NVIDIA's devices; nothing where its library is not there."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
    except OSError:
        return
    yield from _devices_of(library)


def _devices_of(library: ctypes.CDLL) -> Iterator[Counter | str]:
    count = ctypes.c_uint()
    if library.nvmlInit_v2() != _SUCCESS or library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != _SUCCESS:
        yield "NVIDIA's library does not answer"
        return
    for number in range(count.value):
        yield Counter(name=f"GPU {number}", read=_device_reader(library, number))


def _device_reader(library: ctypes.CDLL, number: int) -> Callable[[], float]:
    device, millijoules = ctypes.c_void_p(), ctypes.c_ulonglong()

    def read() -> float:
        code = library.nvmlDeviceGetHandleByIndex_v2(number, ctypes.byref(device))
        code = code or library.nvmlDeviceGetTotalEnergyConsumption(device, ctypes.byref(millijoules))
        if code == _NOT_ALLOWED:
            raise PermissionError
        if code != _SUCCESS:
            raise OSError(f"NVIDIA's library says {code}")
        return millijoules.value / 1e3

    return read
