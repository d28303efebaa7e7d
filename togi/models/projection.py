"""Log-probabilities of chosen tokens from hidden states, without ever keeping a [tokens, vocabulary] tensor.

It knows a matrix product and a softmax; it does not know models, layouts or losses. Logits exist for one chunk of rows
at a time and are computed again in the backward pass.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

CHUNK_ELEMENTS = 1 << 26
"""Logits at a time: 128 MB in bfloat16."""


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_MD: Tensor, weight_VD: Tensor, row_P: Tensor, token_P: Tensor, entropy: bool
    ) -> tuple[Tensor, Tensor]:
        wide = torch.promote_types(x_MD.dtype, torch.float32)
        logp_P = torch.empty(len(row_P), dtype=wide, device=x_MD.device)
        norm_M = torch.empty(len(x_MD), dtype=wide, device=x_MD.device)
        entropy_M = torch.zeros(len(x_MD), dtype=wide, device=x_MD.device)
        for rows, pairs in _chunks(x_MD, weight_VD, row_P):
            logits = x_MD[rows] @ weight_VD.T
            at = row_P[pairs] - rows.start
            logp = torch.log_softmax(logits, -1, dtype=wide)
            logp_P[pairs] = logp[at, token_P[pairs]]
            norm_M[rows] = logits[:, 0].to(wide) - logp[:, 0]
            if entropy:
                entropy_M[rows] = -(logp.exp() * logp).sum(-1)
        ctx.save_for_backward(x_MD, weight_VD, row_P, token_P, logp_P, norm_M, entropy_M)
        ctx.set_materialize_grads(False)
        return logp_P, entropy_M

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """d logp(v) / d logit(u) = [u = v] - p(u);  d H / d logit(u) = -p(u) (log p(u) + H)."""
        x_MD, weight_VD, row_P, token_P, logp_P, norm_M, entropy_M = ctx.saved_tensors
        grad_logp, grad_entropy = grads
        if grad_logp is None:
            grad_logp = torch.zeros_like(logp_P)
        total_M = torch.zeros_like(norm_M).index_add_(0, row_P, grad_logp)
        grad_x = torch.empty_like(x_MD)
        grad_weight: Tensor | None = None
        for rows, pairs in _chunks(x_MD, weight_VD, row_P):
            x = x_MD[rows]
            logits = x @ weight_VD.T
            at = row_P[pairs] - rows.start
            p = torch.softmax(logits, -1)
            grad = p * -total_M[rows, None].to(p.dtype)
            # The chosen token's entry is a small difference of large numbers when p is near 1: form it in full width.
            chosen = grad_logp[pairs] - total_M[row_P[pairs]] * logp_P[pairs].exp()
            grad[at, token_P[pairs]] = chosen.to(grad.dtype)
            if grad_entropy is not None:
                surprise = logits.to(norm_M.dtype) - norm_M[rows, None] + entropy_M[rows, None]
                grad -= (p * surprise * grad_entropy[rows, None]).to(grad.dtype)
            grad_x[rows] = grad @ weight_VD
            if ctx.needs_input_grad[1]:
                part = grad.T @ x
                grad_weight = part if grad_weight is None else grad_weight.add_(part)
        return grad_x, grad_weight, None, None, None


def _chunks(x_MD: Tensor, weight_VD: Tensor, row_P: Tensor) -> list[tuple[slice, slice]]:
    """Equal chunks of rows with the pairs that look at them; ``row_P`` ascends."""
    count = max(1, -(-len(x_MD) * len(weight_VD) // CHUNK_ELEMENTS))
    edges = [len(x_MD) * i // count for i in range(count + 1)]
    pairs = torch.searchsorted(row_P.contiguous(), torch.tensor(edges, device=row_P.device)).tolist()
    return [(slice(a, b), slice(c, d)) for a, b, c, d in zip(edges, edges[1:], pairs, pairs[1:], strict=False) if b > a]


def token_log_probs(
    x_MD: Tensor, weight_VD: Tensor, row_P: Tensor, token_P: Tensor, *, entropy: bool
) -> tuple[Tensor, Tensor]:
    """log softmax(x W^T) at P (row, token) pairs [P], and the entropy of each row [M] (0 unless asked for).

    ``row_P`` ascends. Both come in float32, or wider where the input is; rows are divided by their temperature
    beforehand. Both carry gradients to x and W.
    """
    logp_P, entropy_M = _TokenLogProbs.apply(x_MD, weight_VD, row_P, token_P, entropy)
    return logp_P, entropy_M
