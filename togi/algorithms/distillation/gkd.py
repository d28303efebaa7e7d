"""GKD, generalised knowledge distillation (https://arxiv.org/abs/2306.13649): the student's distribution of each token
is drawn to the teacher's, on answers of the student's own and on written ones.

The divergence is over the whole vocabulary, in chunks, and over the tokens of answers; whose answers they are is no
part of the gradient. Where implementations differ: ``beta`` 0 and 1 are KL(T || S) and KL(S || T), as in TRL, though
the generalised Jensen-Shannon divergence tends to 0 there; there is no factor of temperature squared; and the mean is
over tokens of the step. Left out: a reward beside the divergence (equation 5 of the paper).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from togi import losses
from togi.advantages import Average, token_mean
from togi.algorithms.policy_gradient.base import mean
from togi.batch import trajectories
from togi.protocols import Algorithm, Model, Sampler
from togi.samplers import StudentsShare
from togi.types import Batch, Loss, Memory, Output, Outputs, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class GKD(Algorithm):
    """``student_share`` of the sampler is the paper's lambda. ``beta`` is that of the ``jsd``, ``alpha`` the share of
    the first distribution in the second of the skewed divergences (DistiLLM, https://arxiv.org/abs/2402.03898)."""

    sampler: Sampler = field(default=StudentsShare(1, student_share=0.5))
    average: Average = token_mean
    divergence: Literal["jsd", "forward_kl", "reverse_kl", "skewed_forward_kl", "skewed_reverse_kl"] = "jsd"
    beta: float = 0.5
    alpha: float = 0.1

    def __post_init__(self) -> None:
        if not 0 <= self.beta <= 1:
            raise ValueError(f"beta is from 0, KL(T || S), to 1, KL(S || T), got {self.beta}")
        if not 0 <= self.alpha < 1:
            raise ValueError(f"alpha is from 0, not skewed, to below 1, where nothing differs, got {self.alpha}")

    @property
    def outputs(self) -> frozenset[Output]:
        return frozenset({"compared"})

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights only. Raises ValueError when no token of the step would be learned from."""
        attempts = trajectories(samples)
        if not attempts.length_S.sum():
            raise ValueError(
                f"none of the step's {len(samples)} answers has a token to learn from: look at its rollouts"
            )
        weight_B = self.average(attempts.length_S)[attempts.index]
        return [replace(sample, weight=weight) for sample, weight in zip(samples, weight_B.tolist(), strict=True)]

    def forward(self, model: Model, batch: Batch) -> Outputs:
        return model(batch, self.outputs, self.between)

    def between(self, student_logp: Tensor, teacher_logp: Tensor) -> Tensor:
        """How far the two are apart, at each token."""
        match self.divergence:
            case "jsd":
                return losses.jsd(student_logp, teacher_logp, beta=self.beta)
            case "forward_kl":
                return losses.forward_kl(student_logp, teacher_logp)
            case "reverse_kl":
                return losses.reverse_kl(student_logp, teacher_logp)
            case "skewed_forward_kl":
                return losses.skewed_forward_kl(student_logp, teacher_logp, alpha=self.alpha)
            case "skewed_reverse_kl":
                return losses.skewed_reverse_kl(student_logp, teacher_logp, alpha=self.alpha)

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        assert out.compared_BT is not None
        return Loss(
            value=losses.weighted_sum(out.compared_BT, batch.weight_B, batch.mask_BT),
            metrics={"distillation/divergence": mean(out.compared_BT, batch.mask_BT)},
        )


KD = GKD(sampler=StudentsShare(1, student_share=0.0), divergence="forward_kl")
SKEWED_KL = GKD(divergence="skewed_forward_kl")
SKEWED_REVERSE_KL = GKD(divergence="skewed_reverse_kl")
