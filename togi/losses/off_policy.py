"""Weights of tokens that another policy drew, and which of its answers to leave out. Pure, and without gradient.

Legend and masking are those of ``policy.py``. ``drawn_logp`` are the log-probabilities that the sampler drew with:
those of older weights, or of the same weights in other arithmetic. One that is nan is not known, and weighs 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from togi.losses.policy import LOG_LIMIT, on
from togi.types import Level


def drawn_weight(old_logp: Tensor, drawn_logp: Tensor, mask: Tensor, *, level: Level) -> Tensor:
    """How much likelier the trainer's policy makes what the sampler drew: of each token [B, T], or of each sequence
    [B, 1], as the product over its tokens (unbiased, and wild for long ones) or as their geometric mean."""
    with torch.no_grad():
        d = on(mask & ~drawn_logp.isnan(), old_logp - drawn_logp)
        if level == "token":
            return d.clamp(-LOG_LIMIT, LOG_LIMIT).exp()
        d = d.sum(1, keepdim=True)
        if level == "geometric":
            d = d / mask.sum(1, keepdim=True).clamp(min=1)
        return d.clamp(-LOG_LIMIT, LOG_LIMIT).exp()


def within(weight: Tensor, least: float, most: float) -> Tensor:
    """The weights in [least, most], and 0 for others."""
    return torch.where((weight >= least) & (weight <= most), weight, 0.0)


def still_near(logp: Tensor, drawn_logp: Tensor, advantage: Tensor, mask: Tensor, *, most: float) -> Tensor:
    """0 for the bad tokens (A < 0) of sequences that the policy has left, by more than ``most`` nats a token on
    average, and 1 for all others [B, T] (the off-policy sequence mask of DeepSeek-V3.2, arXiv:2512.02556)."""
    with torch.no_grad():
        left_B1 = on(mask & ~drawn_logp.isnan(), drawn_logp - logp).sum(1, keepdim=True) / mask.sum(
            1, keepdim=True
        ).clamp(min=1)
        return 1.0 - ((left_B1 > most) & (on(mask, advantage) < 0)).to(logp.dtype)
