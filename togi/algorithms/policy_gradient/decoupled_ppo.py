"""Decoupled PPO (https://arxiv.org/abs/2110.00641; AReaL, https://arxiv.org/abs/2505.24298): for stale answers.

The policy that a step must not leave is the one that began it; the one that drew the answers is another matter. So the
clipped ratio is that to the first, and a weight beside it corrects for the second. The weight is cut at 5, as AReaL
does.
"""

from __future__ import annotations

from togi.advantages import token_mean
from togi.algorithms.policy_gradient.corrections import Truncated
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.samplers import Groups

DECOUPLED_PPO = GRPO(sampler=Groups(8), correction=Truncated(weight_most=5.0), average=token_mean, kl=0.0)
