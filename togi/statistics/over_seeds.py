"""What several trainings (seeds), measured on the same tasks, say of all seeds and all tasks of their kind.

Scores are tables [seeds, tasks]: every seed was asked every task, so the two cross. A mean then moves for three
reasons: other seeds, other tasks, and the noise of single scores. With few seeds no resampling sees the first of them
wide enough, so intervals here are Student's, one term for the seeds and one for what tasks add:

    half width^2 = max(t_{S-1}^2 v_seed, t_{(S-1)(T-1)}^2 v_noise) + t_{T-1}^2 max(0, v_task - v_noise)

``v_seed`` and ``v_task`` are the variances of the mean as the means of seeds and of tasks show them. Both hold the
noise, so it is taken off once; and it is the least that seeds can vary by, so that seeds which agree by luck are not
believed to agree for ever. ``python -m togi.statistics`` simulates what this covers.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import ceil, exp, expm1, isnan, log, nan, sqrt

import numpy as np
from numpy.typing import ArrayLike

from togi.statistics.chi_square import chi_square_quantile
from togi.statistics.intervals import Array, Interval, checked_level
from togi.statistics.paired_tests import Paired
from togi.statistics.resampling import checked_table
from togi.statistics.student_t import central_bound

SMALLEST_P = 1e-9
"""No p-value is told below this: so far out nobody knows the shape of a distribution."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """How scores vary, as standard deviations: from seed to seed, from task to task, and beyond both."""

    seed: float
    task: float
    noise: float


@dataclass(frozen=True, kw_only=True)
class Difference(Paired):
    """A difference over seeds and tasks. All but ``point`` is nan where one seed leaves nothing to know it from.

    ``p_within`` is the p-value of two one-sided tests: small where the difference surely is smaller than the margin.
    ``p_not_worse`` is that of the one test against a loss of the margin.
    """

    p_within: float
    p_not_worse: float
    seeds: int
    tasks: int
    spread: Spread


def over_seeds(scores: ArrayLike, *, level: float = 0.95) -> Interval:
    """The mean of scores [S, T] with its interval over seeds and tasks."""
    table = checked_table(scores)
    point, half = float(table.mean()), _Variation(table, unit=float(np.ptp(table))).half(checked_level(level))
    return Interval(point=point, low=point - half, high=point + half, level=level)


def deviation_over_seeds(scores: ArrayLike, *, level: float = 0.95) -> Interval:
    """The standard deviation of the seeds' means of scores [S, T], with the interval that it has where these are normal
    (by the chi-square distribution): with five seeds it reaches from 0.6 to 2.9 times what was found. The noise of
    single scores is in it."""
    table = checked_table(scores)
    seeds, half = len(table), (1 - checked_level(level)) / 2
    if seeds < 2:
        return Interval(point=nan, low=nan, high=nan, level=level)
    point = float(table.mean(1).std(ddof=1))
    low, high = (point * sqrt((seeds - 1) / chi_square_quantile(p, seeds - 1)) for p in (1 - half, half))
    return Interval(point=point, low=low, high=high, level=level)


def difference_over_seeds(a: ArrayLike, b: ArrayLike, *, margin: float, level: float = 0.95) -> Difference:
    """The mean of a minus b, scores [S, T] on the same tasks, row by row with the same seeds.

    A side that was not trained has one row, used for every seed: its luck is part of what differs between tasks.
    Pairing rows that share no seed is valid too.
    """
    first, second = checked_table(a), checked_table(b)
    if first.shape[1] != second.shape[1]:
        raise ValueError(f"wanted the same tasks on both sides, got {first.shape[1]} and {second.shape[1]}")
    if len(first) != len(second) and 1 not in (len(first), len(second)):
        raise ValueError(
            f"wanted the same seeds on both sides, got {len(first)} and {len(second)}: one row a seed, or a single row "
            "for what was not trained"
        )
    if not margin > 0:
        raise ValueError(f"a margin is the smallest difference that matters, such as 0.02; got {margin}")
    unit = max(first.max(), second.max()) - min(first.min(), second.min())
    table = first - second
    point, varied = float(table.mean()), _Variation(table, unit=float(unit))
    half = varied.half(checked_level(level))
    p = varied.p(point)
    above, below = varied.p_above(point + margin), varied.p_above(margin - point)
    return Difference(
        point=point,
        low=point - half,
        high=point + half,
        level=level,
        p=p,
        p_within=nan if isnan(p) else max(above, below),
        p_not_worse=above,
        seeds=len(table),
        tasks=table.shape[1],
        spread=varied.spread,
    )


def smallest_visible(spread: Spread, *, seeds: int, tasks: int, level: float = 0.95, power: float = 0.8) -> float:
    """The difference that is found to be one with probability ``power``, if the scores' differences vary so."""
    if seeds < 2:
        return nan
    noise = spread.noise**2 / (seeds * tasks)
    far = _reach(level, power, seeds - 1) ** 2 * (spread.seed**2 / seeds + noise)
    return sqrt(far + (_reach(level, power, tasks - 1) ** 2 * spread.task**2 / tasks if tasks > 1 else 0.0))


