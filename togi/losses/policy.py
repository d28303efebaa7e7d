"""Pure loss functions: tensors in, tensors out, one number a token. They know no model, no batch, no algorithm.

Axis legend: B samples, T positions. ``logp`` are log-probabilities [B, T] of the tokens at the temperature they were
sampled at, ``mask`` [B, T] is true on trained tokens, ``advantage`` [B, T]. Everything is minimised. Results are 0
where the mask is false, whatever stands there: masked entries are replaced before any arithmetic, because 0 * nan is
nan in the value and in the gradient. Old and reference log-probabilities and advantages get no gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from togi.types import Estimator

LOG_LIMIT = 20.0
"""Log-ratios are cut here: e^20 is far outside any trust region, and e^89 is infinite in float32."""


def weighted_sum(per_token: Tensor, weight: Tensor, mask: Tensor) -> Tensor:
    """Per-token losses [B, T] under one weight a sample [B] as one number []: a sum, so splitting changes nothing."""
    return (on(mask, per_token) * weight[:, None]).sum()


def nll(logp: Tensor, mask: Tensor) -> Tensor:
    """Negative log-likelihood [B, T]."""
    return -on(mask, logp)


def ratio(logp: Tensor, old_logp: Tensor, mask: Tensor) -> Tensor:
    """pi / pi_old [B, T], cut to e^±20; 1 where the mask is false."""
    return (on(mask, logp) - on(mask, old_logp).detach()).clamp(-LOG_LIMIT, LOG_LIMIT).exp()


def policy_gradient(logp: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """REINFORCE [B, T]: ``-A log pi``. For strictly on-policy tokens; its value means nothing, only its gradient."""
    return -on(mask, advantage).detach() * on(mask, logp)


def ppo_clip(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, low: float, high: float) -> Tensor:
    """PPO's clipped surrogate [B, T]: ``-min(r A, clip(r, 1 - low, 1 + high) A)`` (arXiv:1707.06347, equation 7).

    Unequal bounds are DAPO's clip-higher (arXiv:2503.14476, equation 10).
    """
    return clipped(ratio(logp, old_logp, mask), on(mask, advantage).detach(), low, high)


def dual_clip(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, low: float, high: float, cap: float
) -> Tensor:
    """``ppo_clip`` whose loss on bad tokens is bounded too [B, T]: at most ``-cap A`` for A < 0, with ``cap`` > 1
    (arXiv:1912.09729)."""
    if cap <= 1:
        raise ValueError(f"the dual clip's cap must be above 1 (3 in the paper), got {cap}")
    advantage = on(mask, advantage).detach()
    loss = clipped(ratio(logp, old_logp, mask), advantage, low, high)
    return torch.where(advantage < 0, torch.minimum(loss, -cap * advantage), loss)


def importance(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    """``-r A`` [B, T]: the policy gradient for tokens of an older policy, without a bound on how far it goes."""
    return -ratio(logp, old_logp, mask) * on(mask, advantage).detach()


def cispo(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, least: float, most: float) -> Tensor:
    """``-sg[clip(r, least, most)] A log pi`` [B, T]: the ratio is bounded, and no token loses its gradient
    (arXiv:2506.13585, equation 4, which has no lower bound)."""
    weight = ratio(logp, old_logp, mask).detach().clamp(least, most)
    return -weight * on(mask, advantage).detach() * on(mask, logp)


def sapo(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, good: float, bad: float) -> Tensor:
    """``-4 / tau sigmoid(tau (r - 1)) A`` [B, T]: a gate that falls off smoothly around r = 1, where the gradient is A
    (arXiv:2511.20347). ``good`` is tau for A > 0, ``bad`` that of other tokens."""
    advantage = on(mask, advantage).detach()
    tau = torch.where(advantage > 0, advantage.new_tensor(good), advantage.new_tensor(bad))
    return -4 / tau * torch.sigmoid(tau * (ratio(logp, old_logp, mask) - 1)) * advantage


def dppo_tv(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, low: float, high: float) -> Tensor:
    """``-sg[min(r, 20)] A log pi`` [B, T] of the tokens whose probability has not moved too far already: up by more
    than ``high`` for A > 0, down by more than ``low`` for A < 0 (arXiv:2602.04879). The rare token that a bound on the
    ratio would silence stays."""
    advantage = on(mask, advantage).detach()
    far = left_by_probability(logp, old_logp, advantage, mask, low=low, high=high)
    weight = ratio(logp, old_logp, mask).detach().clamp(max=20.0)
    return torch.where(far[0] | far[1], 0.0, -weight * advantage * on(mask, logp))


def left_by_probability(
    logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor, *, low: float, high: float
) -> tuple[Tensor, Tensor]:
    """Which tokens' probabilities fell by more than ``low`` with A < 0, and rose by more than ``high`` with A > 0."""
    with torch.no_grad():
        moved, advantage = on(mask, logp).exp() - on(mask, old_logp).exp(), on(mask, advantage)
        return (moved < -low) & (advantage < 0), (moved > high) & (advantage > 0)


