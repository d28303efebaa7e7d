"""MaxRL (https://arxiv.org/abs/2602.02710): the reward over its group's mean, which leads towards maximum likelihood.

Divided by the mean, the gradient is that of the logarithm of the chance to be right, up to an order that grows with the
group: rarely solved tasks count more, and no task is left behind. Rewards must not be below 0.
"""

from __future__ import annotations

from togi.advantages import group_mean_relative, sequence_sum
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.samplers import Groups

MAXRL = GRPO(sampler=Groups(16), baseline=group_mean_relative, average=sequence_sum, kl=0.0)
