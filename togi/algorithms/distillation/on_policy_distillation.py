"""On-policy distillation (https://thinkingmachines.ai/blog/on-policy-distillation): the student answers, and each of
its tokens is credited with how much likelier the teacher finds it than the student did.

The expected gradient of a token is minus that of KL(S || T) there, with the distribution of the tokens before it as it
is. Only log-probabilities of drawn tokens are asked of the teacher: the cheapest teacher there is, and the noisiest;
``gkd`` with ``divergence = "reverse_kl"`` compares whole distributions.

The student's log-probabilities are those it sampled with. Left out: leaving out tokens whose ratio has moved far, and a
penalty on the ratio.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, Average, reward_to_go, token_mean
from togi.algorithms.policy_gradient.base import PolicyGradient, along, spread
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import StudentsShare
from togi.types import Need, Sample


@dataclass(frozen=True, kw_only=True)
class OnPolicyDistillation(PolicyGradient):
    """A_t = sum over k of ``discount``^k (log T - log S) of token t + k. At 0, the default, a token answers for itself
    alone; at 1 for all that follows it, which is the gradient of the KL of whole answers, with more noise."""

    sampler: Sampler = field(default=StudentsShare(4))
    average: Average = token_mean
    discount: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount is from 0 (a token answers for itself) to 1, got {self.discount}")

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {"teacher_logp"}

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        gain_bn = [_gain(sample) for sample in samples]
        credited_bn = along(gain_bn, attempts, lambda gain_n, _: reward_to_go(gain_n, self.discount))
        return [spread(each, sample.mask) for each, sample in zip(credited_bn, samples, strict=True)]

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return self.average(length_S)


def _gain(sample: Sample) -> Array:
    """log T - log S of each trained token [n]."""
    assert sample.teacher_logp is not None
    return sample.teacher_logp[sample.mask].astype(np.float64) - sample.logp[sample.mask]
