"""Policy gradients of pass@k: learning to solve a task at least once in k attempts, rather than every time.

``pass_at_k`` is PKPO (https://arxiv.org/abs/2505.15201): an unbiased gradient of the best of k rewards, from n >= k
attempts. ``pass_at_k_training`` (https://arxiv.org/abs/2508.10751) treats each set of k attempts as one of GRPO's.

Both pay an attempt for what the group would lack without it, so a task that k attempts always solve teaches nothing
more, and the model keeps trying different ways. Left out: PKPO's schedule of k over training (a stage a value does
that), and pass@k training's replacement of its advantage by the plain one on easy tasks. As GRPO's division by the
spread, ``standardised`` gives up the exact gradient for updates of one size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, best_of_k, best_of_k_standardised, sequence_sum, token_mean
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.algorithms.policy_gradient.composition import check_average
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Sample


@dataclass(frozen=True, kw_only=True)
class PassAtK(PolicyGradient):
    """The best of ``k`` as objective. Groups are to have at least ``k`` attempts, better several times as many."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Groups(16))
    k: int = 4
    standardised: bool = False
    average: Average = sequence_sum

    def __post_init__(self) -> None:
        super().__post_init__()
        check_average(self.surrogate, self.average)
        if self.k < 1:
            raise ValueError(f"the best of k needs k of at least 1, got {self.k}")
        if isinstance(self.sampler, Groups) and self.sampler.n < self.k:
            raise ValueError(
                f"the best of k = {self.k} needs groups of at least {self.k} attempts: got {self.sampler.n}"
            )

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        rule = best_of_k_standardised if self.standardised else best_of_k
        advantage_S = rule(self.penalised(samples, attempts), attempts.group_S, k=self.k)
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)


PASS_AT_K_TRAINING = PassAtK(standardised=True, average=token_mean)
