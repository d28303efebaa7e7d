"""GDPO (https://arxiv.org/abs/2601.05242): several rewards, each standardised by itself before they are added.

The sum of a reward's parts hides them: a part that varies much drowns the others, and different pairs of parts with one
sum count as equal. So each part is held against the siblings first, and then weighed. The sum of these is standardised
over the attempts of the step; verl does that over tokens, which lets long attempts move the mean.

Parts are those of the reward's expression, as they count in it, gates included; a factor before one falls out when it
is standardised, and is given as ``part_weights`` instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, gdpo, sequence_mean
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.composition import check_average
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Sample


@dataclass(frozen=True, kw_only=True)
class GDPO(PolicyGradient):
    """GRPO on several rewards. ``part_weights`` has the weight of each part by its name, 1 where it has none."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Groups(8))
    average: Average = sequence_mean
    part_weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.surrogate, self.average)
        if self.kl and self.kl_place == "reward":
            raise ValueError('each part of the reward is standardised by itself: set kl_place = "loss", or kl = 0')

    @property
    def parts(self) -> Sequence[str]:
        return tuple(self.part_weights)

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        names = sorted({name for sample in samples for name in sample.shares})
        if unknown := sorted(set(self.parts) - set(names)):
            raise ValueError(f"part_weights names {unknown[0]}, which the reward has not: it has {', '.join(names)}")
        if len(names) < 2:
            raise ValueError(f"gdpo standardises each part of a reward by itself, and this has {len(names)}: take grpo")
        reward_KS = np.zeros((len(names), len(attempts.reward_S)))
        for row, sample in zip(attempts.index, samples, strict=True):
            reward_KS[:, row] = [sample.shares.get(name, 0.0) for name in names]
        weight_K = [self.part_weights.get(name, 1.0) for name in names]
        advantage_S = gdpo(reward_KS, weight_K, attempts.group_S)
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)
