"""SAPO (https://arxiv.org/abs/2511.20347): a smooth gate around a ratio of 1 in place of a clip.

Bad tokens' gate is the narrower one, since pushing down raises all other tokens. The loss of a token on the policy is
-4 / (2 tau) A, not -A: losses cannot be compared with PPO's, gradients can.
"""

from __future__ import annotations

from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import SAPOGate
from togi.samplers import Groups

SAPO = GRPO(sampler=Groups(8), surrogate=SAPOGate(), kl=0.0)
