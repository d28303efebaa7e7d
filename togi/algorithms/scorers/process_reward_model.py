"""Process reward models: a scalar head that says after each step of an answer whether it is still right.

Binary cross-entropy at the last token of each step, every other token being ignored, as in Let's Verify Step by Step
(https://arxiv.org/abs/2305.20050) and Math-Shepherd (https://arxiv.org/abs/2312.08935, equation 4). Labels are people's
or those of continuations, where a share of right ones is a soft label. People stopped at the first error, since what
follows it is neither right nor wrong by itself; labels after it are left out here too.

Left out: a third class for neutral steps. They count as right, which is how that paper scores answers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from togi import batch as batching, losses
from togi.algorithms.policy_gradient.base import mean
from togi.protocols import Algorithm, Sampler
from togi.samplers import Stepwise
from togi.types import Batch, Heads, Loss, Mean, Memory, Output, Outputs, Sample, Trains

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class ProcessRewardModel(Algorithm):
    """The log-odds that each step is right; every labelled step counts alike. ``after_error`` learns labels that stand
    after the first step of worth 0 as well."""

    sampler: Sampler = field(default=Stepwise())
    after_error: bool = False

    @property
    def outputs(self) -> frozenset[Output]:
        return frozenset({"value", "score"})

    @property
    def heads(self) -> Heads:
        return "shared"

    @property
    def trains(self) -> Trains:
        return "scorer"

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """The labels that are learned, and weights. Raises ValueError when recorded answers have none at all."""
        known = [replace(each, steps=self._learned(each)) for each in batching.answers(samples)]
        labelled = [each for each in known if each.steps is not None and not np.isnan(each.steps).all()]
        if not labelled and any(sample.recorded for sample in samples):
            raise ValueError(f"none of the step's {len(samples)} answers has a labelled step: give rows labels")
        count = sum(int((~np.isnan(each.steps)).sum()) for each in labelled if each.steps is not None)
        return [replace(each, weight=1 / count) for each in labelled]

    def _learned(self, sample: Sample) -> np.ndarray | None:
        """The sample's labels [T], without those after the first error."""
        if sample.steps is None or self.after_error:
            return sample.steps
        wrong = np.flatnonzero(sample.steps == 0)
        if not wrong.size:
            return sample.steps
        return np.where(np.arange(len(sample.steps)) <= wrong[0], sample.steps, np.nan).astype(np.float32)

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        import torch

        logit_BT, label_BT = batching.after(out, batch), torch.full(batch.mask_BT.shape, torch.nan)
        for row, sample in enumerate(batch.samples):
            if sample.steps is not None:
                label_BT[row, : len(sample.steps)] = torch.from_numpy(sample.steps)
        label_BT = label_BT.to(logit_BT)
        known_BT = ~label_BT.isnan()
        loss_BT = losses.binary(logit_BT, label_BT.nan_to_num())
        value = losses.weighted_sum(loss_BT, batch.weight_B, known_BT)
        return Loss(value=value, metrics=_metrics(logit_BT, label_BT, known_BT))


def _metrics(logit_BT: Tensor, label_BT: Tensor, known_BT: Tensor) -> dict[str, Mean]:
    """Over labels that take a side, and over answers whose first error is known."""
    right_BT = (logit_BT > 0) == (label_BT > 0.5)
    wrong_BT, called_BT = known_BT & (label_BT == 0), known_BT & (logit_BT < 0)
    # The first position of each: argmax of booleans is that of the first that is true.
    found_B = called_BT.any(-1) & (called_BT.int().argmax(-1) == wrong_BT.int().argmax(-1))
    return {
        "steps/accuracy": mean(right_BT.to(logit_BT.dtype), known_BT & (label_BT != 0.5)),
        "steps/first_error": mean(found_B.to(logit_BT.dtype), wrong_BT.any(-1)),
        "steps/right": mean(label_BT, known_BT),
    }
