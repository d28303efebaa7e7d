"""How far a series has moved since the start of a run, with bounds. It knows no metric.

Bounds are ``STRICT`` standard errors wide, for noise in which neighbouring steps are alike. A run is looked at after
every step, by a whole battery of signals: what keeps healthy runs in peace is that alarms ask for large changes beside.
docs/watching.md has the rates measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FEWEST = 10
"""Steps that have the metric, below which nothing is said."""
STRICT = 2.5
ALIKE = 1.5
"""The standard error of a mean of steps that are alike, over that of independent ones: about right for a memory of 0.4
a step. The sizes that alarms ask for guard against the rest, and the battery as a whole is calibrated."""
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


def unit(spread: Array) -> float:
    """What counts as one: the usual spread over the attempts of a step."""
    return max(float(spread.mean()), 1e-6) if len(spread) else 1e-6


def width(steps: int) -> int:
    """Steps that are averaged at either end."""
    return min(max(NARROW, steps // 4), WIDE)


def shift(series: Array) -> Shift | None:
    """How far ``series`` [N] has moved since its start; None when there are too few steps to tell."""
    if len(series) < FEWEST:
        return None
    each = width(len(series))
    return _between(series[:each], series[-each:])


def _between(first: Array, last: Array) -> Shift:
    """Noise is what is seen within both stretches, so that the way from one to the other does not count as noise."""
    before, now = float(first.mean()), float(last.mean())
    noise = math.sqrt((float(first.var(ddof=1)) + float(last.var(ddof=1))) / 2)
    scale = ALIKE / math.sqrt(len(last))
    error, own = math.sqrt(2) * scale * noise, scale * float(last.std(ddof=1))
    return Shift(before=before, now=now, error=error, own=own)


def jitter(series: Array) -> float:
    """The error of a shift as told by how far neighbouring steps differ; one large step hardly counts."""
    noise = math.sqrt(math.pi) / 2 * float(np.abs(np.diff(series)).mean())  # of a Gaussian: E|difference| = 2σ/√π
    return math.sqrt(2) * ALIKE / math.sqrt(width(len(series))) * noise


def best_stretch(series: Array) -> slice:
    """Where the mean was highest over as many steps as are averaged at the ends, apart from the last ones."""
    each = width(len(series))
    total = np.cumsum(np.concatenate([[0.0], series]))
    best = int(np.argmax((total[each:] - total[:-each])[: len(series) - 2 * each + 1]))
    return slice(best, best + each)


def since(series: Array, stretch: slice) -> Shift:
    """How far ``series`` [N] has moved since a stretch of its steps."""
    return _between(series[stretch], series[-width(len(series)) :])
