"""What a set of scores says, and how surely: pass@k, intervals, comparisons, agreement. Numpy only, and seeded.

It knows no task, no model and no file. Every random procedure has its own generator, made from the seed it is given,
and is replaced by full enumeration where the case is small enough for that. Missing scores are left out before.

The unit of chance is the task, never the attempt: attempts at one task share its difficulty. So tasks are resampled
and their attempts stay together. Attempts are not resampled again inside a task, because the means of the tasks drawn
already differ by the luck of their attempts: counting it twice widens the interval beyond its level.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import comb, sqrt
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Statistic = Callable[[Array], Array]
"""Scores of runs and tasks [..., R, T] -> one number each [...]."""

EXACT_SIGNS = 20
"""Up to so many differing tasks all 2^n sign patterns are enumerated."""

ENTRIES = 2**21
"""Entries drawn at a time, so that memory does not grow with the number of resamples."""


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its interval at ``level``."""

    point: float
    low: float
    high: float
    level: float


@dataclass(frozen=True, kw_only=True)
class Paired(Interval):
    """A difference with its interval and its two-sided p-value."""

    p: float


# Attempts at one task.


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of ``k`` attempts is right, from ``c`` right ones of ``n``: 1 - C(n-c, k) / C(n, k).

    Unbiased for any n >= k (arXiv:2107.03374, equation 1), unlike 1 - (1 - c/n)^k.
    """
    _counts(n, c, k)
    return 1.0 - comb(n - c, k) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """The chance that all of ``k`` attempts are right: C(c, k) / C(n, k) (arXiv:2406.12045)."""
    _counts(n, c, k)
    return comb(c, k) / comb(n, k)


def majority_at_k(votes: Sequence[Hashable | None], answer: Hashable, k: int) -> float:
    """The chance that the most frequent answer among ``k`` of the attempts is right, ties broken at random.

    Exact over all C(n, k) subsets. Answers must be in one canonical form. An attempt without an answer (None) is drawn
    like any other but casts no vote, since it costs as much; with no vote at all the outcome is wrong.
    """
    _counts(len(votes), 0, k)
    sizes = Counter(votes)
    silent, right = sizes.pop(None, 0), sizes.pop(answer, 0)
    expected = 0.0
    for top in range(1, min(right, k) + 1):
        # ways[drawn, ties]: subsets of the wrong answers, none above ``top`` votes, ``ties`` of them at ``top``.
        ways = Counter({(top, 0): comb(right, top)})
        for size in sizes.values():
            grown: Counter[tuple[int, int]] = Counter()
            for ((drawn, ties), count), more in itertools.product(ways.items(), range(min(size, top) + 1)):
                grown[drawn + more, ties + (more == top)] += count * comb(size, more)
            ways = grown
        for (drawn, ties), count in ways.items():
            if 0 <= k - drawn <= silent:
                expected += count * comb(silent, k - drawn) / comb(len(votes), k) / (ties + 1)
    return expected


# Many tasks.


def bootstrap_mean(
    values_per_task: Sequence[Sequence[float]], *, seed: int, reps: int = 10_000, level: float = 0.95
) -> Interval:
    """The mean over tasks of each task's mean, with a percentile interval from resampling whole tasks.

    Tasks count alike however many attempts they have. With a single task nothing is known of the spread over tasks:
    low and high are nan. When all tasks have the same mean the interval has no width; ``wilson`` has one then. Below
    some twenty tasks percentile intervals are too narrow.
    """
    return _interval_of_mean(_task_means(values_per_task), seed=seed, reps=reps, level=level)


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
    difference = _task_means(a_by_task) - _task_means(b_by_task)
    interval = _interval_of_mean(difference, seed=seed, reps=reps, level=level)
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
    for count in _chunks(reps, len(moved)):
        signs = rng.integers(0, 2, (count, len(moved)), dtype=np.int8) * 2 - 1
        extreme += int(np.sum(np.abs(signs @ moved) >= reached))
    return (1 + extreme) / (1 + reps)


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval, for independent trials only; with width even at 0 and n successes."""
    _level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"wanted 0 <= successes <= n and n >= 1, got {successes} of {n}")
    z, rate = NormalDist().inv_cdf(0.5 + level / 2), successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # The bounds touch 0 and 1 exactly there, but not in floating point.
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
    return Interval(point=rate, low=low, high=high, level=level)


