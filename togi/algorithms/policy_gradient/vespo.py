"""VESPO (https://arxiv.org/abs/2602.10693): a smooth weight of the whole answer's ratio to the sampler.

The weight is largest near a ratio of 1 and falls off to both sides, whatever the length; there is nothing to clip.
"""

from __future__ import annotations

from togi.advantages import token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import VESPOWeight
from togi.samplers import Groups

VESPO = GRPO(sampler=Groups(8), surrogate=VESPOWeight(), old_policy="sampler", average=token_mean, kl=0.0)
