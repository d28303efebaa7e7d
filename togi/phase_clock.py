"""Seconds by phase of a step, told to whoever watches. It knows no phase by name."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from togi.run import Watch


class Clock:
    """Seconds by phase of one step. The time of a phase within another one is its own alone."""

    def __init__(self, watch: Watch) -> None:
        self.seconds: dict[str, float] = {}
        self._watch = watch
        self._open: list[str] = []
        self._told = ""
        self._since = 0.0

    @contextmanager
    def __call__(self, phase: str) -> Iterator[None]:
        self._count()
        self._open.append(phase)
        self._tell()
        try:
            yield
        finally:
            self._count()
            self._open.pop()

    def progress(self, done: int, total: int) -> None:
        """Progress of the innermost phase, which may be at work again after one within it."""
        self._tell()
        self._watch.progress(done, total)

    def _count(self) -> None:
        now = time.perf_counter()
        if self._open:
            self.seconds[self._open[-1]] = self.seconds.get(self._open[-1], 0.0) + now - self._since
        self._since = now

    def _tell(self) -> None:
        if self._open and self._told != self._open[-1]:
            self._told = self._open[-1]
            self._watch.phase(self._told)
