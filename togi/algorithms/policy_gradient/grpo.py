"""GRPO (DeepSeekMath, https://arxiv.org/abs/2402.03300).

Attempts at one task are compared with each other: whoever did better than its siblings is made more likely.

Left out: process supervision (section 4.1.3; it needs a reward a step). The replacement of the reference model between
outer iterations (section 4.1.4) is the stage's ``reference_every``. Old log-probabilities are recomputed only when
a step has several updates. Variants that differ in numbers are instances of this class: dr_grpo, dapo, lite_ppo,
reinforce_pp_baseline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import (
    Array,
    Average,
    best_margin,
    group_centred,
    group_centred_whitened,
    group_mean_batch_std,
    group_mean_relative,
    group_mean_std,
    leave_one_out,
    sequence_mean,
)
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.composition import check_average
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Sample

Baseline = Callable[[NDArray[np.float64], NDArray[np.int64]], Array]
"""Rewards [S] and group numbers [S] -> advantages [S]. An attempt alone in its group gets 0."""


BASELINES: Mapping[str, Baseline] = {
    "group_mean_std": group_mean_std,
    "group_mean_batch_std": group_mean_batch_std,
    "group_mean_relative": group_mean_relative,
    "group_centred": group_centred,
    "group_centred_whitened": group_centred_whitened,
    "leave_one_out": leave_one_out,
    "best_margin": best_margin,
}


@dataclass(frozen=True, kw_only=True)
class GRPO(PolicyGradient):
    """Group-relative policy optimisation. Defaults are the paper's (section 4.2): 64 attempts, KL 0.04 of k3."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Groups(64))
    baseline: Baseline = group_mean_std
    average: Average = sequence_mean
    kl: float = 0.04

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.surrogate, self.average)

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        advantage_S = self.baseline(self.penalised(samples, attempts), attempts.group_S)
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)
