"""An estimate and its interval, and the intervals that need no resampling."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Interval:
    """An estimate and its interval at ``level``."""

    point: float
    low: float
    high: float
    level: float


def wilson(successes: float, n: int, *, level: float = 0.95) -> Interval:
    """A proportion with Wilson's score interval, for independent trials only; with width even at 0 and n successes."""
    checked_level(level)
    if not 0 <= successes <= n or n < 1:
        raise ValueError(f"wanted 0 <= successes <= n and n >= 1, got {successes} of {n}")
    z, rate = NormalDist().inv_cdf(0.5 + level / 2), successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z * sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2)) / (1 + z**2 / n)
    # The bounds touch 0 and 1 exactly there, but not in floating point.
    low, high = (0.0 if successes == 0 else centre - half), (1.0 if successes == n else centre + half)
    return Interval(point=rate, low=low, high=high, level=level)


def checked_level(level: float) -> float:
    """The level, if it is one."""
    if not 0 < level < 1:
        raise ValueError(f"a level lies between 0 and 1, such as 0.95; got {level}")
    return level
