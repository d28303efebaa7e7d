"""PPO with a learned critic, as in InstructGPT (https://arxiv.org/abs/2203.02155; https://arxiv.org/abs/1909.08593).

A critic guesses, before each token, what the whole answer will be paid; a token is made more likely when the guess
rises after it. Every token is charged for moving away from the reference model, and the answer is paid at its last
token. Beside that, recorded text may be learned, so that the model does not forget it (PTX).

Where implementations differ, here: credit steps over tokens that the policy did not write, as if they were not there;
the score stands at the last token that the policy wrote; whitening has Bessel's correction and covers the step, before
it is cut into minibatches; the adaptive KL controller looks at nats a sequence, and moves after its coefficient was
used. Left out: whitening of rewards, and stopping a step's epochs early when the KL of an update grows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from togi import losses
from togi.advantages import (
    Array,
    Average,
    bilevel_gae,
    gae,
    sequence_sum,
    token_mean,
    turn_gae,
    whiten,
)
from togi.algorithms.policy_gradient.base import Regularised, along, mean, spread
from togi.algorithms.policy_gradient.turns_of_attempts import held_over_turns, last_of_turns
from togi.batch import Attempts, trajectories
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import CUT, Batch, Estimator, Heads, Loss, Memory, Need, Output, Outputs, Sample

if TYPE_CHECKING:
    from torch import Tensor


Truncation = Literal["end", "bootstrap", "drop"]


@dataclass(frozen=True, kw_only=True)
class PPO(Regularised):
    """Generalised advantage estimation over tokens, and a critic that is learned beside the policy.

    ``kl`` is the coefficient of the KL, and ``kl_target`` what it follows (6 nats a sequence in 1909.08593). ``gamma``
    and ``lam`` are those of the advantage estimate, whose ``actions`` are tokens, the whole turns of an episode, or
    both: turns first, which ``gamma`` then discounts, and after them the tokens within each. ``whiten`` standardises it
    over the tokens of the step. ``value_coef`` weighs the critic's loss, ``value_clip`` holds its value within that
    distance of the old one. ``critic`` is a head on the policy's own layers (``shared``: half the memory), or a model
    beside it.

    ``score_clip`` bounds the score itself, not what is left of it after the KL; ``missing_eos_penalty`` is taken off
    the score of an answer that was cut off. What such an answer's last state is worth: nothing (``truncation`` "end",
    as in the paper), what the critic says ("bootstrap", for a limit that the model cannot see), or the answer is not
    learned from ("drop"); or one of these for each limit, ``{"turns": "bootstrap"}``, and "end" for others. ``ptx``
    weighs the likelihood of recorded answers in the same step, a mean over their tokens (27.8 in the paper; 0: there
    are none).
    """

    sampler: Sampler = field(default=Groups(1))
    average: Average = token_mean
    critic: Literal["shared", "own"] = "own"
    kl: float = 0.02
    kl_estimator: Estimator = "k1"
    kl_place: Literal["loss", "reward"] = "reward"
    actions: Literal["tokens", "turns", "both"] = "tokens"
    gamma: float = 1.0
    lam: float = 0.95
    whiten: bool = True
    value_coef: float = 0.1
    value_clip: float | None = None
    score_clip: float | None = None
    missing_eos_penalty: float = 0.0
    truncation: Truncation | Mapping[str, str] = "end"
    ptx: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not (0 < self.gamma <= 1 and 0 <= self.lam <= 1):
            raise ValueError(f"wanted 0 < gamma <= 1 and 0 <= lam <= 1, got gamma={self.gamma}, lam={self.lam}")
        for name in ("value_clip", "score_clip"):
            if vars(self)[name] is not None and vars(self)[name] <= 0:
                raise ValueError(f"{name} must be above 0, got {vars(self)[name]}; leave it out to do without")
        for name in ("value_coef", "missing_eos_penalty", "ptx"):
            if vars(self)[name] < 0:
                raise ValueError(f"{name} must be 0 or more, got {vars(self)[name]}")
        for limit, after in self._truncations.items():
            if limit not in CUT or after not in get_args(Truncation):
                raise ValueError(
                    f"truncation has {limit} = {after!r}: wanted one of {', '.join(sorted(CUT))} = one of "
                    f"{', '.join(get_args(Truncation))}"
                )

    @property
    def needs(self) -> frozenset[Need]:
        return super().needs | {"old_value"}

    @property
    def outputs(self) -> frozenset[Output]:
        return super().outputs | {"value"}

    @property
    def heads(self) -> Heads:
        return self.critic

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """Advantages, returns and weights; recorded samples have weights only, and stand spread among the others, so
        that each minibatch has its share of both.

        ``memory`` keeps the adaptive coefficient ``kl_coef``: this step is credited with the one it holds, the next
        step with the one it is left with.
        """
        sampled = [sample for sample in samples if not sample.recorded]
        recorded = [sample for sample in samples if sample.recorded]
        if recorded and not self.ptx:
            raise ValueError(
                "the step holds recorded answers, but ptx, the weight they are learned with, is 0: "
                "set it (27.8 in the paper), or leave them out"
            )
        credited = self.steered(memory)._credited(sampled, memory) if sampled else []
        return _spread_out(credited, self._weighed(recorded))

    def _credited(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        attempts = trajectories(samples)
        kept_S = np.ones(len(attempts.reward_S), bool)
        for row, sample in zip(attempts.index, samples, strict=True):
            kept_S[row] = self._after(sample) != "drop"
        value_bn = [_values(sample) for sample in samples]

        def estimated(reward_n: Array, parts: list[int]) -> Array:
            # Eq. 16 of arXiv:1506.02438; tokens that the policy did not write are not in it.
            value_n = np.concatenate([value_bn[b] for b in parts])
            last = samples[parts[-1]]
            ahead = last.end_value if self._after(last) == "bootstrap" else 0.0
            if self.actions == "tokens":
                written = np.ones(len(reward_n), bool)
                return gae(reward_n, value_n, written, gamma=self.gamma, lam=self.lam, bootstrap=ahead)
            last_n = np.concatenate([last_of_turns(samples[b]) for b in parts])
            of_turns = turn_gae if self.actions == "turns" else bilevel_gae
            return of_turns(reward_n, value_n, last_n, gamma=self.gamma, lam=self.lam, bootstrap=ahead)

        advantage_bn = along(self.token_rewards(samples, attempts, self._scores(attempts)), attempts, estimated)
        return_bn = [
            advantage + (held_over_turns(value, sample) if self.actions == "turns" else value)
            for advantage, value, sample in zip(advantage_bn, value_bn, samples, strict=True)
        ]
        kept_b = [bool(kept_S[row]) for row in attempts.index]
        if self.whiten:
            advantage_bn = _white(advantage_bn, kept_b)
        memory.update(_explained(return_bn, value_bn, kept_b))
        weight_S = self.average(np.where(kept_S, attempts.length_S, 0)).tolist()
        credited = [
            replace(
                sample,
                advantage=spread(advantage_n, sample.mask).astype(np.float32),
                returns=spread(return_n, sample.mask).astype(np.float32),
                weight=weight_S[row],
            )
            for sample, advantage_n, return_n, row in zip(samples, advantage_bn, return_bn, attempts.index, strict=True)
        ]
        return self.steer(self.tokens.choose(credited), memory)

    @property
    def _truncations(self) -> Mapping[str, str]:
        """What comes after each limit; nothing after those that are not named."""
        return dict.fromkeys(CUT, self.truncation) if isinstance(self.truncation, str) else self.truncation

    def _after(self, sample: Sample) -> str:
        """What comes after a sample's attempt: nothing, where no limit cut it."""
        return self._truncations.get(sample.stop, "end")

    def _scores(self, attempts: Attempts) -> Array:
        """What each attempt is paid at its end [S]."""
        score_S = attempts.reward_S
        if self.score_clip is not None:
            score_S = np.clip(score_S, -self.score_clip, self.score_clip)
        return score_S - self.missing_eos_penalty * attempts.truncated_S

    def _weighed(self, recorded: Sequence[Sample]) -> list[Sample]:
        """Recorded answers, every token of them weighing the same."""
        if not recorded:
            return []
        attempts = trajectories(recorded)
        weight_S = token_mean(attempts.length_S).tolist()
        nothing = [np.zeros(len(sample.ids), np.float32) for sample in recorded]
        return [
            replace(sample, advantage=zeros, returns=zeros, weight=weight_S[row])
            for sample, zeros, row in zip(recorded, nothing, attempts.index, strict=True)
        ]

    def policy_loss(self, logp_BT: Tensor, batch: Batch) -> Loss:
        found, trained = super().policy_loss(logp_BT, batch), self.surrogate.trained(batch)
        loss = self.surrogate.loss(logp_BT, self.old(logp_BT, batch), batch)
        return replace(found, metrics={**found.metrics, "loss/policy_avg": mean(loss, trained)})

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        import torch

        recorded_B1 = torch.tensor([[sample.recorded] for sample in batch.samples], device=batch.mask_BT.device)
        sampled_BT, recorded_BT = batch.mask_BT & ~recorded_B1, batch.mask_BT & recorded_B1
        policy = super().loss(out, replace(batch, mask_BT=sampled_BT))
        critic = self._value_loss(out, batch, sampled_BT)
        value, metrics = policy.value + self.value_coef * critic.value, {**policy.metrics, **critic.metrics}
        if self.ptx and bool(recorded_BT.any()):
            nll_BT = losses.nll(out.logp_BT, recorded_BT)
            metrics["nll_loss"] = mean(nll_BT, recorded_BT)
            # Eq. 2 of arXiv:2203.02155, its last term.
            value = value + self.ptx * losses.weighted_sum(nll_BT, batch.weight_B, recorded_BT)
        return Loss(value=value, metrics=metrics)

    def _value_loss(self, out: Outputs, batch: Batch, mask_BT: Tensor) -> Loss:
        """Half the squared error of the critic, under the average of the policy's loss."""
        assert out.value_BT is not None
        assert batch.value_BT is not None
        assert batch.returns_BT is not None
        free_BT, held_BT = (
            losses.value_clip(out.value_BT, batch.value_BT, batch.returns_BT, mask_BT, clip=clip)
            for clip in (math.inf, self.value_clip or math.inf)
        )
        metrics = {"loss/value_avg": mean(held_BT, mask_BT)}
        if self.value_clip is not None:
            metrics["val/clipfrac_avg"] = mean((held_BT > free_BT).to(held_BT.dtype), mask_BT)
        return Loss(value=losses.weighted_sum(held_BT, batch.weight_B, mask_BT), metrics=metrics)


