"""DAPO (https://arxiv.org/abs/2503.14476): GRPO for long answers, as four changes of a number or a part.

PPOClip-higher leaves rare tokens more room to grow (equation 10); every token weighs the same, so long answers are not
diluted; groups that are all right or all wrong are sampled again (equation 11); and there is no KL. Attempts that ran
out of room are left out of the loss (overlong filtering). The other way to treat them, the soft overlong punishment
(equation 13), is a reward: ``overlong`` in togi/rewards/length_shaping.py. With it in the reward, set
``drop_truncated`` to false: one attempt should not meet both. Left out: the oversized rollout batches that hide the
extra sampling rounds.
"""

from __future__ import annotations

from togi.advantages import token_mean
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import PPOClip
from togi.samplers import Dynamic

DAPO = GRPO(sampler=Dynamic(16), surrogate=PPOClip(clip_high=0.28), average=token_mean, kl=0.0, drop_truncated=True)
