"""Clip-Cov and KL-Cov (https://arxiv.org/abs/2505.22617): entropy kept by sparing the few tokens that spend it.

Entropy falls by the covariance of advantage and log-probability, and few tokens make most of it. Clip-Cov learns
nothing from some of them; KL-Cov holds the largest ones near the policy that began the step, and so needs several
updates a step. Neither clips otherwise: Clip-Cov's range of 1 hardly ever acts. The covariances are those of the whole
step before its first update, where the released code takes each micro-batch by itself.
"""

from __future__ import annotations

from togi.advantages import token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import Importance, PPOClip
from togi.algorithms.policy_gradient.token_choices import ClipCov, KLCov
from togi.samplers import Groups

CLIP_COV = GRPO(
    sampler=Groups(8),
    surrogate=PPOClip(clip_low=1.0, clip_high=1.0),
    tokens=ClipCov(),
    average=token_mean,
    kl=0.0,
)

KL_COV = GRPO(sampler=Groups(8), surrogate=Importance(), tokens=KLCov(), average=token_mean, kl=0.0)
