"""Nash-MD (https://arxiv.org/abs/2312.00886): learn an answer that no other policy's answers are preferred to.

There is no scale of rewards, only a preference between two answers, and preferences may go in a circle. The policy's
answer y is set against an answer y' of an opponent that is the policy with some of the reference mixed in, and follows

    grad log pi(y) * (P(y preferred to y') - 1/2 - tau * log(pi(y) / mu(y)))

with mu the reference. The reward must be that probability: a judge's preference, or a win between siblings.

The log-ratio is that of the whole answer, as in the paper, so each token is charged for what the others cost; TRL
multiplies each token's log-probability with its own log-ratio alone, which is another gradient. Left out: the paper's
opponent of a moving average of weights (Nash-EMA). With several updates a step, ratios are clipped as in PPO; the
paper makes one, where the ratio is 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from numpy.typing import NDArray

from togi.advantages import Array, sequence_sum
from togi.algorithms.policy_gradient.base import PolicyGradient
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers.opponent import Against
from togi.types import Estimator, Memory, Need, Sample


@dataclass(frozen=True, kw_only=True)
class NashMD(PolicyGradient):
    """Nash mirror descent. ``kl`` is the paper's tau, ``reference_share`` of the sampler its beta."""

    per_token: ClassVar[bool] = False
    sampler: Sampler = field(default=Against())
    kl: float = 0.008
    kl_estimator: Estimator = "k1"
    kl_place: Literal["loss", "reward"] = "reward"

    @property
    def needs(self) -> frozenset[Need]:
        # The opponent is mixed with the reference even where no KL is charged.
        return super().needs | {"ref_logp"}

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Credit for the policy's attempts; the opponent's, the second of each group, are left out.

        Raises ValueError for a reward that is no probability.
        """
        own = [sample for sample in samples if sample.trajectory == 0]
        odd = next((sample for sample in own if not 0 <= sample.reward <= 1), None)
        if odd is not None:
            raise ValueError(
                f"Nash-MD's reward is the probability that one answer is preferred to the other, between 0 and 1, and "
                f"task {odd.task} got {odd.reward}: compare the two answers, as a judge's preference does"
            )
        return super().credit(own, memory)

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        advantage_S = self.penalised(samples, attempts) - 0.5
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return sequence_sum(length_S)
