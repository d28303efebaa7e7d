"""How far two models' distributions of the next token are apart, from hidden states and over the whole vocabulary.

It knows matrix products and a softmax, and is told what to read of a pair of distributions. Logits of both exist for
one chunk of rows at a time, and are computed again in the backward pass: nothing is cut to the likeliest tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from togi.models.logit_form import Cap
from togi.protocols import Compare

CHUNK_ELEMENTS = 1 << 23
"""Logits at a time: 32 MB in float32, of which a comparison holds some ten."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Projected:
    """One model's side: hidden states, divided by their temperature beforehand, the output embedding, and the soft cap
    of its logits."""

    x_MD: Tensor
    weight_VD: Tensor
    cap: Cap | None

    def logits(self, rows: slice, tokens: int) -> Tensor:
        """Of the first ``tokens`` of the vocabulary, before the cap [m, V]."""
        return self.x_MD[rows] @ self.weight_VD[:tokens].T

    def logp(self, logits: Tensor, rows: slice) -> Tensor:
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        return torch.log_softmax(wide if self.cap is None else self.cap.bent(wide, rows), -1)


class _Compared(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x_MD: Tensor, weight_VD: Tensor, cap: Cap | None, teacher: Projected, compare: Compare
    ) -> Tensor:
        student = Projected(x_MD=x_MD, weight_VD=weight_VD, cap=cap)
        tokens = min(len(weight_VD), len(teacher.weight_VD))
        ctx.save_for_backward(x_MD, weight_VD)
        ctx.cap, ctx.teacher, ctx.compare, ctx.tokens = cap, teacher, compare, tokens
        found = [
            compare(student.logp(student.logits(rows, tokens), rows), teacher.logp(teacher.logits(rows, tokens), rows))
            for rows in _chunks(len(x_MD), tokens)
        ]
        return torch.cat(found)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_MD, weight_VD = ctx.saved_tensors
        student, teacher, tokens = Projected(x_MD=x_MD, weight_VD=weight_VD, cap=ctx.cap), ctx.teacher, ctx.tokens
        grad_M1 = grads[0][:, None]
        grad_x = torch.empty_like(x_MD)
        grad_weight = torch.zeros_like(weight_VD, dtype=grads[0].dtype)
        for rows in _chunks(len(x_MD), tokens):
            other = teacher.logp(teacher.logits(rows, tokens), rows)
            logits = student.logits(rows, tokens).requires_grad_()
            with torch.enable_grad():
                read = ctx.compare(student.logp(logits, rows), other).sum()
            # For a coefficient of 1 a row, scaled in full width: see the projection of single tokens.
            (grad,) = torch.autograd.grad(read, logits)
            grad_x[rows] = (grad @ weight_VD[:tokens]) * grad_M1[rows]
            grad_weight[:tokens] += grad.T @ (x_MD[rows] * grad_M1[rows]).to(x_MD.dtype)
        return grad_x, grad_weight.to(weight_VD.dtype), None, None, None


def compared(student: Projected, teacher: Projected, compare: Compare) -> Tensor:
    """What ``compare`` reads of the student's and the teacher's log-probabilities, row by row [M], with a gradient to
    the student's hidden states and output embedding. Where one vocabulary is longer, the rest of it only rounds its
    size up, and is left out."""
    read: Tensor = _Compared.apply(student.x_MD, student.weight_VD, student.cap, teacher, compare)  # type: ignore[no-untyped-call]
    return read


def _chunks(rows: int, tokens: int) -> Iterator[slice]:
    step = max(1, CHUNK_ELEMENTS // tokens)
    return (slice(start, min(start + step, rows)) for start in range(0, rows, step))
