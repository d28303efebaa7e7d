"""How far the seeds of an arm lie apart, in a sentence: what a single training of it could have shown instead."""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

import numpy as np

from togi.experiment.held_out_numbers import Tallies
from togi.experiment.outcome import SHARES, Outcome, scale_of
from togi.statistics import deviation_over_seeds


def seed_spread(outcome: Outcome) -> dict[str, str]:
    """A sentence for each arm of which two seeds are known; nothing of what is untrained, or one of many in a grid."""
    plan, scale = outcome.plan, scale_of(outcome)
    found: dict[str, str] = {}
    for name, arm in plan["arms"].items():
        table = outcome.scores.get(name, np.empty((0, 0)))
        known = table[~np.isnan(table).any(1)]
        if len(known) < 2 or arm.get("stages") == 0 or arm.get("levels"):
            continue
        spread, means = deviation_over_seeds(known, level=plan["level"]), known.mean(1)
        least, most = (
            f"{100 * mean:.1f}%" if scale.bounds == SHARES else f"{mean:.3f}" for mean in (means.min(), means.max())
        )
        size, low, high = (scale.size(each, signed=False) for each in (spread.point, spread.low, spread.high))
        found[name] = (
            f"Its {len(known)} seeds reached {least} to {most}, a standard deviation of {size} "
            f"({100 * plan['level']:g}% interval {low.removesuffix(' points')} to {high})."
        )
        if plan["measure"] == "pass@1" and (noise := _noise([cell.tallies for cell in outcome.of_arm(name)])):
            found[name] += f" The luck of the measured answers alone makes {scale.size(noise, signed=False)} of it."
    return found


def _noise(seeds: Sequence[Tallies]) -> float | None:
    """The standard deviation of a seed's mean that comes of how its answers happened to be drawn; None where a task
    was not tried twice."""
    variances = []
    for tallies in seeds:
        if not tallies or any(tried < 2 for _, tried in tallies.values()):
            return None
        own = [right / tried * (1 - right / tried) / (tried - 1) for right, tried in tallies.values()]
        variances.append(sum(own) / len(own) ** 2)
    return sqrt(float(np.mean(variances)))