# Several runs (seeds) on several tasks, scores [R, T] (arXiv:2108.13264).


def mean(scores: Array) -> Array:
    """The mean over runs and tasks [..., R, T] -> [...]."""
    return np.asarray(np.mean(scores, axis=(-2, -1)))


def iqm(scores: ArrayLike) -> Array:
    """The interquartile mean over runs and tasks [..., R, T] -> [...]: the lowest and the highest quarter are left out,
    each rounded down to whole scores. Less moved by outliers than the mean, less noisy than the median."""
    scores = np.asarray(scores, np.float64)
    flat = np.sort(scores.reshape(*scores.shape[:-2], -1), axis=-1)
    cut = flat.shape[-1] // 4
    return np.asarray(flat[..., cut : flat.shape[-1] - cut].mean(axis=-1))


def stratified_bootstrap(
    scores: ArrayLike, statistic: Statistic, *, seed: int, reps: int = 10_000, level: float = 0.95
) -> Interval:
    """A statistic of scores [R, T] with its percentile interval, runs resampled independently for each task."""
    drawn = replicates(scores, statistic, seed=seed, reps=reps)
    return _percentiles(float(statistic(np.asarray(scores, np.float64))), drawn, level)


def replicates(scores: ArrayLike, statistic: Statistic, *, seed: int, reps: int = 10_000) -> Array:
    """The statistic of bootstrap resamples of scores [R, T], runs drawn independently for each task.

    All R^(R T) resamples, each once, if those are no more than ``reps``; else ``reps`` random ones.
    """
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2 or not scores.size or not np.isfinite(scores).all():
        raise ValueError(f"wanted a table of finite scores, runs by tasks, got shape {scores.shape}")
    runs, tasks = scores.shape
    drawn = (
        statistic(np.take_along_axis(scores[None], index, axis=1)) for index in _resamples(runs, tasks, seed, reps)
    )
    return np.concatenate(list(drawn))


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """The chance that a run of x beats a run of y on one task, ties counted half: Mann-Whitney's U / (n m)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not x.size or not y.size:
        raise ValueError(f"wanted at least one score on each side, got {x.size} and {y.size}")
    return float(np.mean((x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])))


# Agreement of raters.


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """``observed`` and by-chance ``expected`` agreement, and ``value``: the share of the room above chance that is
    filled (nan where chance leaves none). Rare classes make it small at any ``observed``, so give both."""

    observed: float
    expected: float
    value: float


def cohen_kappa(table: ArrayLike) -> Agreement:
    """Two raters' agreement from their counts [K, K], rows the first's class, columns the second's (Cohen 1960)."""
    table = np.asarray(table, np.float64)
    if table.ndim != 2 or table.shape[0] != table.shape[1] or not table.sum() > 0:
        raise ValueError(f"wanted a square table of counts that are not all 0, got shape {table.shape}")
    total = table.sum()
    expected = float(table.sum(0) @ table.sum(1) / total**2)
    return _agreement(float(np.trace(table) / total), expected)


def fleiss_kappa(counts: ArrayLike) -> Agreement:
    """Agreement of the same number n of ratings on each of N items, from counts [N, K] by class (Fleiss 1971)."""
    counts = np.asarray(counts, np.float64)
    raters = counts.sum(-1)
    if counts.ndim != 2 or not counts.size or raters.min() < 2 or np.ptp(raters):
        raise ValueError("wanted counts of items by classes, every item with the same number of ratings, at least 2")
    n = raters[0]
    alike_N = (counts * (counts - 1)).sum(-1) / (n * (n - 1))
    share_K = counts.sum(0) / counts.sum()
    return _agreement(float(alike_N.mean()), float(share_K @ share_K))


