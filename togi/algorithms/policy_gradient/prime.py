"""PRIME: implicit process rewards, learned online from outcomes alone (https://arxiv.org/abs/2502.01456).

A second language model learns which answers end right, as a classifier whose log-odds are beta times its log-ratio to
the reference, summed over the answer. That sum is made of one reward a token, for which nobody had to label a step
(https://arxiv.org/abs/2412.01981). Token rewards and outcome are each held against the other attempts
at the same task, and added up.

The implicit model is used as it was before the step and learns from the step's outcomes in the same update, so a reward
is never that of a model which has already seen its answer. Left out: the released code's form of the baseline, in which
an attempt's own mean stays (``advantages.implicit`` says by how much), its whitening of the sum, a joint likelihood for
episodes whose history was rewritten between turns (each part is classified by itself), and the filter of tasks by
accuracy (in Python, a sampler ``Dynamic`` drops groups that are all right or all wrong).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from togi import losses
from togi.advantages import Array, Average, implicit, sequence_mean
from togi.algorithms.policy_gradient.base import Regularised, mean, spread
from togi.batch import trajectories
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Batch, Heads, Loss, Mean, Memory, Need, Output, Outputs, Sample

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class PRIME(Regularised):
    """A policy gradient on implicit token rewards and the outcome, with 4 attempts a task as published.

    ``beta`` scales the implicit reward, ``gamma`` discounts it over the tokens ahead. Outcomes lie between 0 (wrong)
    and 1 (right). An attempt weighs in the implicit model's loss as its tokens do together in the policy's: with the
    ``average`` over sequences, every attempt alike. The implicit model learns at the critic's learning rate.
    """

    sampler: Sampler = field(default=Groups(4))
    average: Average = sequence_mean
    beta: float = 0.05
    gamma: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta <= 0:
            raise ValueError(f"beta must be above 0, got {self.beta}")
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}; 1 does not discount")
        if self.kl_place == "reward" and self.kl:
            raise ValueError('token rewards are the implicit ones: set kl_place = "loss", or kl = 0')

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {"ref_logp", "implicit_logp"}

    @property
    def outputs(self) -> frozenset[Output]:
        return super().outputs | {"implicit"}

    @property
    def heads(self) -> Heads:
        return "implicit"

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Advantages and weights; attempts that are alone at their task have advantage 0, and teach the implicit model.
        Raises ValueError for an outcome that is no chance of being right."""
        if not samples:
            return []
        for sample in samples:
            if not 0 <= sample.reward <= 1:
                raise ValueError(
                    f"task {sample.task}: the implicit model learns outcomes between 0 (wrong) and 1 (right), got "
                    f"{sample.reward:g}: give the stage a verifier's reward, without lengths added to it"
                )
        attempts = trajectories(samples)
        token_bn = [self._rewards(sample) for sample in samples]
        parts_S: list[list[int]] = [[] for _ in attempts.reward_S]
        for b, row in enumerate(attempts.index):
            parts_S[row].append(b)
        whole_Sn = [np.concatenate([token_bn[b] for b in parts]) for parts in parts_S]
        advantage_Sn = implicit(whole_Sn, attempts.reward_S, attempts.group_S, gamma=self.gamma)
        weight_S = self.average(attempts.length_S).tolist()
        credited = list(samples)
        for row, parts in enumerate(parts_S):
            cuts = np.cumsum([len(token_bn[b]) for b in parts])[:-1]
            for b, advantage_n in zip(parts, np.split(advantage_Sn[row], cuts), strict=True):
                advantage_T = spread(advantage_n, samples[b].mask).astype(np.float32)
                credited[b] = replace(samples[b], advantage=advantage_T, weight=weight_S[row])
        now = self.steered(memory)
        return now.steer(now.tokens.choose(credited), memory)

    def _rewards(self, sample: Sample) -> Array:
        """beta (log pi_phi - log pi_ref) of each trained token [n] before this step's update."""
        assert sample.implicit_logp is not None
        assert sample.ref_logp is not None
        ratio: Array = sample.implicit_logp[sample.mask].astype(np.float64) - sample.ref_logp[sample.mask]
        return self.beta * ratio

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        policy = super().loss(out, batch)
        classifier = self._outcome_loss(out, batch)
        return Loss(value=policy.value + classifier.value, metrics={**policy.metrics, **classifier.metrics})

    def _outcome_loss(self, out: Outputs, batch: Batch) -> Loss:
        """Cross-entropy of the summed implicit rewards with the outcome."""
        import torch

        assert out.implicit_BT is not None
        assert batch.ref_logp_BT is not None
        ratio_BT = torch.where(batch.mask_BT, out.implicit_BT - batch.ref_logp_BT, 0.0)
        reward_B = self.beta * ratio_BT.sum(-1)
        outcome_B = torch.tensor([each.reward for each in batch.samples], device=reward_B.device).to(reward_B)
        loss_B = losses.binary(reward_B, outcome_B)
        weight_B = batch.weight_B.to(reward_B) * batch.mask_BT.sum(-1)
        return Loss(value=(loss_B * weight_B).sum(), metrics=_metrics(loss_B, reward_B, outcome_B))


def _metrics(loss_B: Tensor, reward_B: Tensor, outcome_B: Tensor) -> dict[str, Mean]:
    import torch

    every, sided = torch.ones_like(outcome_B, dtype=torch.bool), outcome_B != 0.5
    right_B = ((reward_B > 0) == (outcome_B > 0.5)).to(reward_B.dtype)
    return {
        "implicit/loss": mean(loss_B, every),
        "implicit/accuracy": mean(right_B, sided),
        "implicit/right": mean(reward_B, outcome_B > 0.5),
        "implicit/wrong": mean(reward_B, outcome_B < 0.5),
    }
