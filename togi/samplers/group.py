"""The two plain samplers: recorded answers, and n attempts a task. They drop nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from togi.types import Group, Play, Sampler, Task


@dataclass(frozen=True)
class Recorded(Sampler):
    """The answers written before training: nothing is sampled."""

    @property
    def writes(self) -> bool:
        return False

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        return play.recorded(draw(tasks, want))


@dataclass(frozen=True)
class Groups(Sampler):
    """``n`` attempts at each task."""

    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        return play(draw(tasks, want), self.n)


def draw(tasks: Iterator[Task], count: int) -> list[Task]:
    """The next ``count`` tasks. Raises ValueError when the stream ends before."""
    drawn = list(islice(tasks, count))
    if len(drawn) < count:
        raise ValueError(
            f"wanted {count} tasks for a step, the stream held {len(drawn)}: give more tasks or repeat them"
        )
    return drawn
