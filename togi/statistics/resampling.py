"""Bootstrap: what a statistic could have been, had other runs or other tasks been drawn. It is seeded, and replaced by
full enumeration where the case is small enough for that.

The unit of chance is the task, never the attempt: attempts at one task share its difficulty. So tasks are resampled
and their attempts stay together. Attempts are not resampled again inside a task, because the means of the tasks drawn
already differ by the luck of their attempts: counting it twice widens the interval beyond its level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from togi.statistics.aggregates import mean
from togi.statistics.intervals import Array, Interval, checked_level

Statistic = Callable[[Array], Array]
"""Scores of runs and tasks [..., R, T] -> one number each [...]."""

ENTRIES = 2**21
"""Entries drawn at a time, so that memory does not grow with the number of resamples."""


def bootstrap_mean(
    values_per_task: Sequence[Sequence[float]], *, seed: int, reps: int = 10_000, level: float = 0.95
) -> Interval:
    """The mean over tasks of each task's mean, with a percentile interval from resampling whole tasks.

    Tasks count alike however many attempts they have. With a single task nothing is known of the spread over tasks:
    low and high are nan. When all tasks have the same mean the interval has no width; ``wilson`` has one then. Below
    some twenty tasks percentile intervals are too narrow.
    """
    return interval_of_mean(task_means(values_per_task), seed=seed, reps=reps, level=level)


def stratified_bootstrap(
    scores: ArrayLike, statistic: Statistic, *, seed: int, reps: int = 10_000, level: float = 0.95
) -> Interval:
    """A statistic of scores [R, T] with its percentile interval, runs resampled independently for each task."""
    drawn = replicates(scores, statistic, seed=seed, reps=reps)
    return percentiles(float(statistic(np.asarray(scores, np.float64))), drawn, level)


def replicates(scores: ArrayLike, statistic: Statistic, *, seed: int, reps: int = 10_000) -> Array:
    """The statistic of bootstrap resamples of scores [R, T], runs drawn independently for each task.

    All R^(R T) resamples, each once, if those are no more than ``reps``; else ``reps`` random ones.
    """
    table = checked_table(scores)
    runs, tasks = table.shape
    drawn = (statistic(np.take_along_axis(table[None], index, axis=1)) for index in _resamples(runs, tasks, seed, reps))
    return np.concatenate(list(drawn))


def crossed_bootstrap(
    scores: ArrayLike, statistic: Statistic, *, seed: int, reps: int = 10_000, level: float = 0.95
) -> Interval:
    """A statistic of scores [R, T] with its percentile interval, runs and tasks both resampled (Owen 2007).

    One draw of tasks serves all runs of a resample, since all runs were asked the same tasks: what a task is harder or
    easier by is shared by them. For means ``over_seeds`` is surer: with fewer than some ten runs this is too narrow.
    """
    table = checked_table(scores)
    runs, tasks = table.shape
    rng = np.random.default_rng(seed)
    drawn = []
    for count in chunks(reps, runs * tasks):
        rows, columns = rng.integers(0, runs, (count, runs, 1)), rng.integers(0, tasks, (count, 1, tasks))
        drawn.append(statistic(table[rows, columns]))
    return percentiles(float(statistic(table)), np.concatenate(drawn), level)


def interval_of_mean(means: Array, *, seed: int, reps: int, level: float) -> Interval:
    if len(means) == 1:
        return Interval(point=float(means[0]), low=float("nan"), high=float("nan"), level=checked_level(level))
    return stratified_bootstrap(means[:, None], mean, seed=seed, reps=reps, level=level)


def task_means(values_per_task: Sequence[Sequence[float]]) -> Array:
    empty = [i for i, values in enumerate(values_per_task) if not len(values)]
    if empty or not len(values_per_task):
        raise ValueError(f"every task needs at least one score and there must be a task; tasks without: {empty[:5]}")
    means = np.array([np.mean(values) for values in values_per_task], np.float64)
    if not np.isfinite(means).all():
        raise ValueError(f"scores must be finite; task {int(np.argmin(np.isfinite(means)))} has one that is not")
    return means


def checked_table(scores: ArrayLike) -> Array:
    """Scores [R, T], if they are a table of finite numbers."""
    table = np.asarray(scores, np.float64)
    if table.ndim != 2 or not table.size or not np.isfinite(table).all():
        raise ValueError(f"wanted a table of finite scores, runs by tasks, got shape {table.shape}")
    return table


def percentiles(point: float, drawn: Array, level: float) -> Interval:
    low, high = np.quantile(drawn, [0.5 - checked_level(level) / 2, 0.5 + level / 2])
    return Interval(point=point, low=float(low), high=float(high), level=level)


def _resamples(runs: int, tasks: int, seed: int, reps: int) -> Iterator[NDArray[np.int64]]:
    """Row indices [N, R, T] of resamples, in chunks."""
    entries, start = runs * tasks, 0
    exact = reps >= runs**entries
    rng = np.random.default_rng(seed)
    for count in chunks(runs**entries if exact else reps, entries):
        if exact:
            codes = np.arange(start, start + count, dtype=np.int64)
            yield (codes[:, None] // runs ** np.arange(entries) % runs).reshape(count, runs, tasks)
        else:
            yield rng.integers(0, runs, (count, runs, tasks))
        start += count


def chunks(total: int, entries: int) -> Iterator[int]:
    size = max(1, ENTRIES // entries)
    for start in range(0, total, size):
        yield min(size, total - start)
