"""Attempts with the task's own answer beside them, where each would have given its answer. Knows no token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from togi.protocols import Play, Sampler
from togi.samplers.group import draw
from togi.types import Group, Task


@dataclass(frozen=True)
class Referenced(Sampler):
    """``n`` attempts at each task, and after each one's thought the task's own answer, to be learned as well.

    An attempt's thought is all before it opens ``<tag>`` for the last time, with that; one that never does has none.
    """

    n: int
    tag: str = "answer"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        groups = play(draw(tasks, want), self.n)
        return [replace(group, references=play.referenced(group, self.tag)) for group in groups]
