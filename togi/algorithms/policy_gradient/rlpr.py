"""RLPR (https://arxiv.org/abs/2506.18254): GRPO on the probability of the reference answer, without a verifier.

The reward is ``likelihood() + 0.1 * form()``. Such rewards always differ a little within a group, so that dividing by
their spread would amplify noise: prompts whose rewards spread less than is usual in the run are left out.

Left out: a format reward of its own (it stands in the expression above).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import PPOClip, Surrogate
from togi.batch import trajectories
from togi.protocols import Sampler
from togi.samplers import Groups
from togi.types import Memory, Sample


@dataclass(frozen=True, kw_only=True)
class RLPR(GRPO):
    """GRPO without KL that skips a prompt whose rewards' standard deviation is below ``beta`` times its running mean.

    The running mean is that of each step's mean standard deviation, with ``decay``; the first step leaves nothing out.
    ``beta`` 0 leaves the filter out. Kept in memory and logged: ``rlpr/std``, and ``rlpr/dropped``, a share of prompts.
    """

    sampler: Sampler = field(default=Groups(8))
    surrogate: Surrogate = field(default=PPOClip(clip_high=0.27))
    kl: float = 0.0
    beta: float = 1.0
    decay: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beta < 0 or not 0 <= self.decay < 1:
            raise ValueError(f"wanted beta >= 0 and 0 <= decay < 1, got beta={self.beta}, decay={self.decay}")

    def credit(self, samples: Sequence[Sample], memory: Memory) -> list[Sample]:
        attempts = trajectories(samples)
        std_G = {int(g): float(attempts.reward_S[attempts.group_S == g].std()) for g in np.unique(attempts.group_S)}
        bound = self.beta * memory.get("rlpr/std", 0.0)
        memory.update(self._counts(list(std_G.values()), bound, memory))
        return super().credit([sample for sample in samples if not std_G[sample.group] < bound], memory)

    def _counts(self, std_G: Sequence[float], bound: float, memory: Memory) -> dict[str, float]:
        if not std_G:
            return {}
        seen = fmean(std_G)
        return {
            "rlpr/std": self.decay * memory.get("rlpr/std", seen) + (1 - self.decay) * seen,
            "rlpr/dropped": fmean(std < bound for std in std_G),
        }
