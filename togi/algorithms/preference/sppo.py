"""SPPO (https://arxiv.org/abs/2405.00675): each answer's log-ratio is regressed to how often it wins.

The worth of an answer is read as the probability that it beats the policy's own: a judge's win rate against its
siblings, or 1 and 0 where people chose.

Left out: the K attempts and their ranking, which the sampler and the reward do, and the paper's iterations, which are
stages. The mean over a pair's two answers, as in the authors' code; the paper writes expectations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from togi import losses
from togi.algorithms.preference.base import Comparison, Pairwise
from togi.algorithms.preference.compared_answers import Answer, Answers

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class SPPO(Pairwise):
    """Squared loss; ``beta`` is 1 / eta."""

    beta: float = 0.001

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.soft:
            raise ValueError("SPPO reads worths as probabilities already: set soft = false")

    def compared(self, answers: Sequence[Answer]) -> list[Comparison]:
        for answer in answers:
            if not 0 <= answer.reward <= 1:
                raise ValueError(
                    f"task {answer.task} has an answer of worth {answer.reward:g}, but SPPO reads worth as the "
                    "probability of winning: give worths from 0 to 1, such as a judge's win rates"
                )
        return super().compared(answers)

    def pair_loss(self, chosen: Answers, rejected: Answers) -> Tensor:
        h_w, h_l = chosen.log_ratio, rejected.log_ratio
        return losses.sppo(h_w, h_l, chosen.worth_A, rejected.worth_A, eta=1 / self.beta)
