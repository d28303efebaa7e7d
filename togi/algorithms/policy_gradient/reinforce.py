"""REINFORCE++ and REINFORCE++-Baseline (https://arxiv.org/abs/2501.03262).

No critic and no group is needed: what remains of an answer's reward after the KL penalty is credited to each token,
and standardised over the whole step. The baseline form samples several attempts a task and subtracts their mean
first; its KL then stands in the loss.

REINFORCE++ standardises over tokens, as published. The baseline form standardises over attempts: over tokens, long
attempts would move the mean and could turn an advantage's sign. Left out: the clipping and scaling of rewards before
credit is given; that belongs to the reward.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, group_centred_whitened, reward_to_go, token_mean, whiten
from togi.algorithms.policy_gradient.base import PolicyGradient, along, spread
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Estimator, Sample


@dataclass(frozen=True, kw_only=True)
class ReinforcePP(PolicyGradient):
    """Per-token returns, standardised over all tokens of the step. ``gamma`` discounts by trained tokens."""

    sampler: Sampler = field(default=Groups(1))
    average: Average = token_mean
    gamma: float = 1.0
    kl: float = 0.01
    kl_estimator: Estimator = "k1"
    kl_place: Literal["loss", "reward"] = "reward"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}; 1 does not discount")

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        reward_bn = self.token_rewards(samples, attempts, attempts.reward_S)
        return_bn = along(reward_bn, attempts, lambda reward_n, parts: reward_to_go(reward_n, self.gamma))
        white_N = whiten(np.concatenate(return_bn))
        parts = np.split(white_N, np.cumsum([len(each) for each in return_bn])[:-1])
        return [spread(part, sample.mask) for part, sample in zip(parts, samples, strict=True)]

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)


REINFORCE_PP_BASELINE = GRPO(
    sampler=Groups(8), baseline=group_centred_whitened, average=token_mean, kl=0.001, kl_estimator="k2"
)
