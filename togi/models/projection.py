"""Log-probabilities of chosen tokens from hidden states, without a [tokens, vocabulary] tensor of all tokens.

It knows a matrix product and a softmax; it does not know models, layouts or losses. Logits exist for one chunk of rows
at a time; all but the last chunk's are computed again in the backward pass, which begins with the last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from togi.models.logit_form import Cap

CHUNK_ELEMENTS = 1 << 26
"""Logits at a time: 128 MB in bfloat16. A second chunk would need the weight's gradient once more, in float32."""

_CACHED = 3 << 18  # logits: 3 MB in float32, which the processor's cache holds
_LEAST = 1e-30  # a coefficient: what is divided by a smaller one could leave float32


@dataclass(eq=False)
class Tied:
    """The gradient of a matrix that is output and input embedding at once, on its way from the one to the other.

    Autograd would make two gradients of the vocabulary's size, of which the input's is nearly all zeros, and add them
    to a third.
    """

    grad_VD: Tensor | None = None


class _Embedded(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, weight_VD: Tensor, ids_N: Tensor, padding: int | None, tied: Tied) -> Tensor:
        ctx.save_for_backward(weight_VD, ids_N)
        ctx.padding, ctx.tied = padding, tied
        return weight_VD.index_select(0, ids_N)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        weight_VD, ids_N = ctx.saved_tensors
        grad_ND = grads[0]
        if ctx.padding is not None:
            grad_ND = grad_ND.masked_fill((ids_N == ctx.padding)[:, None], 0)
        # None where the loss read nothing that was projected.
        grad_VD, ctx.tied.grad_VD = ctx.tied.grad_VD, None
        grad_VD = torch.zeros_like(weight_VD) if grad_VD is None else grad_VD
        return grad_VD.index_add_(0, ids_N, grad_ND), None, None, None


