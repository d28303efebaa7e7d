"""High-entropy tokens only (https://arxiv.org/abs/2506.01939): DAPO on the fifth of tokens that are least sure.

There an answer takes one way or another; the rest of its tokens follow. The fifth is that of the whole step, and tokens
left out still count in the average.
"""

from __future__ import annotations

from dataclasses import replace

from togi.algorithms.policy_gradient.dapo import DAPO
from togi.algorithms.policy_gradient.token_choices import HighEntropy

HIGH_ENTROPY_TOKENS = replace(DAPO, tokens=HighEntropy())
