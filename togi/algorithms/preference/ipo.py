"""IPO (https://arxiv.org/abs/2310.12036): the difference of log-ratios is regressed to 1 / (2 tau).

DPO pulls certain pairs apart without end; here they stop at a distance. The paper's formula reads whole answers
(``IPO_SUM``). Its authors average over tokens in practice, so that is the default; tau is not comparable between them.
Left out: nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.base import Pairwise
from togi.algorithms.preference.compared_answers import Answers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class IPO(Pairwise):
    """Squared loss (equation 17). ``beta`` is the paper's tau."""

    per_token: bool = True

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.ipo(self.ratio(chosen), self.ratio(rejected), tau=self.beta)

    def reward(self, answers: Answers) -> Tensor:
        return self.beta * self.ratio(answers)

    def ratio(self, answers: Answers) -> Tensor:
        """What is compared of an answer [A]."""
        return answers.mean_log_ratio if self.per_token else answers.log_ratio


IPO_SUM = IPO(per_token=False)
