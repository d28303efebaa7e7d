"""A clock for foreign code that runs in this process. It knows no environment."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

AGAIN = 1.0  # seconds until code that swallowed the end of its time is told once more


class TimeUp(BaseException):
    """No Exception, so that foreign code which catches those goes on to its end."""


def took_longer(seconds: float, more: str = "") -> TimeoutError:
    return TimeoutError(f"took longer than {seconds:g} s{more}")


def _ring(number: int, frame: FrameType | None) -> None:
    raise TimeUp


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Raises TimeoutError where the block takes longer.

    It rings through the system's alarm, which reaches Python code and waiting, in the main thread; where there is no
    alarm, and in other threads, which are watched from outside, the block takes its time. An alarm that was set before
    goes on afterwards.
    """
    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGALRM, _ring)
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN)
    start = time.monotonic()
    try:
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
    except TimeUp:
        signal.setitimer(signal.ITIMER_REAL, 0)
        raise took_longer(seconds) from None
    finally:
        signal.signal(signal.SIGALRM, before)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(left - (time.monotonic() - start), 0.001), interval)
