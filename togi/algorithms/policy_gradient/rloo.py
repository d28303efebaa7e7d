"""RLOO (https://arxiv.org/abs/2402.14740; the estimator is Kool et al., 2019).

The whole answer is one action; its baseline is the mean reward of the other attempts at the same task, which is
unbiased because no attempt stands in its own baseline.

The ratio is that of the whole answer, clipped as PPO does; the paper makes one update a step, where the ratio is 1.
Ratios of tokens are the surrogate ``ppo_clip``. Left out: a joint ratio for episodes whose history was rewritten
between turns (each rewritten part is clipped by itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, leave_one_out, sequence_sum
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.surrogates import SequenceClip, Surrogate
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Estimator, Sample


@dataclass(frozen=True, kw_only=True)
class RLOO(PolicyGradient):
    """REINFORCE leave-one-out, KL in the reward. Defaults are the paper's: 4 attempts, KL 0.03."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Groups(4))
    surrogate: Surrogate = field(default=SequenceClip())
    kl: float = 0.03
    kl_estimator: Estimator = "k1"
    kl_place: Literal["loss", "reward"] = "reward"

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        advantage_S = leave_one_out(self.penalised(samples, attempts), attempts.group_S)
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return sequence_sum(length_S)
