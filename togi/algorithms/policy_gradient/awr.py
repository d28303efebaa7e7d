"""AWR (https://arxiv.org/abs/1910.00177): likelihood of every answer, weighed by e^(advantage / 0.05).

No ratio and nothing pushed down, so answers of any policy can be learned from, again and again. The advantage is that
over the mean of the group, where the paper has a critic. A task whose answers were all paid alike is still learned,
with weight 1: that is imitation, and moves nothing on average where the policy itself drew them.
"""

from __future__ import annotations

from togi.advantages import group_centred, token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import AWRWeight
from togi.samplers import Groups

AWR = GRPO(sampler=Groups(8), baseline=group_centred, surrogate=AWRWeight(), average=token_mean, kl=0.0)
