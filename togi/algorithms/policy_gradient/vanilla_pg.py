"""Vanilla policy gradient (Williams 1992): log-probabilities times what an answer was better than its siblings.

No ratio and no clip, so one update a step. Verl calls this form ``gpg`` (https://arxiv.org/abs/2504.02546).
"""

from __future__ import annotations

from togi.advantages import group_centred, sequence_sum
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import Likelihood
from togi.samplers import Groups

VANILLA_PG = GRPO(sampler=Groups(8), baseline=group_centred, surrogate=Likelihood(), average=sequence_sum, kl=0.0)
