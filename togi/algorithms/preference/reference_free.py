"""Losses on pairs that need no reference model, and so neither its memory nor its forward pass.

What holds the policy instead is the likelihood of the chosen answer (``nll``), or nothing. Axis legend: P pairs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.base import ReferenceFree
from togi.algorithms.preference.compared_answers import Answers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SLiC(ReferenceFree):
    """SLiC-HF (https://arxiv.org/abs/2305.10425): a margin between the log-probabilities of whole answers.

    A pair closer than ``delta`` is pulled apart; ``regularisation`` times the chosen answer's log-likelihood holds the
    policy. Left out: a target for it other than the chosen answer (the paper also takes the SFT target), and beta, of
    which this loss has none: it only scales the logged rewards.
    """

    beta: float = 1.0
    delta: float = 1.0
    regularisation: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.delta < 0 or self.regularisation < 0:
            raise ValueError(
                f"delta and regularisation are 0 or more, got delta={self.delta}, regularisation={self.regularisation}"
            )

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.slic(
            chosen.logp, rejected.logp, chosen.logp, delta=self.delta, regularisation=self.regularisation
        )

    def reward(self, answers: Answers) -> Tensor:
        return self.beta * answers.logp


@dataclass(frozen=True, kw_only=True)
class ORPO(ReferenceFree):
    """ORPO (https://arxiv.org/abs/2403.07691, equation 6): SFT on the chosen answer plus ``beta`` (the paper's lambda)
    times a logistic loss on the odds of the two, each per token. SFT and preference in one stage.

    The likelihood is that of the answer, as the paper says; its code takes the prompt in as well.
    """

    nll: float = 1.0

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return self.beta * losses.orpo(chosen.mean, rejected.mean)


@dataclass(frozen=True, kw_only=True)
class SimPO(ReferenceFree):
    """SimPO (https://arxiv.org/abs/2405.14734, equation 6): logistic loss on mean log-probabilities that shall be
    ``gamma`` apart. ``gamma`` is the margin itself; the paper's code gives it as a ratio to beta."""

    beta: float = 2.0
    gamma: float = 1.0

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.simpo(chosen.mean, rejected.mean, beta=self.beta, gamma=self.gamma)


@dataclass(frozen=True, kw_only=True)
class CPO(ReferenceFree):
    """CPO (https://arxiv.org/abs/2401.08417): DPO under a uniform reference, plus the likelihood of the chosen answer.

    The preference reads whole answers, the likelihood is the mean over the chosen answer's tokens, as in the authors'
    code; the paper writes its sum.
    """

    nll: float = 1.0

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        return losses.cpo(chosen.logp, rejected.logp, beta=self.beta)

    def reward(self, answers: Answers) -> Tensor:
        return self.beta * answers.logp
