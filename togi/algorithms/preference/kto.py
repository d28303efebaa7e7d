"""KTO (https://arxiv.org/abs/2402.01306): learning from answers that were found good or bad, without pairs.

People weigh gains and losses against a point of reference. Here it is how far the policy has moved from the reference
model, estimated on answers that do not belong to their prompts: each prompt with the answer to the next task. The
estimate is one for the whole step and gets no gradient.

A loss that is lopsided is evened by the weights: with n_D desirable and n_U undesirable answers the paper keeps
``desirable_weight n_D / (undesirable_weight n_U)`` between 1 and 4/3. Left out: the variant without a reference model.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import TYPE_CHECKING

import numpy as np

from togi import losses
from togi.algorithms.preference.single_answers import Single, log_ratio
from togi.types import Memory, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class KTO(Single):
    """Prospect-theoretic loss of single answers."""

    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.desirable_weight <= 0 or self.undesirable_weight <= 0:
            raise ValueError(
                f"the weights must be above 0, got desirable_weight={self.desirable_weight}, "
                f"undesirable_weight={self.undesirable_weight}"
            )

    def prepare(self, samples: Sequence[Sample]) -> list[Sample]:
        """The samples, and each prompt once more with the answer to the next task; their attempts have negative
        numbers. Raises ValueError when the step has a single task."""
        written = [sample for sample in samples if sample.mask.any()]
        groups: dict[int, list[Sample]] = {}
        for sample in written:
            groups.setdefault(sample.group, []).append(sample)
        if len(groups) == 1 and samples:
            raise ValueError(
                "KTO's point of reference comes from the answers to other tasks, and this step has answers to one task "
                "only: set tasks_per_step to at least 2"
            )
        following = dict(zip(groups, [*list(groups)[1:], *list(groups)[:1]], strict=True))
        # No longer than the longest that was given, which is known to fit the model's context.
        room = max((len(sample.ids) for sample in written), default=0)
        mismatched = []
        for number, group in groups.items():
            others = groups[following[number]]
            for place, sample in enumerate(group):
                mismatched.append(_mismatched(sample, others[place % len(others)], -1 - place, room))
        return [*samples, *mismatched]

    def reference_point(self, samples: Sequence[Sample], memory: Memory) -> float:
        moved = [log_ratio(sample) for sample in samples if sample.trajectory < 0]
        return max(0.0, fmean(moved)) if moved else 0.0

    def losses(self, h: Tensor, desirable: Tensor, point: Tensor) -> Tensor:
        return losses.kto(
            h,
            desirable,
            point,
            beta=self.beta,
            desirable_weight=self.desirable_weight,
            undesirable_weight=self.undesirable_weight,
        )


def _mismatched(asked: Sample, answered: Sample, number: int, room: int) -> Sample:
    """One sample's prompt with another's answer."""
    start, other = (int(each.mask.argmax()) for each in (asked, answered))
    ids = np.concatenate([asked.ids[:start], answered.ids[other:]])[:room]
    mask = np.concatenate([np.zeros(start, dtype=np.bool_), answered.mask[other:]])[:room]
    return Sample(
        ids=ids,
        mask=mask,
        logp=np.zeros(len(ids), dtype=np.float32),
        reward=0.0,
        group=asked.group,
        trajectory=number,
        task=asked.task,
        stop=answered.stop,
        recorded=True,
        temperature=asked.temperature,
        version=asked.version,
    )
