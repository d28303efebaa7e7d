"""OPO (https://arxiv.org/abs/2505.23585): exactly on-policy, with the baseline of least variance.

The gradient of a long answer is longer, so the mean that rewards are compared with is weighed by length. One update a
step, no KL, no entropy bonus, no clip. An attempt stands in its own baseline, a bias of one over the group's size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, opo, sequence_sum
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.composition import check_average
from togi.algorithms.policy_gradient.surrogates import Likelihood, Surrogate
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Sample


@dataclass(frozen=True, kw_only=True)
class OPO(PolicyGradient):
    """The reward less its group's length-weighted mean."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Groups(8))
    surrogate: Surrogate = field(default=Likelihood())
    average: Average = sequence_sum

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.surrogate, self.average)

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        advantage_S = opo(self.penalised(samples, attempts), attempts.group_S, attempts.length_S)
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)
