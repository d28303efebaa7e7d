"""Entropy minimisation, EM-FT (Agarwal et al. 2025, https://arxiv.org/abs/2505.15134, section 3.1).

The entropy of every token that the policy writes is itself the loss: no reward, no label and no comparison of attempts.
It sharpens what the model already leans to, and it has no end but a model that always says the same: stop it early
(``[stage.until]``), and keep a truth beside it.

The gradient is that of the entropies at the tokens drawn; that other tokens would be drawn after the update is left
out, as in the paper (its EM-RL does account for that: a policy gradient with the reward ``entropy(form="sum")``). The
stage's reward is logged and never learned from: ``entropy()`` shows what is minimised.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from togi import losses
from togi.advantages import Average, sequence_mean
from togi.algorithms.policy_gradient.base import mean
from togi.batch import trajectories
from togi.protocols import Algorithm, Sampler
from togi.samplers import Groups
from togi.types import Batch, Loss, Memory, Output, Outputs, Sample


@dataclass(frozen=True, kw_only=True)
class EntropyMinimisation(Algorithm):
    """Minimise the mean entropy of the tokens of each attempt."""

    sampler: Sampler = field(default=Groups(1))
    average: Average = sequence_mean

    @property
    def outputs(self) -> frozenset[Output]:
        return frozenset({"logp", "entropy"})

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Weights only: every attempt counts alike, whatever it was paid."""
        attempts = trajectories(samples)
        weight_B = self.average(attempts.length_S)[attempts.index]
        return [replace(sample, weight=weight) for sample, weight in zip(samples, weight_B.tolist(), strict=True)]

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        assert out.entropy_BT is not None
        value = losses.weighted_sum(out.entropy_BT, batch.weight_B, batch.mask_BT)
        return Loss(value=value, metrics={"entropy": mean(out.entropy_BT, batch.mask_BT)})
