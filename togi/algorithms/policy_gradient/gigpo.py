"""GiGPO (https://arxiv.org/abs/2505.10978): attempts are compared with each other, and so are turns in equal states.

What a whole attempt earned against its siblings (GRPO) says nothing of which turn was good. Where several turns at one
task were taken in the same state, what followed each of them, discounted by turns, is compared as well. A state is what
the environment calls it (``state_key``), else the messages that the model was shown last.

Here each attempt counts once among its siblings, whatever its number of turns; the released code averages over turns.
Attempts of one turn are all in the state that the task begins in, and are credited as GRPO does, twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from togi.advantages import Array, Average, reward_to_go, sequence_mean
from togi.algorithms.policy_gradient.base import spread
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.turns_of_attempts import Turns, turns_of
from togi.batch import Attempts, trajectories
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Memory, Sample


@dataclass(frozen=True, kw_only=True)
class GiGPO(GRPO):
    """The attempt's advantage, plus ``step_weight`` times the turn's (equation 8). ``gamma`` discounts what a turn led
    to, a turn at a time; ``baseline`` is used at both levels. Defaults are the paper's: 8 attempts, 0.95 and 1."""

    per_token: ClassVar[bool] = True
    sampler: Sampler = field(default=Groups(8))
    average: Average = sequence_mean
    kl: float = 0.01
    gamma: float = 0.95
    step_weight: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 < self.gamma <= 1:
            raise ValueError(f"gamma must be above 0 and at most 1, got {self.gamma}; 1 does not discount")
        if self.step_weight < 0:
            raise ValueError(f"step_weight must be 0 or more, got {self.step_weight}; 0 compares attempts only")

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        """``memory`` gets ``gigpo/alone``, the share of turns whose state no other turn at the task was in."""
        if samples:
            memory.update(_alone(self._turns(samples, trajectories(samples))))
        return super().credit(samples, memory)

    def advantages(self, samples: Sequence[Sample], attempts: Attempts) -> Sequence[Array]:
        whole_b = super().advantages(samples, attempts)
        turns = self._turns(samples, attempts)
        ahead_K = np.zeros(len(turns.reward_K))
        for own in turns.by_trajectory().values():
            ahead_K[own] = reward_to_go(turns.reward_K[own], self.gamma)
        step_K = self.step_weight * self.baseline(ahead_K, turns.state_K)
        step_bn = turns.of_tokens(step_K, len(samples))
        return [
            spread(whole + step_n, sample.mask) for whole, step_n, sample in zip(whole_b, step_bn, samples, strict=True)
        ]

    def _turns(self, samples: Sequence[Sample], attempts: Attempts) -> Turns:
        return turns_of(samples, attempts, self.token_rewards(samples, attempts, attempts.reward_S))


def _alone(turns: Turns) -> dict[str, float]:
    if not len(turns.state_K):
        return {}
    return {"gigpo/alone": float(np.mean(np.bincount(turns.state_K)[turns.state_K] == 1))}