def seeds_needed(
    spread: Spread, effect: float, *, tasks: int, level: float = 0.95, power: float = 0.8, most: int = 100
) -> int | None:
    """The fewest seeds that show ``effect`` with probability ``power``; None where ``most`` are too few, as when the
    tasks are."""
    for seeds in range(2, most + 1):
        if smallest_visible(spread, seeds=seeds, tasks=tasks, level=level, power=power) <= effect:
            return seeds
    return None


def tasks_needed(
    spread: Spread, effect: float, *, seeds: int, level: float = 0.95, power: float = 0.8, most: int = 100_000
) -> int | None:
    """The fewest tasks, to a tenth, that show ``effect`` with so many seeds; None where ``most`` are too few."""
    tasks = 2
    while tasks <= most:
        if smallest_visible(spread, seeds=seeds, tasks=tasks, level=level, power=power) <= effect:
            return tasks
        tasks = ceil(tasks * 1.1)
    return None


def _reach(level: float, power: float, degrees: int) -> float:
    """Standard errors between nothing and a difference that is found with this power."""
    if not 0.5 <= power < 1:
        raise ValueError(f"a power lies between 0.5 and 1, such as 0.8; got {power}")
    return central_bound(checked_level(level), degrees) + central_bound(2 * power - 1, degrees)


class _Variation:
    """The variances of the mean of a table [S, T], and what they leave possible.

    A table of one and the same value shows no variance. What can be said then is how large a share of tasks could
    differ from all that were seen, by the exact bound for a proportion, each by no more than ``unit`` beyond the value.
    """

    def __init__(self, table: Array, *, unit: float) -> None:
        self.seeds, self.tasks = table.shape
        self.constant = bool(np.ptp(table) <= 1e-12 * unit)
        self.room = unit + abs(float(table.mean()))
        self.seed = self.task = self.noise = 0.0
        if self.seeds > 1:
            of_seed, of_task = table.mean(1), table.mean(0)
            self.seed = float(of_seed.var(ddof=1)) / self.seeds
            if self.tasks > 1:
                rest = table - of_seed[:, None] - of_task[None] + table.mean()
                self.noise = float((rest**2).sum()) / ((self.seeds - 1) * (self.tasks - 1) * table.size)
                self.task = max(0.0, float(of_task.var(ddof=1)) / self.tasks - self.noise)

    def half(self, level: float) -> float:
        """Half the width of the interval of the mean."""
        if self.seeds == 1 or not self.room:
            return nan
        if self.constant:
            return self.room * float(1 - ((1 - level) / 2) ** (1 / self.tasks))
        degrees = self.tasks - 1
        total = central_bound(level, self.seeds - 1) ** 2 * self.seed
        if degrees:
            total = max(total, central_bound(level, (self.seeds - 1) * degrees) ** 2 * self.noise)
            total += central_bound(level, degrees) ** 2 * self.task
        return sqrt(total)

    def p(self, distance: float) -> float:
        """The two-sided p-value of a mean so far from where it would be: 1 less the level that just reaches it."""
        distance = abs(distance)
        if isnan(self.half(0.5)):
            return nan
        low, high = log(SMALLEST_P), 0.0
        for _ in range(32):
            middle = (low + high) / 2
            low, high = (middle, high) if self.half(-expm1(middle)) > distance else (low, middle)
        return exp(high)

    def p_above(self, distance: float) -> float:
        """The one-sided p-value that the mean lies above a bound that it exceeds by ``distance``."""
        p = self.p(distance)
        return p / 2 if distance > 0 else 1 - p / 2

    @cached_property
    def spread(self) -> Spread:
        if self.seeds == 1:
            return Spread(seed=nan, task=nan, noise=nan)
        return Spread(
            seed=sqrt(max(0.0, self.seed - self.noise) * self.seeds),
            task=sqrt(self.task * self.tasks),
            noise=sqrt(self.noise * self.seeds * self.tasks),
        )
