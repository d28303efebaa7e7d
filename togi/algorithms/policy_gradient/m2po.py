"""M2PO (https://arxiv.org/abs/2510.01161): stale answers, less the few tokens that make their ratios wild.

Tokens at which trainer and sampler differ most are left out until the mean square of the log-ratios is below 0.04; the
others are learned by their ratio to the sampler, without a clip. The choice is made for the whole step before its first
update, where AReaL makes it in each micro-batch.
"""

from __future__ import annotations

from togi.advantages import token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import Importance
from togi.algorithms.policy_gradient.token_choices import SecondMoment
from togi.samplers import Groups

M2PO = GRPO(
    sampler=Groups(8),
    surrogate=Importance(),
    tokens=SecondMoment(),
    old_policy="sampler",
    average=token_mean,
    kl=0.0,
)
