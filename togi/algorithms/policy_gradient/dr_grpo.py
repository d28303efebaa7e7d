"""Dr. GRPO (https://arxiv.org/abs/2503.20783): GRPO without its two biases.

Dividing by the group's spread favours tasks that are nearly always or nearly never solved; dividing by the answer's
own length favours long wrong answers. Both divisions go: the advantage is only centred, and tokens are divided by a
constant. The constant belongs to the run (the most tokens an attempt may have), so set it to the sampling's limit;
3000 is the paper's. Left out: the paper's question templates.
"""

from __future__ import annotations

from togi.advantages import group_centred
from togi.algorithms.policy_gradient.averages import ConstantLength
from togi.algorithms.policy_gradient.grpo import GRPO
from togi.samplers import Groups

DR_GRPO = GRPO(sampler=Groups(8), baseline=group_centred, average=ConstantLength(3000), kl=0.0)
