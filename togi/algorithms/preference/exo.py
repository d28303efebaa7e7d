"""EXO (https://arxiv.org/abs/2402.00856): DPO with the KL turned round.

DPO fits the policy's preferences to the labels by forward KL, which covers all of them; EXO fits by reverse KL, which
seeks the best, as reinforcement learning would. On pairs of chosen and rejected answers, or on all answers to a task
with their rewards.

Left out: the paper's division of the log-ratio by its own temperature beside beta, which is a factor of beta.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.base import Listwise, Pairwise
from togi.algorithms.preference.compared_answers import Answers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class EXO(Pairwise):
    """On pairs. ``epsilon`` is the label's probability of the rejected answer: at 0 the reverse KL is infinite."""

    epsilon: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.epsilon < 0.5:
            raise ValueError(f"epsilon must lie in (0, 0.5), or the reverse KL is infinite, got {self.epsilon}")

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.exo(chosen.log_ratio, rejected.log_ratio, beta=self.beta, epsilon=self.epsilon)


@dataclass(frozen=True, kw_only=True)
class EXOReward(Listwise):
    """On all answers to a task; ``beta_reward`` is the temperature of the rewards' softmax."""

    beta_reward: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta_reward <= 0:
            raise ValueError(f"beta_reward is a temperature, above 0, got {self.beta_reward}")

    def list_loss(self, answers: Answers) -> Tensor:
        return losses.exo_rewards(answers.log_ratio, answers.worth_A, beta=self.beta, beta_reward=self.beta_reward)
