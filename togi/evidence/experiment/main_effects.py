"""What each setting of a grid did, over all settings of the others. It knows no recipe and reads nothing.

A grid has an arm for every combination of settings. So the arms with one value of a setting differ from those with
another in nothing else, taken together: the difference of their means is what the value does on average. Whether two
settings help each other is not asked.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from togi.evidence.experiment.claim_sentences import SHARES, Scale, claim_sentences
from togi.evidence.experiment.compare_arms import Bounds, Compared, decide_all, facts_of_means
from togi.evidence.experiment.verdict import ArmVerdict


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One of the things that a grid varies. ``arms`` are by value, the first value's first, and those of two values
    stand in the same order of all other settings."""

    name: str
    arms: Mapping[str, Sequence[str]]


def main_effects(
    scores: Mapping[str, ArrayLike],
    settings: Sequence[Setting],
    *,
    margin: float,
    level: float = 0.95,
    bounds: Bounds = SHARES,
) -> tuple[ArmVerdict, ...]:
    """Each value of each setting against the setting's first one, with Holm's correction over all of them.

    ``scores`` are as ``verdict`` takes them.
    """
    facts = []
    for setting in settings:
        tables = {
            f"{setting.name} {value}": np.array([np.asarray(scores[arm], np.float64) for arm in arms])
            for value, arms in setting.arms.items()
        }
        (first, of_first), *others = tables.items()
        facts += [facts_of_means(name, of_value, first, of_first, margin, level, bounds) for name, of_value in others]
    scale = Scale(bounds=bounds)
    return tuple(_told(one, margin, level, scale) for one in decide_all(facts, level))


def _told(one: Compared, margin: float, level: float, scale: Scale) -> ArmVerdict:
    """What the grid itself is the control of: nothing else differs between the two sides."""
    sentences = claim_sentences(one, margin, level, scale)
    return ArmVerdict(compared=one, controls=(), evidence="no control", sentences=tuple(sentences))
