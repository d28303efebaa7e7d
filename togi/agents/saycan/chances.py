"""From values to chances: measured by doing skills in states of their own, and bent until they fit what was seen there.

A value is discounted and only as good as its training. On half of the states a line through the log-odds is fitted
(Platt 1999); on the other half both, the value as it is and the fitted chance, are held against what happened. Nothing
here reads whether a skill is possible.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from togi.agents.saycan.skills import Array, Skills
from togi.agents.saycan.world import World

BINS = 10
NEAREST = 0.001
"""No chance is nearer to 0 or 1 than this, so that one mistaken value cannot outweigh all words."""
_RIDGE = 1e-3  # keeps the line finite where values tell failures from successes without a mistake


@dataclass(frozen=True, kw_only=True)
class Line:
    """Log-odds of the chance: ``slope`` times those of the value, and ``shift``."""

    slope: float
    shift: float

    def chance(self, values: ArrayLike) -> Array:
        return np.clip(_share(self.slope * log_odds(values) + self.shift), NEAREST, 1 - NEAREST)


@dataclass(frozen=True, kw_only=True)
class Bin:
    """States whose chance was said to lie from ``low`` to ``high``: how many, the mean said, the share seen."""

    low: float
    high: float
    states: int
    said: float
    seen: float


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """``error`` is the expected calibration error, the mean over states of |said - seen| of their bin (Guo et al. 2017,
    arXiv:1706.04599), ``brier`` the mean squared error of a chance."""

    bins: tuple[Bin, ...]
    error: float
    brier: float


@dataclass(frozen=True, kw_only=True)
class Chances:
    """The line, and how far values and chances can be trusted, on the half of the states that it was not fitted on.
    ``base`` is the Brier score of saying the mean for every state."""

    line: Line
    states: int
    base: float
    raw: Reliability
    fitted: Reliability


def measure_chances(skills: Skills, world: World, states: int, seed: int, tell: Callable[[str], None]) -> Chances:
    """Do as many skills as ``states``, each in a state of its own."""
    rng = np.random.default_rng((seed, 1))
    values, won = np.zeros(states), np.zeros(states)
    for at in range(states):
        world.start(int(rng.integers(2**31)))
        skill = int(rng.integers(len(world.skills)))
        values[at] = skills.values(world)[skill]
        won[at] = skills.do(world, skill, rng)[0]
    half = states // 2
    line = fitted_line(values[:half], won[:half])
    found = Chances(
        line=line,
        states=states - half,
        base=float(won[half:].var()),
        raw=reliability(values[half:], won[half:]),
        fitted=reliability(line.chance(values[half:]), won[half:]),
    )
    tell(
        f"chances on {found.states} states: Brier {found.fitted.brier:.3f} (as trained {found.raw.brier:.3f}, the mean "
        f"{found.base:.3f}), calibration error {found.fitted.error:.3f} (as trained {found.raw.error:.3f})"
    )
    return found


def _share(odds: Array) -> Array:
    """From log-odds back to a share."""
    share: Array = np.exp(-np.logaddexp(0.0, -odds))
    return share


def log_odds(values: ArrayLike) -> Array:
    inside = np.clip(np.asarray(values, np.float64), NEAREST, 1 - NEAREST)
    odds: Array = np.log(inside) - np.log1p(-inside)
    return odds


def fitted_line(values: ArrayLike, won: ArrayLike) -> Line:
    """The line of most likely log-odds, found by Newton's method; one state more of either outcome keeps it finite."""
    x, y = log_odds(values), np.asarray(won, np.float64)
    y = (y * (y.sum() + 1) + (1 - y)) / np.where(y == 1, y.sum() + 2, (1 - y).sum() + 2)  # Platt's targets
    design = np.stack([x, np.ones_like(x)], axis=1)
    weights = np.array([1.0, 0.0])
    for _ in range(50):
        chance = _share(design @ weights)
        slope = design.T @ (chance - y) + _RIDGE * (weights - [1.0, 0.0])
        bend = (design * (chance * (1 - chance))[:, None]).T @ design + _RIDGE * np.eye(2)
        weights = weights - np.linalg.solve(bend, slope)
    return Line(slope=float(weights[0]), shift=float(weights[1]))


def reliability(said: ArrayLike, won: ArrayLike) -> Reliability:
    """Chances that were said [N], against what happened [N], N > 0."""
    said_N, won_N = np.asarray(said, np.float64), np.asarray(won, np.float64)
    index_N = np.minimum((said_N * BINS).astype(np.int64), BINS - 1)
    bins = tuple(
        Bin(
            low=index / BINS,
            high=(index + 1) / BINS,
            states=int((index_N == index).sum()),
            said=float(said_N[index_N == index].mean()),
            seen=float(won_N[index_N == index].mean()),
        )
        for index in np.unique(index_N).tolist()
    )
    return Reliability(
        bins=bins,
        error=sum(each.states * abs(each.said - each.seen) for each in bins) / len(said_N),
        brier=float(np.mean((said_N - won_N) ** 2)),
    )
