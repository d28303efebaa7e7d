"""LUFFY (https://arxiv.org/abs/2504.14945): groups that hold answers of a better model beside the policy's own.

All are compared with one another. The policy's own tokens are learned by their ratio, without a clip; those of others
by pi / (pi + 0.1), whose gradient is largest where the policy finds them unlikely but not absurd. Each group is seven
attempts and one of the task's recorded answers; a task without one is learned by importance sampling alone. Left out:
the released code's division by a constant without the number of answers, which here is the average over tokens.
"""

from __future__ import annotations

from togi.advantages import group_centred, token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import MixedPolicy
from togi.samplers import Groups

LUFFY = GRPO(
    sampler=Groups(7, demonstrations=1),
    baseline=group_centred,
    surrogate=MixedPolicy(),
    average=token_mean,
    kl=0.0,
    entropy_bonus=0.001,
)
