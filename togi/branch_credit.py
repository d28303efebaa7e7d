"""Pure credit for answers that branch: what a branch was worth against the one it grew from, and where steps end.

Numpy in float64. Nothing here knows a sample, a sampler or a model. Axis legend: K branches, D branches on the way from
the root to one leaf, n tokens of an answer. A branch's value is the mean reward of what followed it.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from togi.advantages import FLAT, Array


def treerl(value_K: ArrayLike, before_K: ArrayLike, root_K: ArrayLike, leaves_K: ArrayLike) -> Array:
    """TreeRL: how much better a branch is than the root, plus how much better than the branch that it grew from, over
    the root of its number of leaves, since it is learned in each of them (arXiv:2506.11902, equation 4)."""
    value_K, leaves_K = np.asarray(value_K, np.float64), np.asarray(leaves_K, np.float64)
    credit_K: Array = (gain(value_K, root_K) + gain(value_K, before_K)) / np.sqrt(leaves_K)
    return credit_K


def treepo(reward: float, value_D: ArrayLike, leaves_D: ArrayLike, *, by_size: bool = False) -> float:
    """TreePO: a leaf's reward less the value of each branch on its way that has other leaves, the root first, on
    average over them, or weighted by their leaves (arXiv:2508.17445, section 2.3). 0 where there are no others."""
    value_D, leaves_D = np.asarray(value_D, np.float64), np.asarray(leaves_D, np.float64)
    shared_D = leaves_D >= 2
    if not shared_D.any():
        return 0.0
    weight_D = leaves_D[shared_D] if by_size else np.ones(int(shared_D.sum()))
    return float(np.average(gain(reward, value_D[shared_D]), weights=weight_D))


def gain(value_K: ArrayLike, before_K: ArrayLike) -> Array:
    """V(where a branch ends) - V(where it began): VinePPO (arXiv:2410.01679, equation 6) and SPO (arXiv:2505.23564,
    section 3). Exactly 0 where they differ by rounding only."""
    gain_K = np.asarray(value_K, np.float64) - np.asarray(before_K, np.float64)
    return np.where(np.abs(gain_K) < FLAT, 0.0, gain_K)


def segment_ends(logp_n: ArrayLike, *, cutpoints: int, unsure: float) -> list[int]:
    """The last token of each segment but the last: every ``cutpoints``-th of those that were drawn with a probability
    below ``unsure``, as long as others come after it (arXiv:2505.23564, section 4.1)."""
    unsure_at = np.flatnonzero(np.asarray(logp_n, np.float64) < math.log(unsure)).tolist()
    return unsure_at[cutpoints - 1 : -1 : cutpoints]
