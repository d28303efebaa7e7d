"""RSO (https://arxiv.org/abs/2309.06657): pairs out of answers that a better policy would have written.

Many answers are drawn and thinned by the reward, until those kept are distributed as the policy that the reward is
asking for; a hinge on the difference of log-ratios learns their pairs.

Left out: drawing from the fixed SFT policy. Here the policy being trained is drawn from, so a collecting stage before
a stage of recorded pairs is what the paper did; and the tournament that chooses pairs, since all pairs are at hand.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from togi import losses
from togi.algorithms.preference.base import Pairwise
from togi.algorithms.preference.compared_answers import Answers
from togi.protocols import Sampler
from togi.samplers import Rejection

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class RSO(Pairwise):
    """Hinge-norm on log-ratios. ``beta`` is the paper's gamma; the sampler's ``reward_scale`` is its beta."""

    sampler: Sampler = field(default=Rejection(64))
    beta: float = 0.05
    pairs: Literal["ends", "all"] = "all"

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.rso(chosen.log_ratio, rejected.log_ratio, gamma=self.beta)