def awr(logp: Tensor, advantage: Tensor, mask: Tensor, *, beta: float, most: float) -> Tensor:
    """``-min(e^(A / beta), most) log pi`` [B, T]: likelihood of what was done, weighed by how good it was
    (arXiv:1910.00177). It needs no ratio, and makes nothing less likely."""
    weight = (on(mask, advantage).detach() / beta).exp().clamp(max=most)
    return -weight * on(mask, logp)


def shaped_imitation(logp: Tensor, advantage: Tensor, mask: Tensor, *, gamma: float) -> Tensor:
    """``-A pi / (pi + gamma)`` [B, T]: for tokens of others, whose probability is not known; the pull is strongest
    where pi = gamma, and does not vanish on rare tokens (LUFFY, arXiv:2504.14945)."""
    p = on(mask, logp).exp()
    return -on(mask, advantage).detach() * p / (p + gamma)


def clip_fraction(
    logp: Tensor,
    old_logp: Tensor,
    advantage: Tensor,
    mask: Tensor,
    *,
    low: float,
    high: float,
    cap: float = math.inf,
) -> tuple[Tensor, Tensor]:
    """Which tokens the clip silenced at its lower and at its upper bound: two 0/1 tensors [B, T], without gradient.

    Their means over trained tokens are the clip fractions. Only tokens whose gradient is gone count: below the range
    with A < 0, above it with A > 0, and with A < 0 above the ``cap`` of ``dual_clip``.
    """
    with torch.no_grad():
        r, advantage = ratio(logp, old_logp, mask), on(mask, advantage)
        below, above = (r < 1 - low) & (advantage < 0), (r > 1 + high) & (advantage > 0)
        return below.to(logp.dtype), (above | ((r > cap) & (advantage < 0))).to(logp.dtype)


def k1(logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    """``log pi - log ref`` [B, T]: unbiased for KL(pi || ref), often negative. For rewards and for reporting."""
    return on(mask, logp) - on(mask, ref_logp).detach()


def k2(logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    """``(log pi - log ref)^2 / 2`` [B, T]: a biased value, but the gradient of KL(pi || ref) on-policy."""
    return 0.5 * k1(logp, ref_logp, mask) ** 2


def k3(logp: Tensor, ref_logp: Tensor, mask: Tensor) -> Tensor:
    """``ref / pi - 1 - log(ref / pi)`` [B, T]: unbiased for KL(pi || ref) and never negative (Schulman's k3)."""
    # Cut on one side only: the other cannot overflow and keeps its gradient.
    d = k1(logp, ref_logp, mask).clamp(min=-LOG_LIMIT)
    return torch.expm1(-d) + d


def kl(logp: Tensor, ref_logp: Tensor, mask: Tensor, *, estimator: Estimator, old_logp: Tensor | None = None) -> Tensor:
    """A KL penalty to stand in a loss [B, T]. What it pulls towards depends on the estimator, by its expected gradient:

    - ``k1``: 0. It regularises nothing in a loss; it belongs into the reward.
    - ``k2``: the gradient of KL(pi || ref), for on-policy tokens.
    - ``k3``: the gradient of KL(ref || pi), the other direction (GRPO, arXiv:2402.03300, equation 4).
    - ``k3_ratio``: k3 times pi / pi_old, the gradient of KL(pi || ref) also for tokens of an older policy
      (arXiv:2512.02556). ``old_logp`` left out means that the tokens are on-policy.
    """
    match estimator:
        case "k1":
            return k1(logp, ref_logp, mask)
        case "k2":
            return k2(logp, ref_logp, mask)
        case "k3":
            return k3(logp, ref_logp, mask)
        case "k3_ratio":
            # Kept differentiable even where its value is 1: half of the gradient comes through the ratio.
            return ratio(logp, logp if old_logp is None else old_logp, mask) * k3(logp, ref_logp, mask)
    raise ValueError(f"unknown KL estimator {estimator!r}: use k1, k2, k3 or k3_ratio")


def value_clip(value: Tensor, old_value: Tensor, returns: Tensor, mask: Tensor, *, clip: float) -> Tensor:
    """PPO's pessimistic value loss [B, T]: half the larger squared error of the value and of the value kept within
    ``clip`` of the old one."""
    value, old_value, returns = on(mask, value), on(mask, old_value).detach(), on(mask, returns).detach()
    kept = torch.clamp(value, old_value - clip, old_value + clip)
    return 0.5 * torch.maximum((value - returns) ** 2, (kept - returns) ** 2)


def entropy_from_logits(logits: Tensor) -> Tensor:
    """Entropy in nats of softmax(logits) over the last axis [...]; entries of -inf are impossible and add nothing."""
    logp = torch.log_softmax(logits, dim=-1)
    return -(logp.exp() * logp.masked_fill(logp == -torch.inf, 0.0)).sum(dim=-1)


def on(mask: Tensor, x: Tensor) -> Tensor:
    """0 where the mask is false, whatever stands there."""
    return torch.where(mask, x, 0.0)


def clipped(r: Tensor, advantage: Tensor, low: float, high: float) -> Tensor:
    """``-min(r A, clip(r, 1 - low, 1 + high) A)``."""
    return -torch.minimum(r * advantage, r.clamp(1 - low, 1 + high) * advantage)
