"""Layers that keep less for the backward pass than autograd does: root mean square norms and gated feed-forward layers.

It knows these two kinds of layer in the form that most language models share; it knows no model, layout or loss. What
they compute is the same to the last bit; a layer that computes something else is found out by a try and left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.functional import silu

_ROWS = 384

Forward = Callable[[Tensor], Tensor]


class _Norm(torch.autograd.Function):
    """x / sqrt(mean(x^2) + eps) * w in float32 (arXiv:1910.07467), keeping x and one number a row: autograd keeps x
    in float32, and the normed x."""

    @staticmethod
    def forward(ctx: Any, x_ND: Tensor, weight_D: Tensor, eps: float) -> Tensor:
        out_ND = x_ND.new_empty(x_ND.shape)
        scale_N1 = x_ND.new_empty((*x_ND.shape[:-1], 1), dtype=torch.float32)
        # A few rows at a time: what is made of them in full width stays in the processor's cache.
        parts = (torch.split(tensor.flatten(0, -2), _ROWS) for tensor in (out_ND, scale_N1, x_ND))
        for out, scale, x in zip(*parts, strict=True):
            wide = x.to(torch.float32)
            torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps, out=scale)
            torch.mul(weight_D, (wide * scale).to(x.dtype), out=out)
        ctx.save_for_backward(x_ND, weight_D, scale_N1)
        return out_ND

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x_ND, weight_D, scale_N1 = ctx.saved_tensors
        normed_ND = x_ND.to(torch.float32) * scale_N1
        grad_ND = grads[0].to(torch.float32)
        grad_D = None
        if ctx.needs_input_grad[1]:
            grad_D = (grad_ND * normed_ND).flatten(0, -2).sum(0).to(weight_D.dtype)
        grad_ND = grad_ND * weight_D
        along_N1 = (grad_ND * normed_ND).mean(-1, keepdim=True)
        return grad_ND.sub_(normed_ND.mul_(along_N1)).mul_(scale_N1).to(x_ND.dtype), grad_D, None


class _Gated:
    """The product silu(gate) * up, made again when the layer after it asks for it in the backward pass."""

    def __init__(self, gate: Tensor, up: Tensor) -> None:
        self._gate, self._up = gate.detach(), up.detach()
        self._place = 0
        # From the product's second making to the gradient of silu, which follows it.
        self.silu: Tensor | None = None

    def made(self) -> Tensor:
        product = silu(self._gate).mul_(self._up)
        self._place = product.data_ptr()
        return product

    def pack(self, saved: Tensor) -> Tensor | torch.Size:
        return saved.shape if saved.data_ptr() == self._place else saved

    def unpack(self, kept: Tensor | torch.Size) -> Tensor:
        if isinstance(kept, Tensor):
            return kept
        self.silu = silu(self._gate)
        return (self.silu * self._up).view(kept)


class _Gate(torch.autograd.Function):
    """silu(gate) * up (arXiv:2002.05202), keeping its two arguments: autograd keeps silu(gate) too."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor, gated: _Gated) -> Tensor:
        ctx.save_for_backward(gate, up)
        ctx.gated = gated
        return gated.made()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        gate, up = ctx.saved_tensors
        # The graph may outlive its saved tensors, and this would keep the two arguments.
        gated, ctx.gated = ctx.gated, None
        activated = silu(gate) if gated is None or gated.silu is None else gated.silu
        grad_gate = grads[0] * up
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return grad_gate, activated.mul_(grads[0]), None


def lean_layers(model: nn.Module) -> list[tuple[nn.Module, Forward]]:
    """The layers of a model that have a lean form, each with it."""
    found = []
    for layer in model.modules():
        forward = _norm(layer) or _feed_forward(layer)
        if forward is not None and _same(layer, *forward):
            found.append((layer, forward[0]))
    return found


@contextmanager
def lean(layers: Sequence[tuple[nn.Module, Forward]]) -> Iterator[None]:
    """While open, these layers compute in their lean form, but for one that somebody else has given a forward."""
    changed = [(layer, forward) for layer, forward in layers if "forward" not in vars(layer)]
    for layer, forward in changed:
        layer.forward = forward
    try:
        yield
    finally:
        for layer, _ in changed:
            del layer.forward


def _norm(layer: nn.Module) -> tuple[Forward, Tensor] | None:
    eps = getattr(layer, "variance_epsilon", getattr(layer, "eps", None))
    weight = getattr(layer, "weight", None)
    if not type(layer).__name__.endswith("RMSNorm") or not isinstance(eps, float) or not isinstance(weight, Tensor):
        return None
    return partial(_normed, layer, eps), weight


def _normed(layer: Any, eps: float, x_ND: Tensor) -> Tensor:
    out: Tensor = _Norm.apply(x_ND, layer.weight, eps)  # type: ignore[no-untyped-call]
    return out


def _feed_forward(layer: nn.Module) -> tuple[Forward, Tensor] | None:
    parts = [getattr(layer, name, None) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")]
    if not all(isinstance(part, nn.Module) for part in parts) or not type(parts[-1]).__name__.startswith("SiLU"):
        return None
    weight = next(iter(layer.up_proj.parameters()))  # type: ignore[union-attr]
    return partial(_fed_forward, layer), weight[0]


def _fed_forward(layer: Any, x_ND: Tensor) -> Tensor:
    gate, up = layer.gate_proj(x_ND), layer.up_proj(x_ND)
    gated = _Gated(gate, up)
    product: Tensor = _Gate.apply(gate, up, gated)  # type: ignore[no-untyped-call]
    with saved_tensors_hooks(gated.pack, gated.unpack):
        out: Tensor = layer.down_proj(product)
    return out


def _same(layer: nn.Module, forward: Forward, like: Tensor) -> bool:
    """Whether both forms give the same on a few made-up rows as wide as ``like``."""
    if like.ndim != 1:
        return False
    rows = torch.linspace(-2.0, 3.0, 3 * len(like), device=like.device).sin().view(3, -1).to(like.dtype)
    with torch.no_grad():
        try:
            return bool(layer(rows).equal(forward(rows)))
        except (RuntimeError, TypeError):
            return False
