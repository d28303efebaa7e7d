"""What the pages share whose attempts branch: one advantage a branch, for each of its tokens. Knows no formula.

Branches are worth rewards alone, so that a KL stands in the loss. A trunk is laid out once where it is learned, however
many leaves it has; the loss of each leaf reads it.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, token_mean, whiten
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.branches_of_attempts import Branches, branches_of
from togi.batch import Attempts
from togi.types import Estimator, Sample


@dataclass(frozen=True, kw_only=True)
class Branching(PolicyGradient):
    """``whiten`` standardises advantages over the step's tokens; those of a task whose advantages are all 0 stay 0 and
    have no part in it."""

    average: Average = token_mean
    kl_estimator: Estimator = "k2"
    whiten: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kl and self.kl_place == "reward":
            raise ValueError('branches are worth rewards alone, without a KL: set kl_place = "loss"')

    @abstractmethod
    def of_branches(self, branches: Branches) -> Array:
        """The advantage of each branch [K]."""

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        branches = branches_of(samples, attempts)
        advantage_bT = branches.of_tokens(self.of_branches(branches), samples)
        return _white(advantage_bT, samples) if self.whiten else advantage_bT

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)


def _white(advantage_bT: Sequence[Array], samples: Sequence[Sample]) -> list[Array]:
    told = {s.group for s, advantage_T in zip(samples, advantage_bT, strict=True) if advantage_T[s.mask].any()}
    mask_N = np.concatenate([s.mask & (s.group in told) for s in samples])
    white_N = whiten(np.concatenate(advantage_bT), mask_N)
    return np.split(white_N, np.cumsum([len(s.ids) for s in samples])[:-1])
