"""Policy losses that look at a whole sample at once: its ratio is one number. They know no model and no algorithm.

Legend, masking and gradients are those of ``policy.py``. A sequence is what one row holds; its advantage is that of its
first trained token where a loss has one for the sequence. Summed and mean log-ratios are cut to ±20, as a token's are.
"""

from __future__ import annotations

import torch
from torch import Tensor

from togi.losses.policy import LOG_LIMIT, clipped, on


def sequence_ratio_clip(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, low: float, high: float
) -> Tensor:
    """RLOO's clipped surrogate with the whole completion as one action [B] (arXiv:2402.14740).

    The ratio is that of summed log-probabilities, so long completions leave the clip range sooner. A sequence has one
    advantage: that of its first trained token. 0 for a sequence without trained tokens.
    """
    log_ratio_B = log_ratio(logp, old_logp, mask).sum(dim=1)
    return clipped(log_ratio_B.clamp(-LOG_LIMIT, LOG_LIMIT).exp(), first(advantage, mask), low, high)


def gspo(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, low: float, high: float) -> Tensor:
    """PPO's clip of ``sg[s] pi / sg[pi]`` [B, T], where s is the geometric mean of the sequence's ratios
    (GSPO-token, arXiv:2507.18071, equation 13).

    Where all tokens have one advantage this is GSPO, in value and gradient, under the mean over each sequence's tokens.
    """
    per_token, new = log_ratio(logp, old_logp, mask), on(mask, logp)
    mean_B1 = per_token.detach().sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    s = (mean_B1.clamp(-LOG_LIMIT, LOG_LIMIT) + new - new.detach()).exp()
    return clipped(s, on(mask, advantage).detach(), low, high)


def geometric_ratio(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """The geometric mean of a sequence's ratios, as a logarithm [B, 1]; 0 for a sequence without trained tokens."""
    return log_ratio(logp, old_logp, mask).sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)


def gmpo(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """``-A`` times the geometric mean of ratios of which each is bounded by e^±``clip``, on the side where the clip
    acts, at every token [B, T] (GMPO, arXiv:2507.20673, equation 4). For the mean over each sequence's tokens."""
    advantage_B1 = first(advantage, mask)[:, None]
    d = log_ratio(logp, old_logp, mask)
    d = torch.where(advantage_B1 > 0, d.clamp(max=clip), d.clamp(min=-clip))
    mean_B1 = d.sum(1, keepdim=True) / mask.sum(1, keepdim=True).clamp(min=1)
    return on(mask, -advantage_B1 * mean_B1.clamp(-LOG_LIMIT, LOG_LIMIT).exp())


def topr(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """``-w A log pi`` [B, T]: w is 1 for A >= 0, and the sequence's ratio, at most 1, for A < 0, so that what the
    policy no longer does is not pushed further away (TOPR, arXiv:2503.14286)."""
    ratio_B1 = _product(logp, old_logp, mask).clamp(max=0.0).exp()
    advantage = on(mask, advantage).detach()
    return -torch.where(advantage < 0, ratio_B1, 1.0) * advantage * on(mask, logp)


def vespo(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    good: tuple[float, float],
    bad: tuple[float, float],
) -> Tensor:
    """``-sg[W^k e^(lambda (1 - W))] A log pi`` [B, T], W the sequence's ratio, with (k, lambda) ``good`` for A >= 0 and
    ``bad`` for others: a weight that is 1 at W = 1 and small far from it (VESPO, arXiv:2602.10693)."""
    log_w_B1 = _product(logp, old_logp, mask)
    good_B1, bad_B1 = ((k * log_w_B1 + tilt * (1 - log_w_B1.exp())).exp() for k, tilt in (good, bad))
    advantage = on(mask, advantage).detach()
    return -torch.where(advantage < 0, bad_B1, good_B1) * advantage * on(mask, logp)


def mirror_descent(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, tau: float) -> Tensor:
    """``-A log pi(y) + tau / 2 (log pi(y) / pi_old(y))^2`` of each sequence y [B] (Kimi k1.5, arXiv:2501.12599,
    equation 3)."""
    moved_B = log_ratio(logp, old_logp, mask).sum(dim=1)
    return -first(advantage, mask) * on(mask, logp).sum(dim=1) + tau / 2 * moved_B**2


def first(advantage: Tensor, mask: Tensor) -> Tensor:
    """The advantage of each sequence's first trained token [B], without gradient; 0 where there is none."""
    at = mask.int().argmax(dim=1, keepdim=True)
    return on(mask, advantage).detach().gather(1, at).squeeze(1)


def log_ratio(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """log pi - log pi_old [B, T], 0 where the mask is false."""
    return on(mask, logp) - on(mask, old_logp).detach()


def _product(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """The logarithm of each sequence's ratio [B, 1], without gradient."""
    return log_ratio(logp, old_logp, mask).detach().sum(1, keepdim=True).clamp(-LOG_LIMIT, LOG_LIMIT)
