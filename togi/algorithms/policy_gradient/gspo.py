"""GSPO (https://arxiv.org/abs/2507.18071) and LUSPO (https://arxiv.org/abs/2602.05261): the ratio of a whole answer.

A reward is for a whole answer, so its ratio is one too: the geometric mean of its tokens' ratios, clipped within some
ten-thousandths. Each answer counts alike in GSPO; LUSPO multiplies an answer's loss by its length, which is the average
``sequence_sum``, since GSPO favours short good answers. The paper makes 4 updates a step; with one nothing is clipped.
"""

from __future__ import annotations

from togi.advantages import sequence_sum
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import GSPOClip
from togi.samplers import Groups

GSPO = GRPO(sampler=Groups(8), surrogate=GSPOClip(), kl=0.0)

LUSPO = GRPO(sampler=Groups(8), surrogate=GSPOClip(clip_low=2e-3, clip_high=2.5e-3), average=sequence_sum, kl=0.0)
