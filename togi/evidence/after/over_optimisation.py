"""Proxy and gold over a stage: did the truth follow the reward, or was the reward over-optimised? It draws nothing.

The proxy is what training pays for, gold what it stands for. The distance from the start is d = sqrt(KL), with KL in
nats a sequence (Gao, Schulman and Hilton 2022, arXiv 2210.10760). Their laws for gold, relative to the start, are
d(alpha - beta log d) under reinforcement learning and d(alpha - beta d) for best-of-n.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from togi.statistics import Interval

Array = NDArray[np.float64]
Outcome = Literal["over-optimised", "rose together", "came apart", "unclear", "not enough data"]

FEWEST = 20
"""Steps with proxy and gold below which nothing is said."""
LEVEL = 0.01
"""p below which a fall or a rise is called one. Strict, since every run is looked at."""
REPS = 2000
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Course:
    """The steps of a stage that have both proxy and gold, in order; ``kl`` is nan where it was not measured."""

    step: Array
    proxy: Array
    gold: Array
    kl: Array


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Steps in a row, averaged; the intervals take steps for independent and are missing (nan) for a single step."""

    distance: float
    step: float
    proxy: Interval
    gold: Interval


@dataclass(frozen=True, kw_only=True)
class Fit:
    """Gold = start + law(d; alpha, beta), by least squares over steps. ``peak`` is where the law turns, if it does."""

    start: float
    alpha: float
    beta: float
    peak: float | None


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What happened to gold while the proxy was optimised.

    Numbers are means over a fifth of the steps in a row: the first (``start``), the last (``end``), and the highest for
    gold (``peak``, around step ``peak_step``). ``fall_p`` is the chance of so deep a fall from peak to end if gold had
    never fallen.
    """

    outcome: Outcome
    steps: int
    proxy_start: float = math.nan
    proxy_end: float = math.nan
    gold_start: float = math.nan
    gold_peak: float = math.nan
    gold_end: float = math.nan
    peak_step: float = math.nan
    fall_p: float = math.nan


def course(rows: Sequence[Mapping[str, Any]]) -> Course:
    """Read one stage's metrics rows; rows without ``reward`` or ``gold`` are left out."""
    kept = sorted((row for row in rows if _known(row, "reward") and _known(row, "gold")), key=lambda row: row["step"])
    kl = [float(row["kl_sequence"]) if _known(row, "kl_sequence") else math.nan for row in kept]
    step, proxy, gold = (np.array([float(row[name]) for row in kept]) for name in ("step", "reward", "gold"))
    return Course(step=step, proxy=proxy, gold=gold, kl=np.array(kl))


def _known(row: Mapping[str, Any], name: str) -> bool:
    return isinstance(row.get(name), int | float) and math.isfinite(row[name])


def distance(kl: ArrayLike) -> Array:
    """d = sqrt(KL); an estimate below 0, which small divergences can give, counts as 0."""
    return np.sqrt(np.maximum(np.asarray(kl, np.float64), 0.0))


