"""DPPO-TV (https://arxiv.org/abs/2602.04879): a trust region in probabilities, not in ratios.

A ratio of 5 is nothing for a token of probability 0.01 and impossible for one of 0.3, yet PPO's range is the same for
both. Here a token is left out once its probability has moved by 0.15 in the direction that it is pushed. Left out: the
form with a KL divergence in place of total variation.
"""

from __future__ import annotations

from togi.advantages import group_centred, token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import DPPOMask
from togi.samplers import Groups

DPPO = GRPO(sampler=Groups(8), baseline=group_centred, surrogate=DPPOMask(), average=token_mean, kl=0.0)
