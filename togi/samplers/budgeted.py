"""A step's attempts divided among its tasks by how much another one would still tell. Knows no token and no model."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from togi.protocols import Play, Sampler
from togi.samplers.group import draw
from togi.types import Group, Question, Task

Baseline = Literal["leave_one_out", "group_mean"]
LEAST = {"leave_one_out": 2, "group_mean": 3}
"""Attempts from which on each further one saves less variance than the one before."""


@dataclass(frozen=True)
class Budgeted(Sampler):
    """VIP's budgets (https://arxiv.org/abs/2602.01601): ``n`` attempts a task on average, more where the gradient's
    variance is larger, so that a step's gradient has the least variance that this many attempts allow.

    A task's variance is in proportion to p (1 - p), p being how likely an attempt is right; p is told by what earlier
    steps have seen of the task (the paper has a Gaussian process on embeddings of prompts predict it), and one half
    before. ``fewest`` and ``most`` bound a task's attempts (``most`` left out: 4 n); ``baseline`` says whose variance
    it is: that of a leave-one-out baseline, or that of a group's mean.

    Left in ``play.counts``: ``budget/fewest`` and ``budget/most`` (of the step), ``budget/variance`` (the expected
    variance as a share of what equal numbers of attempts would have).
    """

    n: int
    fewest: int = 3
    most: int | None = None
    variance_of: Baseline = "leave_one_out"

    def __post_init__(self) -> None:
        if self.fewest < LEAST[self.variance_of]:
            raise ValueError(
                f'fewest must be at least {LEAST[self.variance_of]} with variance_of = "{self.variance_of}", '
                f"got {self.fewest}"
            )
        if not self.fewest <= self.n <= self.ceiling:
            raise ValueError(
                f"wanted fewest <= attempts <= most, got {self.fewest} <= {self.n} <= {self.ceiling}: attempts are the "
                "mean that is divided among a step's tasks"
            )

    @property
    def ceiling(self) -> int:
        return 4 * self.n if self.most is None else self.most

    @property
    def of_players(self) -> bool:
        return True

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        drawn = draw(tasks, want)
        rates = [play.rate(task) for task in drawn]
        counts = allotted(rates, self.n * want, self.fewest, self.ceiling, self.variance_of)
        play.counts.update(self._counts(rates, counts))
        return play([Question(task=task, attempts=count) for task, count in zip(drawn, counts, strict=True)])

    def _counts(self, rates: Sequence[float], counts: Sequence[int]) -> dict[str, float]:
        equal = sum(left_variance(rate, self.n, self.variance_of) for rate in rates)
        best = sum(left_variance(*each, self.variance_of) for each in zip(rates, counts, strict=True))
        return {"budget/fewest": min(counts), "budget/most": max(counts), "budget/variance": best / equal}


def left_variance(rate: float, attempts: float, baseline: Baseline) -> float:
    """The variance of a task's gradient with so many attempts, but for a factor that all tasks share: p (1 - p) times
    1 / (n - 1) with a leave-one-out baseline, (n - 1) / n^2 with the group's mean."""
    spread = rate * (1 - rate)
    return spread / (attempts - 1) if baseline == "leave_one_out" else spread * (attempts - 1) / attempts**2


def allotted(rates: Sequence[float], total: int, fewest: int, most: int, baseline: Baseline) -> list[int]:
    """Attempts for each task, ``total`` together, that leave the least variance: each is given to the task where it
    saves most, which is exact where every further one saves less than the one before."""
    assert fewest * len(rates) <= total <= most * len(rates)
    counts = [fewest] * len(rates)

    def saved(task: int) -> tuple[float, int]:
        now, then = (left_variance(rates[task], counts[task] + more, baseline) for more in (0, 1))
        return then - now, task

    heap = [saved(task) for task in range(len(rates))]
    heapq.heapify(heap)
    for _ in range(total - fewest * len(rates)):
        _, task = heapq.heappop(heap)
        counts[task] += 1
        if counts[task] < most:
            heapq.heappush(heap, saved(task))
    return counts
