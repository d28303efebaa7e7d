"""What a thought is worth, and how it is learned, as pure tensor functions. They know no model and no text.

Axes: B samples, N places of a sample, P thoughts at a place, A tokens ahead of it.
"""

from __future__ import annotations

import torch
from torch import Tensor


def nll_ahead(logp_BNPA: Tensor, known_BNA: Tensor) -> Tensor:
    """-log p of the tokens ahead that are known, together, after each thought [B, N, P]."""
    return -torch.where(known_BNA[:, :, None], logp_BNPA, 0.0).sum(-1)


def thought_gain(reward_BNP: Tensor, *, positive_only: bool = False) -> Tensor:
    """r = log p - mean of log p over the thoughts at the same place (https://arxiv.org/abs/2403.09629, section 4.4.2).

    ``positive_only`` makes gains below 0 nothing, as the paper does; the estimate is then biased.
    """
    gain_BNP = reward_BNP - reward_BNP.mean(-1, keepdim=True)
    return gain_BNP.clamp(min=0) if positive_only else gain_BNP


def thought_reinforce(own_BNP: Tensor, gain_BNP: Tensor) -> Tensor:
    """-sum of gain times log p(thought), over P - 1 [B, N]: its gradient is that of the mean reward, without bias.

    The mean that a gain is taken from has the thought's own reward in it, which makes it smaller by (P - 1) / P.
    """
    return -(gain_BNP.detach() * own_BNP).sum(-1) / (own_BNP.shape[-1] - 1)