def krippendorff_alpha(ratings: ArrayLike, level: Literal["nominal", "ordinal", "interval"] = "nominal") -> Agreement:
    """1 - D_o / D_e of ratings [raters, items], nan where there is none (Krippendorff 2011, "Computing Krippendorff's
    alpha-reliability"). Items with fewer than two ratings are left out. Agreements are 1 minus the disagreements,
    which for levels other than "nominal" are in units of the squared difference."""
    ratings = np.asarray(ratings, np.float64)
    paired = ratings[:, (~np.isnan(ratings)).sum(0) >= 2]
    values = np.unique(paired[~np.isnan(paired)])
    counts_UK = np.stack([(paired == value).sum(0) for value in values], -1) if values.size else np.zeros((0, 0))
    if not counts_UK.size:
        raise ValueError("agreement needs at least one item with two ratings")
    each_U = counts_UK.sum(-1, keepdims=True) - 1
    coincidence = counts_UK.T @ (counts_UK / each_U) - np.diag((counts_UK / each_U).sum(0))
    n_K = coincidence.sum(0)
    n = n_K.sum()
    distance = _distance(values, n_K, level)
    expected = (np.outer(n_K, n_K) - np.diag(n_K)) / (n - 1)
    return _agreement(1 - float((coincidence * distance).sum() / n), 1 - float((expected * distance).sum() / n))


def _distance(values: Array, n_K: Array, level: str) -> Array:
    """Squared differences [K, K] between classes."""
    if level == "nominal":
        return 1 - np.eye(len(values))
    # Ordinal: how many ratings lie between two classes, their own counted half.
    place = np.cumsum(n_K) - n_K / 2 if level == "ordinal" else values
    return np.asarray((place[:, None] - place[None]) ** 2)


def _agreement(observed: float, expected: float) -> Agreement:
    value = (observed - expected) / (1 - expected) if expected < 1 else float("nan")
    return Agreement(observed=observed, expected=expected, value=value)


def _interval_of_mean(means: Array, *, seed: int, reps: int, level: float) -> Interval:
    if len(means) == 1:
        return Interval(point=float(means[0]), low=float("nan"), high=float("nan"), level=_level(level))
    return stratified_bootstrap(means[:, None], mean, seed=seed, reps=reps, level=level)


def _percentiles(point: float, drawn: Array, level: float) -> Interval:
    low, high = np.quantile(drawn, [0.5 - _level(level) / 2, 0.5 + level / 2])
    return Interval(point=point, low=float(low), high=float(high), level=level)


def _resamples(runs: int, tasks: int, seed: int, reps: int) -> Iterator[NDArray[np.int64]]:
    """Row indices [N, R, T] of resamples, in chunks."""
    entries, start = runs * tasks, 0
    exact = reps >= runs**entries
    rng = np.random.default_rng(seed)
    for count in _chunks(runs**entries if exact else reps, entries):
        if exact:
            codes = np.arange(start, start + count, dtype=np.int64)
            yield (codes[:, None] // runs ** np.arange(entries) % runs).reshape(count, runs, tasks)
        else:
            yield rng.integers(0, runs, (count, runs, tasks))
        start += count


def _chunks(total: int, entries: int) -> Iterator[int]:
    size = max(1, ENTRIES // entries)
    for start in range(0, total, size):
        yield min(size, total - start)


def _task_means(values_per_task: Sequence[Sequence[float]]) -> Array:
    empty = [i for i, values in enumerate(values_per_task) if not len(values)]
    if empty or not len(values_per_task):
        raise ValueError(f"every task needs at least one score and there must be a task; tasks without: {empty[:5]}")
    means = np.array([np.mean(values) for values in values_per_task], np.float64)
    if not np.isfinite(means).all():
        raise ValueError(f"scores must be finite; task {int(np.argmin(np.isfinite(means)))} has one that is not")
    return means


def _counts(n: int, c: int, k: int) -> None:
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"wanted 0 <= right <= attempts and 1 <= k <= attempts, got {c} right of {n} attempts, k={k}")


def _level(level: float) -> float:
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, such as 0.95; got {level}")
    return level
