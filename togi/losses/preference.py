"""Losses over preferred and rejected answers: one number a pair, an answer or a ranking. They know no batch.

Axis legend: P pairs, S single answers, K answers to one task (always the last axis). Of an answer y: ``h`` is
``log pi(y) - log ref(y)`` summed over its tokens, ``logp`` the sum of its log-probabilities, ``mean`` their mean over
tokens; ``_w`` is the chosen (winning) answer and ``_l`` the rejected (losing) one. A length-normalised form is the same
function of h divided by the length. Everything is minimised; every result and gradient is finite for any finite input.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from togi.losses.policy import LOG_LIMIT
from togi.types import Divergence

_CERTAIN = -1e-7
"""Mean log-probabilities are cut here before odds are taken: those of a certain answer are infinite."""


def dpo(h_w: Tensor, h_l: Tensor, *, beta: float, label: Tensor | float = 1.0) -> Tensor:
    """``-log sigmoid(beta (h_w - h_l))`` [P] (DPO, arXiv:2305.18290, equation 7).

    ``label`` is the probability that the chosen answer is the better one; below 1 the loss is the cross-entropy to it:
    conservative DPO with a constant, RLAIF with a judge's probability.
    """
    margin = beta * (h_w - h_l)
    return -label * logsigmoid(margin) - (1 - label) * logsigmoid(-margin)


def robust_dpo(h_w: Tensor, h_l: Tensor, *, beta: float, flip: float) -> Tensor:
    """DPO whose mean over labels that are wrong with probability ``flip`` is DPO on the true ones [P]
    (arXiv:2403.00409). Not bounded below."""
    if not 0 <= flip < 0.5:
        raise ValueError(f"flip is the share of wrong labels, at least 0 and below 0.5, got {flip}")
    margin = beta * (h_w - h_l)
    return (-(1 - flip) * logsigmoid(margin) + flip * logsigmoid(-margin)) / (1 - 2 * flip)


def ipo(h_w: Tensor, h_l: Tensor, *, tau: float) -> Tensor:
    """``(h_w - h_l - 1 / (2 tau))^2`` [P] (IPO, arXiv:2310.12036, equation 17).

    ``tau`` of summed log-ratios and ``tau`` of means over tokens are not comparable.
    """
    return (h_w - h_l - 1 / (2 * tau)) ** 2


def slic(logp_w: Tensor, logp_l: Tensor, logp_target: Tensor, *, delta: float, regularisation: float) -> Tensor:
    """``max(0, delta - logp_w + logp_l) - regularisation logp_target`` [P] (SLiC-HF, arXiv:2305.10425).

    No reference model: the likelihood of a target answer holds the policy, that of the demonstration or of the chosen
    answer.
    """
    return (delta - logp_w + logp_l).clamp(min=0) - regularisation * logp_target


def rso(h_w: Tensor, h_l: Tensor, *, gamma: float) -> Tensor:
    """``max(0, 1 - gamma (h_w - h_l))`` [P] (RSO's hinge-norm, arXiv:2309.06657)."""
    return (1 - gamma * (h_w - h_l)).clamp(min=0)


def kto(
    h: Tensor,
    desirable: Tensor,
    reference: Tensor | float,
    *,
    beta: float,
    desirable_weight: float = 1.0,
    undesirable_weight: float = 1.0,
) -> Tensor:
    """Prospect-theoretic loss of single answers [S] (KTO, arXiv:2402.01306).

    ``1 - sigmoid(beta (h - z0))`` for a desirable answer, ``1 - sigmoid(beta (z0 - h))`` for another, each times its
    weight. ``reference`` is z0, how far the policy has moved from the reference on unrelated answers, at least 0; it
    gets no gradient.
    """
    gain = beta * (h - _detached(reference))
    return torch.where(desirable, desirable_weight * torch.sigmoid(-gain), undesirable_weight * torch.sigmoid(gain))


def bco(h: Tensor, desirable: Tensor, shift: Tensor | float, *, beta: float) -> Tensor:
    """Binary cross-entropy of single answers [S]: ``-log sigmoid(±(beta h - shift))`` (BCO, arXiv:2404.04656).

    ``shift`` is half of the mean reward of desirable answers plus half of that of the others; it gets no gradient.
    """
    margin = beta * h - _detached(shift)
    return -logsigmoid(torch.where(desirable, margin, -margin))


def log_odds_ratio(mean_w: Tensor, mean_l: Tensor) -> Tensor:
    """Log of the odds p / (1 - p) of the chosen over those of the rejected answer, p = e^mean [P]."""
    return _log_odds(mean_w) - _log_odds(mean_l)


def orpo(mean_w: Tensor, mean_l: Tensor) -> Tensor:
    """``-log sigmoid(log odds ratio)`` [P] (ORPO, arXiv:2403.07691, equation 7), to be added to the chosen answer's
    negative log-likelihood times lambda (equation 6)."""
    return -logsigmoid(log_odds_ratio(mean_w, mean_l))


def simpo(mean_w: Tensor, mean_l: Tensor, *, beta: float, gamma: float) -> Tensor:
    """``-log sigmoid(beta (mean_w - mean_l) - gamma)`` [P] (SimPO, arXiv:2405.14734, equation 6)."""
    return -logsigmoid(beta * (mean_w - mean_l) - gamma)


def cpo(logp_w: Tensor, logp_l: Tensor, *, beta: float) -> Tensor:
    """``-log sigmoid(beta (logp_w - logp_l))`` [P]: DPO under a uniform reference (CPO, arXiv:2401.08417), to be added
    to the chosen answer's negative log-likelihood."""
    return -logsigmoid(beta * (logp_w - logp_l))


def dpop(h_w: Tensor, h_l: Tensor, *, beta: float, penalty: float) -> Tensor:
    """DPO whose margin is less by ``penalty max(0, -h_w)``, so that the chosen answer must not become less likely [P]
    (DPO-Positive, arXiv:2402.13228)."""
    return -logsigmoid(beta * (h_w - h_l - penalty * (-h_w).clamp(min=0)))


def apo_zero(h_w: Tensor, h_l: Tensor, *, beta: float) -> Tensor:
    """``1 - sigmoid(beta h_w) + sigmoid(beta h_l)`` [P]: up with the chosen, down with the rejected
    (APO-zero, arXiv:2408.06266)."""
    return torch.sigmoid(-beta * h_w) + torch.sigmoid(beta * h_l)


def apo_down(h_w: Tensor, h_l: Tensor, *, beta: float) -> Tensor:
    """``sigmoid(beta h_w) + 1 - sigmoid(beta (h_w - h_l))`` [P]: down with both, more with the rejected
    (APO-down, arXiv:2408.06266). For chosen answers worse than the policy's own."""
    return torch.sigmoid(beta * h_w) + torch.sigmoid(-beta * (h_w - h_l))


def infonca(h: Tensor, worth: Tensor, *, beta: float, alpha: float) -> Tensor:
    """``-sum_k q_k log softmax(beta h)_k`` with q = softmax(worth / alpha) [..., K] -> [...] (InfoNCA,
    arXiv:2402.05369). With two answers and alpha -> 0 this is DPO."""
    return -((worth / alpha).softmax(-1) * (beta * h).log_softmax(-1)).sum(-1)


def nca(h: Tensor, worth: Tensor, *, beta: float, alpha: float) -> Tensor:
    """``-sum_k q_k log sigmoid(f_k) - 1/K sum_k log sigmoid(-f_k)``, f = beta h, q = softmax(worth / alpha)
    [..., K] -> [...] (NCA, arXiv:2402.05369). Holds each answer's likelihood by itself, not only
    differences."""
    f = beta * h
    return -((worth / alpha).softmax(-1) * logsigmoid(f)).sum(-1) - logsigmoid(-f).mean(-1)


def exo(h_w: Tensor, h_l: Tensor, *, beta: float, epsilon: float) -> Tensor:
    """KL(p || q) of p = softmax(beta h) over the pair from the label q = (1 - epsilon, epsilon) [P]
    (EXO, arXiv:2402.00856): reverse KL, where DPO follows the forward one."""
    if not 0 < epsilon < 0.5:
        raise ValueError(f"epsilon must lie in (0, 0.5), or the reverse KL is infinite, got {epsilon}")
    label = torch.tensor([1 - epsilon, epsilon], dtype=h_w.dtype, device=h_w.device)
    return _reverse_kl(beta * torch.stack([h_w, h_l], -1), label.log())


def exo_rewards(h: Tensor, worth: Tensor, *, beta: float, beta_reward: float) -> Tensor:
    """KL(p || q) of p = softmax(beta h) from q = softmax(worth / beta_reward) [..., K] -> [...]
    (EXO with a reward model, arXiv:2402.00856)."""
    return _reverse_kl(beta * h, (worth / beta_reward).log_softmax(-1))


def sppo(h_w: Tensor, h_l: Tensor, win_w: Tensor | float, win_l: Tensor | float, *, eta: float) -> Tensor:
    """The mean over both answers of ``(h - eta (win - 1/2))^2`` [P] (SPPO, arXiv:2405.00675).

    ``win`` is the probability with which an answer beats those of the policy.
    """
    return 0.5 * ((h_w - eta * (win_w - 0.5)) ** 2 + (h_l - eta * (win_l - 0.5)) ** 2)


def f_dpo(h_w: Tensor, h_l: Tensor, *, beta: float, divergence: Divergence, alpha: float = 0.5) -> Tensor:
    """``-log sigmoid(beta (f'(u_w) - f'(u_l)))`` with u = e^h [P] (f-DPO, arXiv:2309.16240).

    Reverse KL is DPO; ``alpha`` in (0, 1) is only read by the divergence of that name and lies between it (0) and
    forward KL (1).
    """
    return dpo(_f_prime(h_w, divergence, alpha), _f_prime(h_l, divergence, alpha), beta=beta)


def length_desensitised(logp: Tensor, mask: Tensor, common: Tensor, *, alpha: float) -> Tensor:
    """Log-probability of each answer whose tokens beyond the first ``common`` [P] count ``alpha`` times
    (LD-DPO, arXiv:2409.06411).

    ``logp`` and ``mask`` [P, N] hold an answer's own tokens from the left. ``common`` is the shorter answer's length.
    """
    beyond = torch.arange(logp.shape[-1], device=logp.device) >= common[:, None]
    return torch.where(mask, logp, 0.0).mul(torch.where(beyond, alpha, 1.0)).sum(-1)


def _f_prime(h: Tensor, divergence: Divergence, alpha: float) -> Tensor:
    """The derivative of f at u = e^h, up to a constant; exponents are cut at e^20."""
    match divergence:
        case "reverse_kl":
            return h
        case "forward_kl":
            return -(-h).clamp(max=LOG_LIMIT).exp()
        case "js":
            return logsigmoid(h)  # log(2u / (1 + u)) less log 2
        case "alpha":
            return -torch.expm1((-alpha * h).clamp(max=LOG_LIMIT)) / alpha
    raise ValueError(f"unknown divergence {divergence!r}: use reverse_kl, forward_kl, js or alpha")


def _log_odds(mean: Tensor) -> Tensor:
    """``mean - log(1 - e^mean)``, exact near 0 and far below it (Maechler's log1mexp)."""
    mean = mean.clamp(max=_CERTAIN)
    near = mean > -0.6931
    # Each branch gets an input it is finite for: the gradient of the branch not taken would be nan otherwise.
    log_rest = torch.where(
        near,
        torch.log(-torch.expm1(torch.where(near, mean, -1.0))),
        torch.log1p(-torch.exp(torch.where(near, -1.0, mean))),
    )
    return mean - log_rest


def _reverse_kl(logits: Tensor, log_target: Tensor) -> Tensor:
    logp = logits.log_softmax(-1)
    return (logp.exp() * (logp - log_target)).sum(-1)


def _detached(x: Tensor | float) -> Tensor | float:
    return x.detach() if isinstance(x, Tensor) else x