def bins(told: Course, count: int = BINS) -> list[Bin]:
    """At most ``count`` bins of consecutive steps of nearly equal size, at least three steps each where there are any.

    Bins follow time, not distance: steps picked by a noisy distance would be picked by luck. The KL is averaged before
    the root is taken.
    """
    steps = len(told.step)
    if not steps:
        return []
    parts = np.array_split(np.arange(steps), max(1, min(count, steps // 3)))
    return [
        Bin(
            distance=float(distance(np.mean(told.kl[part]))),
            step=float(np.mean(told.step[part])),
            proxy=_interval(told.proxy[part]),
            gold=_interval(told.gold[part]),
        )
        for part in parts
    ]


def _interval(values: Array) -> Interval:
    half = 1.96 * float(values.std(ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else math.nan
    point = float(values.mean())
    return Interval(point=point, low=point - half, high=point + half, level=0.95)


# The laws and their peaks.


def reinforcement_law(d: ArrayLike, alpha: float, beta: float) -> Array:
    """d(alpha - beta log d), 0 at d = 0."""
    d = np.asarray(d, np.float64)
    return d * (alpha - beta * np.log(np.where(d > 0, d, 1.0)))


def best_of_n_law(d: ArrayLike, alpha: float, beta: float) -> Array:
    """d(alpha - beta d)."""
    d = np.asarray(d, np.float64)
    return d * (alpha - beta * d)


def reinforcement_peak(alpha: float, beta: float) -> float | None:
    """exp(alpha / beta - 1); None when gold never turns (beta <= 0)."""
    exponent = alpha / beta - 1 if beta > 0 else math.inf
    return math.exp(exponent) if exponent < 700 else None


def best_of_n_peak(alpha: float, beta: float) -> float | None:
    """alpha / (2 beta); None when gold never turns, or only before the start."""
    return alpha / (2 * beta) if beta > 0 and alpha > 0 else None


def fit_reinforcement(d: ArrayLike, gold: ArrayLike) -> Fit | None:
    """Fit the law of reinforcement learning; None when fewer than 4 distances differ."""
    return _fit(d, gold, reinforcement_law, reinforcement_peak)


def fit_best_of_n(d: ArrayLike, gold: ArrayLike) -> Fit | None:
    """Fit the law of best-of-n; None when fewer than 4 distances differ."""
    return _fit(d, gold, best_of_n_law, best_of_n_peak)


def _fit(
    d: ArrayLike,
    gold: ArrayLike,
    law: Callable[[ArrayLike, float, float], Array],
    peak: Callable[[float, float], float | None],
) -> Fit | None:
    """Both laws are linear in alpha and beta. The start is fitted too, since one step's gold is a noisy zero."""
    d, gold = np.asarray(d, np.float64), np.asarray(gold, np.float64)
    if len(np.unique(d)) < 4:
        return None
    columns = np.stack([np.ones_like(d), law(d, 1.0, 0.0), law(d, 0.0, 1.0)], axis=1)
    start, alpha, beta = (float(value) for value in np.linalg.lstsq(columns, gold, rcond=None)[0])
    return Fit(start=start, alpha=alpha, beta=beta, peak=peak(alpha, beta))


def kl_best_of_n(n: int) -> float:
    """KL of best-of-n from the policy it picks from: log n - (n - 1) / n, in nats a sequence."""
    return math.log(n) - (n - 1) / n


def best_of_n(proxy: ArrayLike, gold: ArrayLike, n: int) -> float:
    """Expected gold of the answer with the highest proxy among ``n`` of the N answers to one task, over all C(N, n).

    Unbiased: the i-th answer from below (from 0) is the best of C(i, n - 1) of the C(N, n) sets. Answers of equal
    proxy share their places.
    """
    proxy, gold = np.asarray(proxy, np.float64), np.asarray(gold, np.float64)
    size = len(proxy)
    if len(gold) != size or not 1 <= n <= size:
        raise ValueError(f"wanted 1 <= n <= answers and one gold for each, got n={n}, {size} and {len(gold)}")
    chance = np.array([math.comb(i, n - 1) / math.comb(size, n) for i in range(size)])
    order = np.argsort(proxy, kind="stable")
    _, place = np.unique(proxy[order], return_inverse=True)
    shared = np.bincount(place, weights=gold[order]) / np.bincount(place)
    return float(chance @ shared[place])


# The verdict.


def judge(told: Course, *, seed: int = 0) -> Finding:
    """Whether gold followed the proxy, against what chance alone would show.

    The highest fifth of a noisy flat series lies above its last fifth anyway. So a fall is called one only when fewer
    than 1% of simulated flat series fall as deep; any rising truth falls more rarely still. See ``_Chance``.
    """
    steps = len(told.gold)
    if steps < FEWEST:
        return Finding(outcome="not enough data", steps=steps)
    rng = np.random.default_rng(seed)
    gold, proxy = (_Chance.of(series, rng) for series in (told.gold, told.proxy))
    peak = int(np.argmax(gold.means))
    outcome: Outcome = "unclear"
    if gold.fall_p() < LEVEL:
        fell_too = proxy.fall_p() < LEVEL and proxy.means[-1] < proxy.means[peak]
        outcome = "over-optimised" if proxy.rise_p() < LEVEL and not fell_too else "came apart"
    elif gold.rise_p() < LEVEL and proxy.rise_p() < LEVEL:
        outcome = "rose together"
    return Finding(
        outcome=outcome,
        steps=steps,
        proxy_start=float(proxy.means[0]),
        proxy_end=float(proxy.means[-1]),
        gold_start=float(gold.means[0]),
        gold_peak=float(gold.means[peak]),
        gold_end=float(gold.means[-1]),
        peak_step=float(told.step[peak : peak + steps // 5].mean()),
        fall_p=gold.fall_p(),
    )


@dataclass(frozen=True, kw_only=True, eq=False)
class _Chance:
    """A series' means over each fifth of its steps in a row, and those of noise alone, both in units of its noise.

    Noise is what a parabola through the series leaves. It is simulated as a Gaussian first-order autoregression,
    since neighbouring steps are alike, and measured in each simulated series as in the real one: few steps then make
    the test no less strict, as in Student's.
    """

    means: Array
    noise: float
    quiet: Array

    @classmethod
    def of(cls, series: Array, rng: np.random.Generator) -> _Chance:
        count = len(series)
        left = _without_parabola(series)
        sums = float(left @ left)
        memory = float(left[1:] @ left[:-1]) / sums if sums else 0.0
        memory = min(max(memory + (3 + 5 * memory) / count, 0.0), 0.9)  # the parabola hides some of the likeness
        quiet = rng.standard_normal((REPS, count))
        for at in range(1, count):
            quiet[:, at] = memory * quiet[:, at - 1] + math.sqrt(1 - memory**2) * quiet[:, at]
        quiet_noise = _without_parabola(quiet).std(axis=-1, keepdims=True)
        return cls(
            means=_running(series, count // 5), noise=float(left.std()), quiet=_running(quiet, count // 5) / quiet_noise
        )

    def fall_p(self) -> float:
        """The chance of so deep a fall from the highest to the last mean in a flat series."""
        return self._p(self.means.max() - self.means[-1], self.quiet.max(axis=-1) - self.quiet[:, -1])

    def rise_p(self) -> float:
        """The chance of so high a rise from the first to the last mean in a flat series."""
        return self._p(self.means[-1] - self.means[0], self.quiet[:, -1] - self.quiet[:, 0])

    def _p(self, seen: float, chance: Array) -> float:
        if seen <= 1e-9 * float(np.abs(self.means).max()):
            return 1.0
        return float((1 + np.sum(chance * self.noise >= seen)) / (1 + REPS))


def _without_parabola(series: Array) -> Array:
    """What least squares of a parabola over the last axis leaves [..., N]."""
    basis, _ = np.linalg.qr(np.vander(np.linspace(-1, 1, series.shape[-1]), 3))
    return np.asarray(series - series @ basis @ basis.T)


def _running(series: Array, width: int) -> Array:
    """Means of ``width`` neighbours along the last axis [..., N] -> [..., N - width + 1]."""
    total = np.cumsum(np.concatenate([np.zeros((*series.shape[:-1], 1)), series], axis=-1), axis=-1)
    return np.asarray((total[..., width:] - total[..., :-width]) / width)
