"""TOPR (https://arxiv.org/abs/2503.14286): off-policy REINFORCE that tapers off where a bad answer is no longer given.

Good answers are learned as recorded ones are, whoever drew them. Bad ones are pushed down as long as the policy still
gives them, which keeps the loss bounded without any KL. The paper's rewards are 1 and -1; here they are centred by
their group, and the sign of what is left says which answers are good. The ratio is that to the sampler.
"""

from __future__ import annotations

from togi.advantages import group_centred, sequence_sum
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import TOPRTaper
from togi.samplers import Groups

TOPR = GRPO(
    sampler=Groups(8),
    baseline=group_centred,
    surrogate=TOPRTaper(),
    old_policy="sampler",
    average=sequence_sum,
    kl=0.0,
)
