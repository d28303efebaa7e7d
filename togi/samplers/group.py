"""The two plain samplers: recorded answers, and n attempts a task. They drop nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from togi.protocols import Play, Sampler
from togi.types import Group, Task


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
    """``n`` attempts at each task.

    With ``votes``, so many attempts are drawn and scored together, and the first ``n`` of them are learned from: a
    majority is surer of more votes than are worth learning from (TTRL votes with 64 and learns from 32). Attempts are
    alike before they are drawn, so that the first ones stand for all.
    """

    n: int
    votes: int | None = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")
        if self.votes is not None and self.votes < self.n:
            raise ValueError(f"votes counts all attempts, of which {self.n} are learned from; got {self.votes}")

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        groups = play(draw(tasks, want), self.votes or self.n)
        n = self.n
        return [replace(group, trajectories=group.trajectories[:n], scores=group.scores[:n]) for group in groups]


def draw(tasks: Iterator[Task], count: int) -> list[Task]:
    """The next ``count`` tasks. Raises ValueError when the stream ends before."""
    drawn = list(islice(tasks, count))
    if len(drawn) < count:
        raise ValueError(
            f"wanted {count} tasks for a step, the stream held {len(drawn)}: give more tasks or repeat them"
        )
    return drawn
