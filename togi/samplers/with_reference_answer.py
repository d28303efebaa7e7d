"""Attempts with the task's own answer beside them, where each would have given its answer. Knows no token."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from togi.protocols import Play, Sampler, Texts
from togi.samplers.group import ask, draw
from togi.types import Group, Task, Turn


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

    @property
    def apart(self) -> bool:
        return True

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        groups = play(ask(draw(tasks, want), self.n))
        return [replace(group, references=self._references(group, play.chat)) for group in groups]

    def _references(self, group: Group, chat: Texts) -> tuple[Turn | None, ...]:
        """For each attempt the turn in which the task's own answer stands; None where no tag was opened, where the
        attempt failed, and for a task without an answer."""
        gold = chat.reference(group.task)
        places = [
            chat.referenced(one.turns[-1], gold, self.tag) if gold and one.turns and one.error is None else None
            for one in group.trajectories
        ]
        return tuple(None if place is None else place.turn for place in places)
