"""Losses on single answers, each found good or not by itself; who was compared with whom is not known.

Axis legend: A answers.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from togi.algorithms.policy_gradient.base import mean
from togi.algorithms.preference.compared_answers import answers, left_out, side_by_side
from togi.protocols import Algorithm, Sampler
from togi.samplers import Recorded
from togi.types import Batch, Loss, Memory, Need, Outputs, Sample, Unit

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Single(Algorithm):
    """A loss on answers that are desirable or not: those of worth ``desirable_from`` or more are. Every answer counts
    alike. Empty answers are left out and counted.

    The implied reward of an answer is held against a point of reference, one number for the whole step. ``credit``
    finds it and keeps it as the samples' ``baseline``. Samples that ``prepare`` adds for it have negative attempt
    numbers, and ``credit`` drops them.
    """

    sampler: Sampler = field(default=Recorded())
    beta: float = 0.1
    desirable_from: float = 0.5

    def __post_init__(self) -> None:
        if self.beta <= 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")

    @property
    def needs(self) -> frozenset[Need]:
        return frozenset({"ref_logp", "old_logp"})

    @property
    def unit(self) -> Unit:
        return "group"

    @abstractmethod
    def reference_point(self, samples: Sequence[Sample], memory: Memory) -> float:
        """All annotated samples of the step, those that ``prepare`` added included -> what rewards are held against."""

    @abstractmethod
    def losses(self, h: Tensor, desirable: Tensor, point: Tensor) -> Tensor:
        """Log-ratios, which of them are desirable, and points of reference -> losses; all [A]."""

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights and the point of reference; the advantage, 1 or -1, is only for reading. Raises ValueError when
        recorded answers leave nothing to learn from in the whole step."""
        own = [sample for sample in samples if sample.trajectory >= 0]
        if not own:
            return []
        groups = answers(own)
        found = [each for group in groups.values() for each in group if each.length]
        empty = sum(not any(each.length for each in group) for group in groups.values())
        memory.update(left_out(len(groups), {"empty": empty}))
        if not found:
            if any(sample.recorded for sample in own):
                raise ValueError("all answers of the step are empty: give the rows completions that say something")
            return own
        point = self.reference_point(samples, memory)
        weight = {row: 1 / len(found) for each in found for row in each.rows}
        return [
            replace(
                sample,
                weight=weight.get(row, 0.0),
                baseline=point,
                advantage=np.where(sample.mask, 1.0 if self.desirable(sample.reward) else -1.0, 0.0).astype(np.float32),
            )
            for row, sample in enumerate(own)
        ]

    def desirable(self, worth: float) -> bool:
        return worth >= self.desirable_from

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        import torch

        groups = answers(batch.samples).values()
        known = [each for group in groups for each in group if each.length and batch.samples[each.rows[0]].weight]
        if not known:
            return Loss(value=torch.zeros((), device=out.logp_BT.device), metrics={})
        table, rows = side_by_side(known, out, batch), [each.rows[0] for each in known]
        h_A = table.log_ratio
        good_A = torch.tensor([self.desirable(each.reward) for each in known], device=h_A.device)
        point_A = torch.tensor([batch.samples[row].baseline for row in rows], dtype=h_A.dtype, device=h_A.device)
        loss_A = self.losses(h_A, good_A, point_A)
        metrics = {
            "rewards/chosen": mean(self.beta * h_A, good_A),
            "rewards/rejected": mean(self.beta * h_A, ~good_A),
            "logps/chosen": mean(table.logp, good_A),
            "logps/rejected": mean(table.logp, ~good_A),
            "reference_point": mean(point_A, torch.ones_like(good_A)),
        }
        return Loss(value=(loss_A * batch.weight_B[rows].to(loss_A)).sum(), metrics=metrics)


def log_ratio(sample: Sample) -> float:
    """log pi - log ref of a sample's tokens, as the policy was when the step began."""
    assert sample.old_logp is not None
    assert sample.ref_logp is not None
    return float((sample.old_logp[sample.mask].astype(np.float64) - sample.ref_logp[sample.mask]).sum())
