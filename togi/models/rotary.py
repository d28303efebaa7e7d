"""Rotary position embedding (Su et al., arXiv:2104.09864) in few passes over memory; knows no model and no layout.

The pairs that are turned are number d and number d + D/2 of a head, as in Llama and its like. Axes: T tokens, H heads,
D head width.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def turn(x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """x cos + (-x's second half, x's first half) sin, [..., T, H, D], rounded where that formula rounds."""
    half = x_THD.shape[-1] // 2
    cos, sin = cos_TD.unsqueeze(-2), sin_TD.unsqueeze(-2)
    out = x_THD * cos
    out[..., :half].sub_(x_THD[..., half:] * sin[..., :half])
    out[..., half:].add_(x_THD[..., :half] * sin[..., half:])
    return out


class _Turned(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
        ctx.save_for_backward(cos_TD, sin_TD)
        return turn(x_THD, cos_TD, sin_TD)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        cos_TD, sin_TD = ctx.saved_tensors
        return turn(grads[0], cos_TD, -sin_TD.roll(sin_TD.shape[-1] // 2, -1)), None, None


def turned(x_THD: Tensor, cos_TD: Tensor, sin_TD: Tensor) -> Tensor:
    """``turn`` with a gradient for x; autograd would keep x's products, and walk them one by one."""
    out: Tensor = _Turned.apply(x_THD, cos_TD, sin_TD)  # type: ignore[no-untyped-call]
    return out
