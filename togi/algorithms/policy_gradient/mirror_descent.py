"""Mirror descent of Kimi k1.5 (https://arxiv.org/abs/2501.12599, equation 3): earn more, but stay near.

Each step is a small problem of its own: earn more, and stay near the policy that began the step, by ``tau`` / 2 times
the square of a whole answer's log-ratio. That square acts from the second update on; take several ``minibatches``. Left
out: the curriculum and the length reward (``kimi_length`` in rewards), which are no part of the loss.
"""

from __future__ import annotations

from togi.advantages import group_centred, sequence_sum
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import MirrorDescent
from togi.samplers import Groups

MIRROR_DESCENT = GRPO(
    sampler=Groups(8), baseline=group_centred, surrogate=MirrorDescent(), average=sequence_sum, kl=0.0
)
