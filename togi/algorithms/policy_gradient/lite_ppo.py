"""Lite PPO (https://arxiv.org/abs/2508.08221): the two tricks that are enough.

Rewards are centred by their group but scaled by the spread of the whole step, so that groups with little spread are
not blown up; and every token weighs the same. The spread is that of the raw rewards (Bessel), as the paper's own code
takes it, not that of the centred ones. No KL, no overlong filtering, plain clipping.
"""

from __future__ import annotations

from togi.advantages import group_mean_batch_std, token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.samplers import Groups

LITE_PPO = GRPO(sampler=Groups(8), baseline=group_mean_batch_std, average=token_mean, kl=0.0)
