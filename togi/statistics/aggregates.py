"""One number for scores of several runs (seeds) on several tasks [R, T] (arXiv:2108.13264). It knows no chance."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from togi.statistics.intervals import Array


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


def probability_of_improvement(x: ArrayLike, y: ArrayLike) -> float:
    """The chance that a run of x beats a run of y on one task, ties counted half: Mann-Whitney's U / (n m)."""
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if not x.size or not y.size:
        raise ValueError(f"wanted at least one score on each side, got {x.size} and {y.size}")
    return float(np.mean((x[:, None] > y[None]) + 0.5 * (x[:, None] == y[None])))


def beaten(a: ArrayLike, b: ArrayLike) -> Array:
    """Where a is better than b [...]: 1, and a half where they are equal. Its mean over seeds and tasks is the
    probability of improvement of paired seeds, and ``over_seeds`` gives its interval."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    return np.asarray((a > b) + 0.5 * (a == b))
