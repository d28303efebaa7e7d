"""Who has environments answer turns, and when their episodes go on: here, one after another, or beside, in threads.

When an episode goes on depends on which turns have ended, and never on a clock: what is drawn together, which decides
the last bits of its arithmetic, is the same in a run that is resumed. It knows no token, no engine and no reward.
"""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from queue import SimpleQueue
from typing import Any, Protocol

from togi.envs.step_clock import TimeUp, took_longer
from togi.episode import Episode
from togi.protocols import Env
from togi.types import Task, Turn

TOGETHER = 3  # episodes go on together once a third as many have ended their turn as are still drawn
GRACE = 2.0  # seconds that a thread whose time is up has to end
LOOK = 0.05  # seconds between two looks at the clock


class Answers(Protocol):
    """Environments of some episodes. Single use."""

    @property
    def pending(self) -> bool:
        """Whether there are episodes that have not gone on."""
        ...

    def start(self, episodes: Sequence[Episode], make: Callable[[Task], Env]) -> None:
        """Begin all episodes; what environments raise is noted in them."""
        ...

    def hand(self, episode: Episode, turn: Turn) -> None:
        """Have the environment answer a turn."""
        ...

    def due(self, drawing: int) -> list[Episode]:
        """The episodes that go on now, while so many turns are being drawn; some when there are none."""
        ...

    def close(self, episodes: Sequence[Episode]) -> None: ...


class Here:
    """Environments answer one after another, each as soon as its turn has ended."""

    def __init__(self) -> None:
        self._answered: list[Episode] = []

    @property
    def pending(self) -> bool:
        return bool(self._answered)

    def start(self, episodes: Sequence[Episode], make: Callable[[Task], Env]) -> None:
        for episode in episodes:
            episode.start(make)

    def hand(self, episode: Episode, turn: Turn) -> None:
        episode.act(turn)
        self._answered.append(episode)

    def due(self, drawing: int) -> list[Episode]:
        # Prompts that are computed together keep the matrix products busy.
        if drawing > TOGETHER * len(self._answered):
            return []
        answered, self._answered = self._answered, []
        return answered

    def close(self, episodes: Sequence[Episode]) -> None:
        for episode in episodes:
            episode.close()


@dataclass
class _Lane:
    """One thread at a time, which does the jobs of some episodes in their order. None takes longer than ``seconds``: it
    is interrupted, and where that does not help, left behind, and another thread goes on with the others."""

    seconds: float
    _jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = field(default_factory=SimpleQueue)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _busy: Future[Any] | None = None
    _thread: threading.Thread | None = None
    _since: float = 0.0
    _rung: bool = False
    _left: set[Future[Any]] = field(default_factory=set)

    def left(self, job: Future[Any]) -> bool:
        """Whether the job goes on in a thread that was left behind."""
        return job in self._left

    def put(self, call: Callable[[], Any]) -> Future[Any]:
        if self._thread is None:
            self._open()
        future: Future[Any] = Future()
        self._jobs.put((future, call))
        return future

    def close(self) -> None:
        if self._thread is not None:
            self._jobs.put(None)

    def look(self) -> None:
        """End the job whose time is up."""
        with self._lock:
            job, over = self._busy, time.monotonic() - self._since - self.seconds
            if job is None or over <= 0:
                return
            if not self._rung:
                self._rung = True
                assert self._thread is not None
                assert self._thread.ident is not None
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._thread.ident), ctypes.py_object(TimeUp))
            elif over > GRACE:
                job.set_exception(took_longer(self.seconds, "; it could not be ended, and its thread is left behind"))
                self._busy = None
                self._left.add(job)
                self._open()

    def _open(self) -> None:
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, call = job
            with self._lock:
                self._busy, self._since, self._rung = future, time.monotonic(), False
            try:
                self._settle(future, call)
            except TimeUp:  # that came just as the job had ended
                self._raise(future, took_longer(self.seconds))
            if threading.current_thread() is not self._thread:
                return  # left behind

    def _settle(self, future: Future[Any], call: Callable[[], Any]) -> None:
        try:
            given = call()
        except TimeUp:
            self._raise(future, took_longer(self.seconds))
        except Exception as problem:
            self._raise(future, problem)
        else:
            with self._lock:
                if not future.done():
                    self._busy = None
                    future.set_result(given)

    def _raise(self, future: Future[Any], problem: Exception) -> None:
        with self._lock:
            if not future.done():
                self._busy = None
                future.set_exception(problem)


class InThreads:
    """Environments answer in so many threads while other turns are drawn. An environment is always called in the same
    one, and no call takes longer than ``seconds``.

    An episode goes on when those that ended their turn next have ended it: its environment has that time to answer
    before anybody waits for it. ``waiting`` is entered while somebody does.
    """

    def __init__(
        self, threads: int, seconds: float, waiting: Callable[[], AbstractContextManager[None]] = nullcontext
    ) -> None:
        self._lanes = [_Lane(seconds) for _ in range(threads)]
        self._waiting = waiting
        self._lane_of: dict[int, _Lane] = {}
        self._before: list[tuple[Episode, Future[Any]]] = []
        self._ended: list[tuple[Episode, Future[Any]]] = []

    @property
    def pending(self) -> bool:
        return bool(self._before or self._ended)

    def start(self, episodes: Sequence[Episode], make: Callable[[Task], Env]) -> None:
        for number, episode in enumerate(episodes):
            self._lane_of[id(episode)] = self._lanes[number % len(self._lanes)]
        for episode, job in [(each, self._put(each, partial(each.start, make))) for each in episodes]:
            try:
                self._given(episode, job)
            except Exception as problem:
                episode.fail(problem)

    def hand(self, episode: Episode, turn: Turn) -> None:
        message = episode.speak(turn)
        if message is not None:
            assert episode.env is not None
            self._ended.append((episode, self._put(episode, partial(episode.env.step, message))))

    def due(self, drawing: int) -> list[Episode]:
        if drawing > TOGETHER * len(self._ended) and drawing >= len(self._before):
            return []
        if self._before or drawing:
            going_on, self._before, self._ended = self._before, self._ended, []
        else:
            going_on, self._ended = self._ended, []
        for episode, job in going_on:
            episode.hear(partial(self._given, episode, job))
        return [episode for episode, _ in going_on]

    def close(self, episodes: Sequence[Episode]) -> None:
        for episode, job in [(each, self._put(each, each.close)) for each in episodes if id(each) in self._lane_of]:
            try:
                self._given(episode, job)
            except Exception as problem:
                episode.fail_to_close(problem)
        for lane in self._lanes:
            lane.close()

    def _put(self, episode: Episode, call: Callable[[], Any]) -> Future[Any]:
        return self._lane_of[id(episode)].put(call)

    def _given(self, episode: Episode, job: Future[Any]) -> Any:
        """What a job gives or raises. What it left behind is not touched again."""
        lane = self._lane_of[id(episode)]
        with self._waiting():
            while not wait([job], LOOK).done:
                lane.look()
        if lane.left(job):
            episode.env = None
        return job.result()
