"""How far a student's distribution of the next token is from a teacher's: log-probabilities [..., V] to nats [...].

Both are normalised over the same V tokens. None of these knows which tokens were drawn, or a model.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def forward_kl(student_logp: Tensor, teacher_logp: Tensor) -> Tensor:
    """KL(T || S) = sum T (log T - log S): large where the student leaves out what the teacher says."""
    return _kl(teacher_logp, student_logp)


def reverse_kl(student_logp: Tensor, teacher_logp: Tensor) -> Tensor:
    """KL(S || T) = sum S (log S - log T): large where the student says what the teacher would not (MiniLLM,
    https://arxiv.org/abs/2306.08543)."""
    return _kl(student_logp, teacher_logp)


def jsd(student_logp: Tensor, teacher_logp: Tensor, *, beta: float) -> Tensor:
    """beta KL(T || M) + (1 - beta) KL(S || M) with M = beta T + (1 - beta) S (https://arxiv.org/abs/2306.13649,
    equation 1). At 0 it is KL(T || S) and at 1 KL(S || T), which is what it tends to there when divided by beta, or by
    1 - beta; itself it tends to 0."""
    if beta == 0:
        return forward_kl(student_logp, teacher_logp)
    if beta == 1:
        return reverse_kl(student_logp, teacher_logp)
    mixed = _mixed(teacher_logp, student_logp, beta)
    return beta * _kl(teacher_logp, mixed) + (1 - beta) * _kl(student_logp, mixed)


def skewed_forward_kl(student_logp: Tensor, teacher_logp: Tensor, *, alpha: float) -> Tensor:
    """KL(T || alpha T + (1 - alpha) S), which stays finite where the student has nothing (DistiLLM,
    https://arxiv.org/abs/2402.03898, equation 3)."""
    if alpha == 0:
        return forward_kl(student_logp, teacher_logp)
    return _kl(teacher_logp, _mixed(teacher_logp, student_logp, alpha))


def skewed_reverse_kl(student_logp: Tensor, teacher_logp: Tensor, *, alpha: float) -> Tensor:
    """KL(S || alpha S + (1 - alpha) T) (DistiLLM, equation 5)."""
    if alpha == 0:
        return reverse_kl(student_logp, teacher_logp)
    return _kl(student_logp, _mixed(student_logp, teacher_logp, alpha))


def _kl(p_logp: Tensor, q_logp: Tensor) -> Tensor:
    """What has no probability under p adds nothing, whatever q says of it."""
    there = p_logp > -math.inf
    # Put in place before the difference: a gradient through inf - inf would be nan even where it is not used.
    log_p, log_q = p_logp.where(there, 0.0), q_logp.where(there, 0.0)
    return (log_p.exp() * (log_p - log_q)).where(there, 0.0).sum(-1)


def _mixed(one_logp: Tensor, other_logp: Tensor, share: float) -> Tensor:
    """log(share * one + (1 - share) * other)."""
    import torch

    there = (one_logp > -math.inf) | (other_logp > -math.inf)
    one, other = (x.where(there, 0.0) for x in (one_logp, other_logp))
    return torch.logaddexp(one + math.log(share), other + math.log1p(-share)).where(there, -math.inf)
