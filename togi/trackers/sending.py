"""Sends a run's numbers to its trackers, each in a thread of its own, so that none stops or slows the run.

A tracker that is missing, down or slow is told once, in the terminal and in the events; ``metrics.jsonl`` has every
number whatever becomes of it. Knows the trackers by name, and no metric.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from math import isfinite
from queue import Empty, Full, Queue
from threading import Event, Thread

from togi.extras import lacking
from togi.trackers.mlflow import MLflow
from togi.trackers.tensorboard import TensorBoard
from togi.trackers.tracker import Tracked, Tracker
from togi.trackers.trackio import Trackio
from togi.trackers.wandb import WeightsAndBiases

TRACKERS: Mapping[str, Callable[[Tracked], Tracker]] = {
    "tensorboard": TensorBoard,
    "trackio": Trackio,
    "wandb": WeightsAndBiases,
    "mlflow": MLflow,
}
WAITING = 1000  # steps that may wait for a slow tracker
LAST = 20.0  # seconds that trackers have at the end to take what waits
KEPT = "the run goes on without it, and metrics.jsonl has every number"

Numbers = Mapping[str, float]


class Sender:
    """One tracker and what waits for it."""

    def __init__(self, name: str, open_tracker: Callable[[], Tracker], *, waiting: int = WAITING) -> None:
        self.name = name
        self._open = open_tracker
        self._queue: Queue[tuple[Numbers, int]] = Queue(waiting)
        self._faults: Queue[str] = Queue()
        self._told = False
        self._over, self._ended = Event(), Event()
        # A daemon: a tracker that hangs does not keep the process alive.
        Thread(target=self._work, name=f"tracker {name}", daemon=True).start()

    def send(self, numbers: Numbers, step: int) -> None:
        try:
            self._queue.put_nowait((numbers, step))
        except Full:
            self._fault(f"{self.name} is too slow: it misses some steps, and metrics.jsonl has every number")

    def close(self, until: float) -> None:
        """Give the tracker until then (``time.monotonic``) to take what waits."""
        self._over.set()
        if not self._ended.wait(max(0.0, until - time.monotonic())):
            self._fault(f"{self.name} did not take everything in time; metrics.jsonl has every number")

    def faults(self) -> Iterator[str]:
        """What went wrong and was not told yet; once in the life of a tracker."""
        while not self._faults.empty():
            fault = self._faults.get()
            if not self._told:
                self._told = True
                yield fault

    def _fault(self, text: str) -> None:
        if not self._told:
            self._faults.put(text)

    def _work(self) -> None:
        try:
            tracker = self._open()
            while (waiting := self._next()) is not None:
                tracker.log(*waiting)
            tracker.close()
        except ImportError as error:
            self._fault(f"{lacking(self.name, self.name)} ({error}); {KEPT}")
        except Exception as error:  # whatever a foreign library raises
            self._fault(f"{self.name} failed ({type(error).__name__}: {error}); {KEPT}")
        finally:
            self._ended.set()

    def _next(self) -> tuple[Numbers, int] | None:
        """What waits longest; None when the run is over and nothing waits."""
        while True:
            try:
                return self._queue.get(timeout=0.2)
            except Empty:
                if self._over.is_set() and self._queue.empty():
                    return None


class Senders:
    """All trackers of a run. ``warn`` is told what became of them, in the thread that trains."""

    def __init__(self, senders: Sequence[Sender], warn: Callable[[str], None]) -> None:
        self._senders, self._warn = senders, warn

    def send(self, place: str, numbers: Numbers, step: int) -> None:
        """Send numbers under the name of their ``place``: a stage, or what was measured. Those that are not finite are
        left out."""
        named = {f"{place}/{name}": float(value) for name, value in numbers.items() if isfinite(value)}
        for sender in self._senders:
            sender.send(named, step)
        self.tell()

    def tell(self) -> None:
        for sender in self._senders:
            for fault in sender.faults():
                self._warn(fault)

    def close(self) -> None:
        until = time.monotonic() + LAST
        for sender in self._senders:
            sender.close(until)
        self.tell()


@contextmanager
def sending(names: Sequence[str], run: Tracked, warn: Callable[[str], None]) -> Iterator[Senders]:
    """Trackers by name, open while the run is at work."""
    senders = Senders([Sender(name, lambda make=TRACKERS[name]: make(run)) for name in names], warn)  # type: ignore[misc]
    try:
        yield senders
    finally:
        senders.close()
