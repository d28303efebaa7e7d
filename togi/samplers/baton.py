"""Who computes in this process while groups are sampled ahead of learning: one thread at a time, so that nothing which
was made for one thread meets another. Whoever waits for an engine in other processes lets others compute meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from togi.protocols import Asked, Batched, CallsOff, Conversing, Engine, Policy, Reward, Talk
from togi.rounds import Rounds
from togi.types import Prompt, Reading, Sampling, Score, Task, Trajectory, Turn

Progress = Callable[[int, int], None]
GRACE = 10.0  # seconds that a thread has to end what it computes


class Stopped(BaseException):
    """Nobody waits any more for what a thread samples; no ``except Exception`` may swallow this."""


def at_once() -> bool:
    return True


def never() -> bool:
    return False


class Baton:
    """One thread has it: at first the one that makes it, which also gets it first. ``learning`` is true while weights
    change."""

    def __init__(self) -> None:
        self.learning = False
        self._changed = threading.Condition()
        self._holder: int | None = threading.get_ident()
        self._stopped = False
        self._first: Callable[[], bool] = never  # whether its maker would take it

    def take(self, when: Callable[[], bool] = at_once) -> None:
        """Wait until nobody has it, its maker does not want it, and ``when`` says so. Raises Stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._stopped or (self._holder is None and when() and not self._first()))
            if self._stopped:
                raise Stopped
            self._holder = threading.get_ident()

    def take_back(self, when: Callable[[], bool], seconds: float) -> bool:
        """For its maker: wait at most so many seconds until nobody has it and ``when`` says so; whether it is had
        then."""
        with self._changed:
            self._first = when
            try:
                taken = self._changed.wait_for(lambda: self._holder is None and when(), seconds)
            finally:
                self._first = never
            if taken:
                self._holder = threading.get_ident()
            return taken

    def give(self) -> None:
        with self._changed:
            self._holder = None
            self._changed.notify_all()

    def stop(self) -> None:
        """Whoever takes it from now on is stopped, and who has it has some time to give it."""
        with self._changed:
            self._stopped = True
            self._changed.wait_for(lambda: self._holder in (None, threading.get_ident()), GRACE)
            self._changed.notify_all()

    @contextmanager
    def away(self) -> Iterator[None]:
        """Others may have it while the block lasts."""
        self.give()
        try:
            yield
        finally:
            self.take()


class Elsewhere:
    """An engine in other processes, asked by several threads."""

    def __init__(self, engine: Engine, baton: Baton) -> None:
        self._engine, self._baton = engine, baton
        self._waiting = 0
        self._idle, self._since = 0.0, time.monotonic()

    @property
    def version(self) -> int:
        return self._engine.version

    @version.setter
    def version(self, version: int) -> None:
        raise AssertionError("whoever learns tells the engine itself")

    def publish(self, sampling: Sampling) -> None:
        """Have what was learned reach the engine, while the weights here are whole. To be called before others may
        compute."""
        if isinstance(self._engine, Conversing):
            with self._engine.conversation(sampling, 1):
                pass

    def call_off(self) -> None:
        """Have nothing drawn any more that was asked for before."""
        if isinstance(self._engine, CallsOff):
            self._engine.call_off()

    def idle(self) -> float:
        """The seconds since this was asked last in which nothing was asked of the engine."""
        self._count()
        idle, self._idle = self._idle, 0.0
        return idle

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Progress | None = None
    ) -> list[list[Turn]]:
        if not isinstance(self._engine, Conversing):
            with self.waiting():
                return self._engine.generate(prompts, sampling, progress)
        # A conversation is begun by who has the baton: its weights are whole then, and are not being published.
        wanted = sum(len(prompt.seeds) for prompt in prompts)
        turns: dict[int, Turn] = {}
        with self.conversation(sampling, wanted, progress) as talk:
            talk.ask(prompts)
            while len(turns) < wanted:
                turns.update(talk.draw())
        following = iter(range(wanted))
        return [[turns[next(following)] for _ in prompt.seeds] for prompt in prompts]

    def read(self, turns: Sequence[Turn]) -> list[Reading]:
        raise AssertionError("whoever reads with the policy asks its own engine, while nothing is learned")

    def sync(self, policy: Policy) -> None:
        raise AssertionError("whoever learns tells the engine itself")

    @contextmanager
    def conversation(self, sampling: Sampling, most: int, progress: Progress | None = None) -> Iterator[Talk]:
        if not isinstance(self._engine, Conversing):
            yield Rounds(self, sampling, progress)
            return
        with self._engine.conversation(sampling, most, progress) as talk:
            yield _Talk(talk, self)

    @contextmanager
    def waiting(self) -> Iterator[None]:
        self._count()
        self._waiting += 1
        try:
            with self._baton.away():
                yield
        finally:
            self._count()
            self._waiting -= 1

    def _count(self) -> None:
        now = time.monotonic()
        if not self._waiting:
            self._idle += now - self._since
        self._since = now


class _Talk:
    """Talk with an engine elsewhere."""

    def __init__(self, talk: Talk, engine: Elsewhere) -> None:
        self._talk, self._engine = talk, engine

    @property
    def drawing(self) -> int:
        return self._talk.drawing

    def ask(self, prompts: Sequence[Prompt]) -> None:
        self._talk.ask(prompts)

    def draw(self) -> list[tuple[int, Turn]]:
        with self._engine.waiting():
            return self._talk.draw()

    def over(self, turns: Iterable[int]) -> None:
        self._talk.over(turns)


class ByModelsHere:
    """A reward that asks models of this process: it scores while nothing is learned."""

    def __init__(self, reward: Reward, baton: Baton) -> None:
        self._reward, self._baton = reward, baton

    def __repr__(self) -> str:
        return repr(self._reward)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        if self._baton.learning:
            self._baton.give()
            self._baton.take(lambda: not self._baton.learning)
        if isinstance(self._reward, Batched):
            return self._reward.many(asked)
        return [self._reward(*each) for each in asked]
