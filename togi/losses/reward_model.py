"""Losses of reward models: scores in, one number a comparison out. They know no model and no preference data.

Axis legend: P pairs, K answers to one task.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


def bradley_terry(
    score_w: Tensor,
    score_l: Tensor,
    *,
    margin: Tensor | float = 0.0,
    centring: float = 0.0,
    label: Tensor | float = 1.0,
) -> Tensor:
    """Scores of the chosen and the rejected answers [P] -> loss [P] (InstructGPT, arXiv:2203.02155, equation 1).

    ``-log sigmoid(s_w - s_l - margin)``, with a ``margin`` for how much better the chosen one is (Llama 2,
    arXiv:2307.09288, equation 2). ``centring (s_w + s_l)^2`` is added, since only differences are learnt otherwise
    (arXiv:2312.09244). ``label`` is the probability that the chosen answer is the better one; below 1 the loss is the
    cross-entropy to it (RLAIF, arXiv:2309.00267), and the margin holds for either answer.
    """
    difference = score_w - score_l
    loss = -label * logsigmoid(difference - margin) - (1 - label) * logsigmoid(-difference - margin)
    return loss + centring * (score_w + score_l) ** 2


def binary(logit: Tensor, label: Tensor) -> Tensor:
    """Log-odds and the probability that they should say, of equal shape -> cross-entropy.

    ``-l log sigmoid(x) - (1 - l) log sigmoid(-x)``, as process reward models (arXiv:2305.20050) and implicit ones
    (arXiv:2412.01981) learn it.
    """
    return -label * logsigmoid(logit) - (1 - label) * logsigmoid(-logit)


def plackett_luce(score: Tensor) -> Tensor:
    """Scores [..., K] from the best answer to the worst -> negative log-likelihood of that ranking [...].

    The best is drawn first by a softmax over all, the next by one over those left, and so on. With two answers this is
    ``bradley_terry``.
    """
    from_the_worst = score.flip(-1)
    return (from_the_worst.logcumsumexp(-1) - from_the_worst).sum(-1)


def plackett_luce_ties(score: Tensor, worse: Tensor) -> Tensor:
    """``plackett_luce`` of answers in any order, some of which may be tied: scores [K], and ``worse`` [K, K], true at
    (i, j) where answer j was judged worse than i -> loss [K], whose sum is the ranking's.

    Each answer is drawn from among itself and those worse than it, which by Luce's axiom has the probability that the
    model of the whole ranking gives it; answers that are tied say nothing of each other.
    """
    drawn_from = worse | torch.eye(len(score), dtype=torch.bool, device=worse.device)
    return torch.where(drawn_from, score, -torch.inf).logsumexp(-1) - score
