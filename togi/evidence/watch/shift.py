"""How far a series has moved since the run's start, with bounds that hold all along a run. It knows no metric.

A run is looked at after every step, by a whole battery of signals, so bounds are far wider than those of one test:
``STRICT`` standard errors, for noise in which neighbouring steps are alike. docs/watching.md has the rates measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST = 10
"""Steps that have the metric, below which nothing is said."""
STRICT = 4.0
ALIKE = math.sqrt(3.0)
"""The standard error of a mean under first-order autocorrelation of 0.5, over that of independent steps."""
LAG = 3  # differences this far apart are hardly correlated, and trends hardly show in them
NARROW, WIDE = 5, 20


@dataclass(frozen=True, kw_only=True)
class Shift:
    """Means over the first and the last steps, ``error`` of their difference, and ``own`` of the last mean alone."""

    before: float
    now: float
    error: float
    own: float

    @property
    def change(self) -> float:
        return self.now - self.before

    @property
    def low(self) -> float:
        """What the change is at least."""
        return self.change - STRICT * self.error

    @property
    def high(self) -> float:
        """What the change is at most."""
        return self.change + STRICT * self.error

    @property
    def least(self) -> float:
        """What the last mean is at least."""
        return self.now - STRICT * self.own


def width(steps: int) -> int:
    """Steps that are averaged at either end."""
    return min(max(NARROW, steps // 4), WIDE)


def noise(series: Array) -> float:
    """The standard deviation of a step's value around its course."""
    return float(np.sqrt(np.mean(np.square(series[LAG:] - series[:-LAG])) / 2))


def shift(series: Array) -> Shift | None:
    """How far ``series`` [N] has moved since its start; None when there are too few steps to tell."""
    if len(series) < FEWEST:
        return None
    each = width(len(series))
    own = ALIKE * noise(series) / math.sqrt(each)
    return Shift(
        before=float(series[:each].mean()), now=float(series[-each:].mean()), error=math.sqrt(2) * own, own=own
    )


def fall(series: Array) -> Shift | None:
    """The same from the best stretch of steps that does not overlap with the last ones."""
    found = shift(series)
    if found is None:
        return None
    each = width(len(series))
    total = np.cumsum(np.concatenate([[0.0], series]))
    means = (total[each:] - total[:-each])[: len(series) - 2 * each + 1] / each
    return Shift(before=float(means.max()), now=found.now, error=found.error, own=found.own)
