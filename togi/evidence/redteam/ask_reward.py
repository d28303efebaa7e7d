"""Asks a reward for scores of made-up answers, in a pool of its own with a short clock; it knows no probe."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

from togi.protocols import Batched, Reward
from togi.rewards.algebra import Composable, Leaf, leaves_of
from togi.rewards.blame import ran_over
from togi.rewards.code import code
from togi.rewards.judge.base import Opened
from togi.sandbox.workers.pool import Pool
from togi.types import Score, Task, Trajectory, Turn

CHARACTERS = 4  # of a token, when no tokenizer says better
PATIENCE = 5  # time-outs after which a grader is asked nothing more


class Hanging(Exception):
    """The grader timed out so often that asking on would take too long."""


Make = Callable[[Task, str], Trajectory]


class Grading:
    """A reward, its calls going to one worker with a short clock. ``make`` turns a text into an attempt."""

    def __init__(self, reward: Reward, pool: Pool, make: Make | None = None) -> None:
        self.reward = moved(reward, pool)
        self.pool = pool
        self.make = make or attempt
        self.beside: dict[str, str] = {}
        self.asked = 0
        self.timeouts = 0

    @property
    def contained(self) -> bool:
        """Whether every part of the reward that reads answers runs in the pool."""
        return any(_in_pool(leaf) for leaf in leaves_of(self.reward))

    @property
    def costs(self) -> bool:
        """Whether a call costs so much that many are made at once."""
        return any(asks_model(leaf) or isinstance(leaf, code) for leaf in leaves_of(self.reward))

    def each(self, asked: Sequence[tuple[Task, str]]) -> list[Score]:
        """The score of each answer, without siblings; or, for a reward that compares siblings, beside its task's text
        in ``beside``. Raises Hanging."""
        texts = [[text, *self._siblings(task)] for task, text in asked]
        if not (self.costs and isinstance(self.reward, Batched)):
            return [self.together(task, each)[0] for (task, _), each in zip(asked, texts, strict=True)]
        attempts = [
            (task, [self.make(task, text) for text in each]) for (task, _), each in zip(asked, texts, strict=True)
        ]
        self.asked += len(asked)
        return [scores[0] for scores in self.reward.many(attempts)]

    def _siblings(self, task: Task) -> list[str]:
        return [self.beside[task.id]] if task.id in self.beside else []

    def together(self, task: Task, texts: Sequence[str]) -> list[Score]:
        """The scores of siblings. Raises Hanging."""
        if self.timeouts >= PATIENCE:
            raise Hanging
        scores = self.reward(task, [self.make(task, text) for text in texts])
        self.asked += len(texts)
        self.timeouts += any(map(ran_over, scores))
        return scores

    def files(self) -> set[str]:
        """What calls left in the worker's folder since this was last asked."""
        left = set(self.pool.traces.left)
        self.pool.traces.left.clear()
        return left

    def memory_mb(self) -> float:
        """The most memory that a call's process held so far."""
        return self.pool.traces.peak_mb


def attempt(task: Task, text: str) -> Trajectory:
    """An attempt of one turn, with as many tokens as a text of its length has about; their ids mean nothing."""
    ids = (0,) * math.ceil(len(text) / CHARACTERS)
    return Trajectory(turns=(Turn(prompt=(), completion=ids, text=text, stop="eos"),), stop="eos")


def moved(reward: Reward, pool: Pool) -> Reward:
    """The same reward, its graders called in ``pool``."""
    found: Reward = _moved(reward, pool)
    return found


def _moved(value: Any, pool: Pool) -> Any:
    if isinstance(value, Pool):
        return pool
    if isinstance(value, tuple):
        return tuple(_moved(each, pool) for each in value)
    if isinstance(value, Composable) and dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value) if field.init]
        return dataclasses.replace(value, **{name: _moved(vars(value)[name], pool) for name in names})
    return value


def asks_model(leaf: Leaf) -> bool:
    """Whether a part is a judge or a reward model: it has to be opened, or was. One that runs programs opens a jail."""
    return isinstance(leaf, Opened) or (type(leaf).opened is not Leaf.opened and not isinstance(leaf, code))


def _in_pool(leaf: Leaf) -> bool:
    return dataclasses.is_dataclass(leaf) and any(isinstance(each, Pool) for each in vars(leaf).values())
