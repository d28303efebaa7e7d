"""GMPO (https://arxiv.org/abs/2507.20673): the geometric mean of clipped ratios, where GRPO has the arithmetic one.

One far token moves a geometric mean little, so the range can be wide: ratios from e^-0.4 to e^0.4.
"""

from __future__ import annotations

from togi.algorithms.policy_gradient.grpo import GRPO
from togi.algorithms.policy_gradient.surrogates import GMPOClip
from togi.samplers import Groups

GMPO = GRPO(sampler=Groups(8), surrogate=GMPOClip(), kl=0.0)
