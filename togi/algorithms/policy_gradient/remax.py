"""ReMax (https://arxiv.org/abs/2310.10505): REINFORCE whose baseline is the reward of the greedy answer.

Nothing is learned beside the policy, and one attempt a task is enough: the greedy answer of the same weights says what
the task is worth. Left out: other baselines that the paper compares with.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, remax, reward_to_go, sequence_sum
from togi.algorithms.policy_gradient.base import PolicyGradient, along, spread
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers.greedy import WithGreedy
from togi.types import Estimator, Sample


@dataclass(frozen=True, kw_only=True)
class ReMax(PolicyGradient):
    """The reward to go less the greedy answer's reward (algorithm 1). ``kl`` charges each token for moving away from
    the reference model; the greedy answer is not charged."""

    sampler: Sampler = field(default=WithGreedy(1))
    average: Average = sequence_sum
    kl_estimator: Estimator = "k1"
    kl_place: Literal["loss", "reward"] = "reward"

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        reward_bn = self.token_rewards(samples, attempts, attempts.reward_S)
        togo_bn = along(reward_bn, attempts, lambda reward_n, parts: reward_to_go(reward_n))
        return [
            spread(remax(togo_n, np.full(len(togo_n), _greedy(sample))), sample.mask)
            for togo_n, sample in zip(togo_bn, samples, strict=True)
        ]

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)


def _greedy(sample: Sample) -> float:
    if sample.baseline is None:
        raise ValueError(f"task {sample.task} has no greedy answer to compare with: sample with WithGreedy")
    return sample.baseline
