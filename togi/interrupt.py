"""Signals: Ctrl-C and SIGTERM end a run at the next safe moment. Knows nothing of what is being run."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType


class Interrupted(BaseException):
    """The run was asked to stop; no ``except Exception`` may swallow this.

    ``code`` is the exit code that shells expect: 128 + the signal's number.
    """

    def __init__(self, number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(number).name}")
        self.code = 128 + number


class Interrupts:
    """While open, SIGINT and SIGTERM raise ``Interrupted`` at once, or at the end of a ``deferred`` block.

    A second signal ends the process immediately: what is on disk is whole at every moment. Off the main thread, where
    Python allows no handlers, signals keep their usual effect.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._pending: int | None = None
        self._deferring = False
        self._before: dict[int, object] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._before = {}

    def _handle(self, number: int, _: FrameType | None) -> None:
        if self._pending is not None:
            os._exit(128 + number)
        self._pending = number
        self._tell(f"{signal.Signals(number).name}: saving, then stopping (once more to stop now)")
        if not self._deferring:
            raise Interrupted(number)

    @contextmanager
    def deferred(self) -> Iterator[None]:
        """A block that must not be cut in two: weights, metrics and position change together."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
        if self._pending is not None:
            raise Interrupted(self._pending)