REINFORCE_BASELINE = PPO(critic="shared", lam=1.0, whiten=False, kl=0.0, average=sequence_sum)
"""REINFORCE with a learned baseline (Williams 1992): the whole reward to go, less what the critic expected. With one
update a step nothing is clipped, and the gradient is that of the expected reward."""


def _values(sample: Sample) -> Array:
    assert sample.value is not None, "needs asks for old_value"
    return sample.value[sample.mask].astype(np.float64)


def _white(advantage_bn: Sequence[Array], kept_b: Sequence[bool]) -> list[Array]:
    """Standardised over the tokens of the samples that are kept; 0 in the others."""
    kept_N = np.concatenate([np.full(len(each), kept) for each, kept in zip(advantage_bn, kept_b, strict=True)])
    white_N = whiten(np.concatenate(advantage_bn), kept_N.astype(bool))
    return np.split(white_N, np.cumsum([len(each) for each in advantage_bn])[:-1])


def _explained(return_bn: Sequence[Array], value_bn: Sequence[Array], kept_b: Sequence[bool]) -> dict[str, float]:
    """The share of the returns' variance that the critic foresaw; nothing where they do not vary."""
    kept = [b for b, keep in enumerate(kept_b) if keep]
    if not kept:
        return {}
    return_N, value_N = (np.concatenate([each[b] for b in kept]) for each in (return_bn, value_bn))
    variance = float(np.var(return_N)) if len(return_N) else 0.0
    return {"val/explained_variance": 1 - float(np.var(return_N - value_N)) / variance} if variance > 1e-12 else {}


def _spread_out(some: Sequence[Sample], others: Sequence[Sample]) -> list[Sample]:
    """Both in their orders, evenly mixed."""
    placed = [((i + 0.5) / len(each), sample) for each in (some, others) for i, sample in enumerate(each)]
    return [sample for _, sample in sorted(placed, key=lambda pair: pair[0])]
