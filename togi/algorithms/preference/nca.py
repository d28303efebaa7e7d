"""Losses on all answers to a task: InfoNCA and NCA (https://arxiv.org/abs/2402.05369), and DPO on whole rankings
(https://arxiv.org/abs/2305.18290, appendix A.3).

InfoNCA classifies which answer the reward prefers, and is DPO on two answers of worth 1 and 0. NCA also holds each
answer's own likelihood, so that the chosen one does not fall. Left out: rewards asked for at other temperatures in one
step.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.advantages import FLAT
from togi.algorithms.preference.base import Listwise
from togi.algorithms.preference.compared_answers import Answers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class InfoNCA(Listwise):
    """Cross-entropy to the rewards' softmax at temperature ``alpha``; far below the rewards' differences, only the
    best answer counts."""

    beta: float = 0.01
    alpha: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.alpha <= 0:
            raise ValueError(f"alpha is a temperature, above 0, got {self.alpha}")

    def list_loss(self, answers: Answers) -> Tensor:
        return losses.infonca(answers.log_ratio, answers.worth_A, beta=self.beta, alpha=self.alpha)


@dataclass(frozen=True, kw_only=True)
class NCA(InfoNCA):
    """InfoNCA with a class of its own for each answer, so that likelihoods matter and not only their differences."""

    def list_loss(self, answers: Answers) -> Tensor:
        return losses.nca(answers.log_ratio, answers.worth_A, beta=self.beta, alpha=self.alpha)


@dataclass(frozen=True, kw_only=True)
class PLDPO(Listwise):
    """Plackett and Luce's likelihood of the ranking; of answers with equal worth neither is better."""

    def list_loss(self, answers: Answers) -> Tensor:
        worse = answers.worth_A[:, None] - answers.worth_A >= FLAT
        return losses.plackett_luce_ties(self.beta * answers.log_ratio, worse).sum()
