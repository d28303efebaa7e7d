"""VeriFree (https://arxiv.org/abs/2505.21493): raise the probability of the reference answer, without a verifier.

The objective is E over thoughts z of R(z) = pi(y* | x, z), the probability of the reference answer y* where the model
would have written its own. Its exact gradient (equation 4) has two terms: the thought is made likelier as R says, and
the reference answer after it is learned with the weight R. A baseline is valid in the first term only: subtracted from
the second it would unlearn right answers after poor thoughts.

The reward of the stage has to be R: ``likelihood(form="product", debias=false)``. With several updates a step, the
ratios of both terms' tokens are clipped as in PPO; with one, they are 1. Left out: the logarithm as reward and the
advantage as weight of the second term, which the official program offers and which follow another gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from togi.advantages import leave_one_out
from togi.algorithms.policy_gradient.base import before_update, learned
from togi.algorithms.policy_gradient.composition import check_updates
from togi.algorithms.policy_gradient.surrogates import PPOClip, Surrogate
from togi.batch import trajectories
from togi.protocols import Algorithm, Sampler
from togi.samplers import Referenced
from togi.types import Batch, Loss, Memory, Outputs, Sample


@dataclass(frozen=True, kw_only=True)
class VeriFree(Algorithm):
    """Policy gradient on thoughts with RLOO's baseline, and likelihood of the reference answer weighted by R.

    The surrogate is that of every token, those of the reference answer included: R is its probability under pi_old.
    """

    sampler: Sampler = field(default=Referenced(8))
    surrogate: Surrogate = field(default=PPOClip())

    def check_updates(self, updates: int) -> None:
        check_updates(self.surrogate, updates)

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """A thought's tokens get R less its siblings' mean R, a reference's tokens R. Raises ValueError for rewards
        that are no probabilities."""
        thoughts = [sample for sample in samples if not sample.recorded]
        references = {(s.group, s.trajectory): s for s in samples if s.recorded}
        attempts = trajectories(thoughts)
        if any(not 0 <= reward <= 1 for reward in attempts.reward_S):
            raise ValueError(
                "verifree learns from the probability of the reference answer, and the reward is none: set "
                'score = "likelihood(form=\\"product\\", debias=false)"'
            )
        weight = 1.0 / max(len(attempts.reward_S), 1)
        advantage_S = leave_one_out(attempts.reward_S, attempts.group_S).tolist()
        credited = []
        for sample, row in zip(thoughts, attempts.index, strict=True):
            mask = _thought(sample, references.get((sample.group, sample.trajectory)))
            credited.append(_credited(replace(sample, mask=mask), advantage_S[row], weight))
        return credited + [_credited(sample, sample.reward, weight) for sample in references.values()]

    def loss(self, out: Outputs, batch: Batch) -> Loss:
        return learned(self.surrogate, out.logp_BT, batch, before_update(out.logp_BT, batch))


def _credited(sample: Sample, advantage: float, weight: float) -> Sample:
    """Equation 4 is a sum over tokens and a mean over attempts; what has no gradient gets no weight."""
    advantage_T = np.where(sample.mask, advantage, 0.0).astype(np.float32)
    return replace(sample, advantage=advantage_T, weight=weight if advantage_T.any() else 0.0)


def _thought(sample: Sample, reference: Sample | None) -> NDArray[np.bool_]:
    """The tokens of an attempt before its answer: those it shares with its reference, which starts where that ends. An
    attempt that gave no answer is all thought."""
    if reference is None:
        return sample.mask
    length = min(len(sample.ids), int(reference.mask.argmax()))
    differ = np.flatnonzero(sample.ids[:length] != reference.ids[:length])
    return sample.mask & (np.arange(len(sample.ids)) < (differ[0] if len(differ) else length))
