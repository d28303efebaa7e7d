"""RLOO (https://arxiv.org/abs/2402.14740; the estimator is Kool et al., 2019).

The whole answer is one action; its baseline is the mean reward of the other attempts at the same task, which is
unbiased because no attempt stands in its own baseline.

The ratio is that of the whole answer, clipped as PPO does; the paper makes one update a step, where the ratio is 1.
Left out: token-level ratios, and a joint ratio for episodes whose history was rewritten between turns (each rewritten
part is clipped by itself).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from togi import losses
from togi.advantages import Array, leave_one_out, sequence_sum
from togi.algorithms.policy_gradient.base import PolicyGradient, before_update, clip_metrics, mean
from togi.batch import Attempts
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Batch, Estimator, Loss, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RLOO(PolicyGradient):
    """REINFORCE leave-one-out, KL in the reward. Defaults are the paper's: 4 attempts, KL 0.03."""

    sampler: Sampler = field(default=Groups(4))
    kl: float = 0.03
    kl_estimator: Estimator = "k1"
    kl_place: Literal["loss", "reward"] = "reward"

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        advantage_S = leave_one_out(self.penalised(samples, attempts), attempts.group_S)
        return list(advantage_S[attempts.index])

    def weights(self, length_S: NDArray[np.int64]) -> Array:
        return sequence_sum(length_S)

    def surrogate(self, logp_BT: Tensor, batch: Batch) -> Loss:
        """The clipped surrogate of whole sequences; the clip metrics count sequences."""
        old_BT, adv_BT, mask_BT = before_update(logp_BT, batch), batch.advantage_BT, batch.mask_BT
        low, high = self.clip_low, self.clip_high
        loss_B = losses.sequence_ratio_clip(logp_BT, old_BT, adv_BT, mask_BT, low=low, high=high)
        # One column a sequence: its summed log-probabilities, its advantage, and whether anything of it is trained.
        trained_B1 = mask_BT.any(dim=1, keepdim=True)
        logp_B1, old_B1, adv_B1 = (x.where(mask_BT, 0.0).sum(dim=1, keepdim=True) for x in (logp_BT, old_BT, adv_BT))
        below, above = losses.clip_fraction(logp_B1, old_B1, adv_B1, trained_B1, low=low, high=high)
        return Loss(
            value=(loss_B * batch.weight_B).sum(),
            metrics=clip_metrics(mean(below, trained_B1), mean(above, trained_B1)),
        )