class _TokenLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x_MD: Tensor,
        weight_VD: Tensor,
        row_P: Tensor,
        token_P: Tensor,
        entropy: bool,
        certainty: int,
        tied: Tied | None,
        cap: Cap | None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        wide = torch.promote_types(x_MD.dtype, torch.float32)
        logp_P = torch.empty(len(row_P), dtype=wide, device=x_MD.device)
        norm_M = torch.empty(len(x_MD), dtype=wide, device=x_MD.device)
        entropy_M = torch.zeros(len(x_MD), dtype=wide, device=x_MD.device)
        certainty_M = torch.zeros(len(x_MD), dtype=wide, device=x_MD.device)
        chunks = _chunks(x_MD, weight_VD, row_P)
        space = _space(x_MD, weight_VD, chunks)
        for rows, pairs in chunks:
            logits = torch.mm(x_MD[rows], weight_VD.T, out=space[: rows.stop - rows.start])
            if cap is not None:
                cap.bend(logits, rows)
            at = row_P[pairs] - rows.start
            norm_M[rows] = _logsumexp(logits, wide)
            logp_P[pairs] = logits[at, token_P[pairs]].to(wide) - norm_M[row_P[pairs]]
            if entropy:
                logp = logits.to(wide) - norm_M[rows, None]
                entropy_M[rows] = -(logp.exp() * logp).sum(-1)
            if certainty:
                certainty_M[rows] = divergence_from_uniform(logits[:, :certainty].to(wide) - norm_M[rows, None])
        ctx.save_for_backward(x_MD, weight_VD, row_P, token_P, logp_P, norm_M, entropy_M)
        ctx.tied, ctx.cap = tied, cap
        # Not among the saved tensors: the backward pass writes over it.
        ctx.last_logits = space
        ctx.set_materialize_grads(False)
        ctx.mark_non_differentiable(certainty_M)
        return logp_P, entropy_M, certainty_M

    @staticmethod
    def backward(ctx: Any, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        """d logp(v) / d logit(u) = [u = v] - p(u);  d H / d logit(u) = -p(u) (log p(u) + H)."""
        x_MD, weight_VD, row_P, token_P, logp_P, norm_M, entropy_M = ctx.saved_tensors
        grad_logp, grad_entropy, _ = grads
        if grad_logp is None:
            grad_logp = torch.zeros_like(logp_P)
        total_M = torch.zeros_like(norm_M).index_add_(0, row_P, grad_logp)
        # Every row is computed for a coefficient of 1 and scaled in full width: rounded with each of its logits, a
        # coefficient would be another for the chosen token than for the others.
        scale_M = total_M.where(total_M.abs() > _LEAST, 1.0)
        total_M, grad_logp = total_M / scale_M, grad_logp / scale_M[row_P]
        if grad_entropy is not None:
            grad_entropy = grad_entropy / scale_M
        grad_x = torch.empty_like(x_MD)
        grad_weight: Tensor | None = None
        chunks = _chunks(x_MD, weight_VD, row_P)
        kept, ctx.last_logits = ctx.last_logits, None
        space = _space(x_MD, weight_VD, chunks) if kept is None else kept
        for rows, pairs in reversed(chunks):
            x, logits = x_MD[rows], space[: rows.stop - rows.start]
            if kept is None or rows != chunks[-1][0]:
                torch.mm(x, weight_VD.T, out=logits)
                if ctx.cap is not None:
                    ctx.cap.bend(logits, rows)
            bent = None if ctx.cap is None else ctx.cap.slope(logits, rows)
            slope_M1 = -total_M[rows, None]
            if grad_entropy is None:
                # In place: the chunk is the largest tensor of a step.
                grad = torch.softmax(logits, -1, out=logits).mul_(slope_M1.to(logits.dtype))
            else:
                logp = logits.to(norm_M.dtype) - norm_M[rows, None]
                slope_MV = slope_M1 - grad_entropy[rows, None] * (logp + entropy_M[rows, None])
                grad = (logp.exp() * slope_MV).to(logits.dtype)
            # The chosen token's entry is a small difference of large numbers when p is near 1: form it in full width.
            row, chosen_logp = row_P[pairs], logp_P[pairs]
            chosen = grad_logp[pairs] - total_M[row] * chosen_logp.exp()
            if grad_entropy is not None:
                chosen = chosen - grad_entropy[row] * chosen_logp.exp() * (chosen_logp + entropy_M[row])
            grad[row - rows.start, token_P[pairs]] = chosen.to(grad.dtype)
            if bent is not None:
                grad = grad.mul_(bent)
            grad_x[rows] = (grad @ weight_VD) * scale_M[rows, None]
            if ctx.needs_input_grad[1]:
                part = grad.T @ (x * scale_M[rows, None]).to(x.dtype)
                grad_weight = part if grad_weight is None else grad_weight.to(norm_M.dtype).add_(part)
        if grad_weight is not None:
            grad_weight = grad_weight.to(weight_VD.dtype)
            if ctx.tied is not None:
                ctx.tied.grad_VD, grad_weight = grad_weight, None
        return grad_x, grad_weight, None, None, None, None, None, None


def _logsumexp(logits: Tensor, wide: torch.dtype) -> Tensor:
    """In full width, a few rows at a time: widening all of a chunk would leave the processor's cache."""
    step = max(1, _CACHED // logits.shape[1])
    return torch.cat([torch.logsumexp(part.to(wide), -1) for part in logits.split(step)])  # type: ignore[no-untyped-call]


def _chunks(x_MD: Tensor, weight_VD: Tensor, row_P: Tensor) -> list[tuple[slice, slice]]:
    """Equal chunks of rows with the pairs that look at them; ``row_P`` ascends."""
    count = max(1, -(-len(x_MD) * len(weight_VD) // CHUNK_ELEMENTS))
    edges = [len(x_MD) * i // count for i in range(count + 1)]
    pairs = torch.searchsorted(row_P.contiguous(), torch.tensor(edges, device=row_P.device)).tolist()
    return [(slice(a, b), slice(c, d)) for a, b, c, d in zip(edges, edges[1:], pairs, pairs[1:], strict=False) if b > a]


def _space(x_MD: Tensor, weight_VD: Tensor, chunks: list[tuple[slice, slice]]) -> Tensor:
    """Room for the largest chunk's logits."""
    return x_MD.new_empty(max((rows.stop - rows.start for rows, _ in chunks), default=0), len(weight_VD))


def embedded(weight_VD: Tensor, ids_N: Tensor, padding: int | None, tied: Tied) -> Tensor:
    """Rows of a matrix [N, D] whose gradient as output embedding comes by ``tied``: see ``token_log_probs``.

    The token ``padding`` has no gradient here, as in torch's own embedding.
    """
    rows: Tensor = _Embedded.apply(weight_VD, ids_N, padding, tied)  # type: ignore[no-untyped-call]
    return rows


def token_log_probs(
    x_MD: Tensor,
    weight_VD: Tensor,
    row_P: Tensor,
    token_P: Tensor,
    *,
    entropy: bool,
    certainty: int = 0,
    tied: Tied | None = None,
    cap: Cap | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """log softmax(x W^T) at P (row, token) pairs [P], the entropy of each row [M] (0 unless asked for), and its
    divergence KL(U || p) from the uniform distribution over the first ``certainty`` tokens [M] (0: not asked for).

    ``row_P`` ascends. All come in float32, or wider where the input is. Rows are divided by their temperature
    beforehand, and where logits have a soft cap, by ``cap``. The first two carry gradients to x and W; with ``tied``,
    that of W comes out of the ``embedded`` that x was made from.
    """
    logp_P, entropy_M, certainty_M = _TokenLogProbs.apply(  # type: ignore[no-untyped-call]
        x_MD, weight_VD, row_P, token_P, entropy, certainty, tied, cap
    )
    return logp_P, entropy_M, certainty_M


def divergence_from_uniform(logp_V: Tensor) -> Tensor:
    """KL(U || p) = -log V - mean of log p [..., V] -> [...], nats; self-certainty (Intuitor, arXiv:2505.19590).

    Tokens ruled out by a logit of -inf are no part of the vocabulary here: one of them would make it infinite.
    """
    possible = logp_V > -torch.inf
    count = possible.sum(-1)
    return -count.to(logp_V.dtype).log() - logp_V.where(possible, 0.0).sum(-1) / count
