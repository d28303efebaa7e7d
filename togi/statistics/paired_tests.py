"""Tests of differences between two arms on the same tasks, or with the same seeds: exact where the case is small."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import comb, sqrt

import numpy as np
from numpy.typing import ArrayLike

from togi.statistics.intervals import Array, Interval
from togi.statistics.resampling import chunks, interval_of_mean, task_means

EXACT_SIGNS = 20
"""Up to so many differing tasks all 2^n sign patterns are enumerated."""


@dataclass(frozen=True, kw_only=True)
class Paired(Interval):
    """A difference with its interval and its two-sided p-value."""

    p: float


def paired_difference(
    a_by_task: Sequence[Sequence[float]],
    b_by_task: Sequence[Sequence[float]],
    *,
    seed: int,
    reps: int = 10_000,
    level: float = 0.95,
) -> Paired:
    """The mean over tasks of a minus b on the same tasks, with interval (``bootstrap_mean``) and p-value.

    The two may differ in attempts but not in tasks or their order. The p-value is of the sign-flip permutation test:
    were a and b alike, each task's difference could as well have had the other sign. Exact up to 20 tasks that
    differ; beyond, from ``reps`` random sign patterns, the observed one counted in (Phipson and Smyth 2010), so it is
    never 0.
    """
    if len(a_by_task) != len(b_by_task):
        raise ValueError(
            f"a paired comparison needs the same tasks on both sides, got {len(a_by_task)} and {len(b_by_task)}"
        )
    difference = task_means(a_by_task) - task_means(b_by_task)
    interval = interval_of_mean(difference, seed=seed, reps=reps, level=level)
    p = sign_flip_p(difference, seed=seed, reps=reps)
    return Paired(point=interval.point, low=interval.low, high=interval.high, level=level, p=p)


def sign_flip_p(difference: ArrayLike, *, seed: int, reps: int = 10_000) -> float:
    """Two-sided p-value that the mean of paired differences [n] is 0; exact when at most 20 are not 0."""
    difference = np.asarray(difference, np.float64)
    moved = difference[difference != 0]  # a zero keeps its value under either sign
    # Sums that are equal in exact arithmetic must count as equal.
    reached = abs(moved.sum()) - 1e-12 * np.abs(moved).sum()
    if len(moved) <= EXACT_SIGNS:
        sums = np.zeros(1)
        for d in moved:
            sums = np.concatenate([sums + d, sums - d])
        return float(np.mean(np.abs(sums) >= reached))
    rng, extreme = np.random.default_rng(seed), 0
    for count in chunks(reps, len(moved)):
        signs = rng.integers(0, 2, (count, len(moved)), dtype=np.int8) * 2 - 1
        extreme += int(np.sum(np.abs(signs @ moved) >= reached))
    return (1 + extreme) / (1 + reps)


def smallest_sign_flip_p(pairs: int) -> float:
    """The smallest p-value that sign flips of so many differences can give: 0.25 for three, 0.0625 for five."""
    if pairs < 1:
        raise ValueError(f"wanted at least one difference, got {pairs}")
    return float(2.0 ** (1 - pairs))


def mcnemar_p(gained: int, lost: int) -> float:
    """Exact two-sided p-value that as many tasks were gained as lost, each passed or failed by either side.

    Tasks that did not change say nothing. It is valid for one model against one other, not over seeds.
    """
    if gained < 0 or lost < 0:
        raise ValueError(f"wanted two counts of tasks, got {gained} gained and {lost} lost")
    n = gained + lost
    tail = sum(comb(n, i) for i in range(min(gained, lost) + 1))
    return min(1.0, tail / 2 ** (n - 1)) if n else 1.0


def clustered_error(values_per_task: Sequence[Sequence[float]]) -> float:
    """The standard error of the mean of all attempts, clustered by task: attempts at one task are not independent.

    For tasks with the same number of attempts (CR1 with no other correction than n / (n - 1) for n tasks).
    """
    means = task_means(values_per_task)
    if len(means) < 2 or len({len(values) for values in values_per_task}) > 1:
        raise ValueError("a clustered standard error needs at least two tasks, each with the same number of attempts")
    return float(means.std(ddof=1)) / sqrt(len(means))


def holm(p: ArrayLike) -> Array:
    """P-values of several tests [n], adjusted so that one false finding among all has the level of one (Holm 1979).

    Tests that could not be made are nan, and stay so; they count as tests all the same.
    """
    given = np.asarray(p, np.float64)
    order = np.argsort(given)  # nan comes last
    steps = given[order] * np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted


def benjamini_hochberg(p: ArrayLike) -> Array:
    """P-values of many independent tests [n], adjusted so that of those below a level no more than that share is
    expected to be false (Benjamini and Hochberg 1995)."""
    given = np.asarray(p, np.float64)
    order = np.argsort(given)[::-1]
    steps = given[order] * len(given) / np.arange(len(given), 0, -1)
    adjusted = np.empty_like(given)
    adjusted[order] = np.minimum(1.0, np.minimum.accumulate(steps))
    return adjusted
