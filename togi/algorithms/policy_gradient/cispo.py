"""CISPO (MiniMax-M1, https://arxiv.org/abs/2506.13585): the ratio is bounded, and no token is silenced.

Rare tokens at which an answer turns ("However", "Wait") are the first to leave PPO's range, and then teach nothing.
Here the bounded ratio only weighs the policy gradient. The bound is a ratio itself: 5 is TRL's, 4 to 5 that of
https://arxiv.org/abs/2510.13786; where a bound is written 1 + epsilon, add the 1.
"""

from __future__ import annotations

from togi.advantages import token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import CISPOWeight
from togi.samplers import Groups

CISPO = GRPO(sampler=Groups(8), surrogate=CISPOWeight(), average=token_mean, kl=0.0)
