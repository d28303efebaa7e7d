"""Performance profiles: the share of seeds and tasks that score more than each bar, with a band (arXiv:2108.13264)."""

from __future__ import annotations

from collections.abc import Sequence

from numpy.typing import ArrayLike

from togi.statistics.intervals import Interval
from togi.statistics.over_seeds import over_seeds
from togi.statistics.resampling import checked_table


def performance_profile(scores: ArrayLike, bars: Sequence[float], *, level: float = 0.95) -> list[Interval]:
    """For each bar the share of scores [S, T] above it. Each interval holds for its own bar, not all at once."""
    table = checked_table(scores)
    return [within_shares(over_seeds(table > bar, level=level)) for bar in bars]


def within_shares(interval: Interval) -> Interval:
    """The interval of a share, which can be neither below 0 nor above 1."""
    low, high = max(0.0, interval.low), min(1.0, interval.high)
    return Interval(point=interval.point, low=low, high=high, level=interval.level)
