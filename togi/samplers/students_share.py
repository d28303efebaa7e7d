"""Answers for a teacher to correct: a student's own, and those that were written before. Knows no teacher."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw, recorded
from togi.types import Group, Score, Task, Trajectory


@dataclass(frozen=True)
class StudentsShare(Sampler):
    """``n`` attempts at ``student_share`` of a step's tasks (GKD's lambda, https://arxiv.org/abs/2306.13649), and the
    recorded answers of the others. The paper throws a coin for each step; here every step has its share, rounded.

    Nobody is paid. An attempt that failed stays in its group without a score, and is never learned from.
    """

    n: int = 1
    student_share: float = 1.0

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")
        if not 0 <= self.student_share <= 1:
            raise ValueError(f"student_share is one of the tasks, from 0 to 1, got {self.student_share}")

    @property
    def writes(self) -> bool:
        return self.student_share > 0

    @property
    def rewarded(self) -> bool:
        return False

    @property
    def reads(self) -> bool:
        return self.student_share < 1

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        drawn = draw(tasks, want)
        count = round(self.student_share * want)
        played = play.attempts(ask(drawn[:count], self.n)) if count else []
        own = [
            Group(task=task, trajectories=attempts, scores=tuple(map(_unpaid, attempts)), paid=False)
            for task, attempts in zip(drawn[:count], played, strict=True)
        ]
        return [*own, *(recorded(task, play.chat) for task in drawn[count:])]


def _unpaid(attempt: Trajectory) -> Score:
    if attempt.error is not None:
        return Score(value=math.nan, status="error", note=attempt.error)
    return Score(value=0.0)
