"""SFT: maximum likelihood of recorded answers.

The model is taught to write the recorded answer; the prompt, and whatever an environment said, is never learned from.

Left out: packing of unrelated documents into one row (samples are laid out without padding elsewhere), and loss on
the prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from togi import losses
from togi.advantages import Average, token_mean
from togi.batch import trajectories
from togi.protocols import Algorithm, Sampler
from togi.samplers import Recorded
from togi.types import Batch, Loss, Memory, Outputs, Sample


@dataclass(frozen=True, kw_only=True)
class SFT(Algorithm):
    """Supervised fine-tuning: negative log-likelihood of completion tokens, every token of a step weighing the same."""

    sampler: Sampler = field(default=Recorded())
    average: Average = token_mean

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights only; of answers to one task that are worth different amounts, the best are learned (the chosen one
        of a pair). Raises ValueError when no token of the step would be learned from."""
        best: dict[int, float] = {}
        for sample in samples:
            best[sample.group] = max(sample.reward, best.get(sample.group, sample.reward))
        samples = [sample for sample in samples if sample.reward == best[sample.group]]
        attempts = trajectories(samples)
        if not attempts.length_S.sum():
            raise ValueError(
                f"none of the step's {len(samples)} samples has a completion token to learn from: "
                "give the rows a non-empty completion or an assistant message"
            )
        weight_B = self.average(attempts.length_S)[attempts.index]
        return [replace(sample, weight=weight) for sample, weight in zip(samples, weight_B.tolist(), strict=True)]

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        nll_BT = losses.nll(out.logp_BT, batch.mask_BT)
        return Loss(value=losses.weighted_sum(nll_BT, batch.weight_B, batch.mask_BT))
