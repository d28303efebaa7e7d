"""Layers that keep less for the backward pass than autograd does, and read less: root mean square norms, attention over
turned queries and keys, gated feed-forward layers.

It knows these kinds of layer in the form that most language models share; it knows no model, layout or loss. What they
compute is the same to the last bit; a layer that computes something else is found out by a try and left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import silu
from transformers import AttentionInterface
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from togi.models.rotary import turned

_ROWS = 384

Forward = Callable[..., Any]


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


class _Gate(torch.autograd.Function):
    """silu(gate) * up (arXiv:2002.05202), keeping its two arguments: autograd keeps silu(gate) too."""

    @staticmethod
    def forward(ctx: Any, gate: Tensor, up: Tensor) -> Tensor:
        ctx.save_for_backward(gate, up)
        return silu(gate).mul_(up)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        gate, up = ctx.saved_tensors
        grad_gate = grads[0] * up
        torch.ops.aten.silu_backward.grad_input(grad_gate, gate, grad_input=grad_gate)
        return grad_gate, silu(gate).mul_(grads[0])


def lean_layers(model: nn.Module) -> list[tuple[nn.Module, Forward]]:
    """The layers of a model that have a lean form, each with it."""
    forms = ((layer, _norm(layer) or _feed_forward(layer) or _attention(layer)) for layer in model.modules())
    return [(layer, form) for layer, form in forms if form is not None]


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


def _norm(layer: nn.Module) -> Forward | None:
    eps = getattr(layer, "variance_epsilon", getattr(layer, "eps", None))
    weight = getattr(layer, "weight", None)
    if not type(layer).__name__.endswith("RMSNorm") or not isinstance(eps, float) or not isinstance(weight, Tensor):
        return None
    return _if_same(layer, partial(_normed, layer, eps), weight)


def _normed(layer: Any, eps: float, x_ND: Tensor) -> Tensor:
    out: Tensor = _Norm.apply(x_ND, layer.weight, eps)  # type: ignore[no-untyped-call]
    return out


def _feed_forward(layer: nn.Module) -> Forward | None:
    parts = [getattr(layer, name, None) for name in ("gate_proj", "up_proj", "down_proj", "act_fn")]
    if not all(isinstance(part, nn.Module) for part in parts) or not type(parts[-1]).__name__.startswith("SiLU"):
        return None
    return _if_same(layer, partial(_fed_forward, layer), _row(layer.up_proj))


def _fed_forward(layer: Any, x_ND: Tensor) -> Tensor:
    gated: Tensor = _Gate.apply(layer.gate_proj(x_ND), layer.up_proj(x_ND))  # type: ignore[no-untyped-call]
    out: Tensor = layer.down_proj(gated)
    return out


def _if_same(layer: nn.Module, form: Forward, like: Tensor) -> Forward | None:
    """The form, if it gives what the layer gives on a few made-up rows as wide as ``like``."""
    if like.ndim != 1:
        return None
    rows = _made_up(3, like)
    with torch.no_grad():
        try:
            return form if layer(rows).equal(form(rows)) else None
        except (RuntimeError, TypeError):
            return None


def _attention(layer: Any) -> Forward | None:
    parts = [getattr(layer, name, None) for name in ("q_proj", "k_proj", "v_proj", "o_proj")]
    config, width = getattr(layer, "config", None), getattr(layer, "head_dim", None)
    if not all(isinstance(part, nn.Module) for part in parts) or config is None or not isinstance(width, int):
        return None
    like = _row(layer.q_proj)
    if like.ndim != 1:
        return None
    rows = _made_up(3, like)[None]
    cos, sin = (_made_up(6, like.new_empty(width))[part][None] for part in (slice(3), slice(3, 6)))
    given: dict[str, Any] = {"position_embeddings": (cos, sin), "attention_mask": None}
    own, config._attn_implementation = config._attn_implementation, _NOTE
    _noted.clear()
    try:
        with torch.no_grad():
            out = layer(rows, **given)[0]
            form = partial(_attended, layer, _noted[0][1])
            again = form(rows, **given)[0]
        heads, heads_again = (noted[0] for noted in _noted)
        same = all(one.equal(other) for one, other in zip((out, *heads), (again, *heads_again), strict=True))
        return form if same else None
    except (AttributeError, IndexError, RuntimeError, TypeError, ValueError):
        return None
    finally:
        config._attn_implementation = own
        _noted.clear()


def _attended(
    layer: Any,
    asked: Mapping[str, Any],
    hidden_states: Tensor,
    position_embeddings: tuple[Tensor, Tensor],
    attention_mask: Tensor | None = None,
    past_key_values: None = None,
    **further: Any,
) -> tuple[Tensor, Tensor | None]:
    """Attention of which the queries and keys are turned by ``turned``; ``asked`` is what the layer itself asks its
    attention function for, such as a scale or a window."""
    projected = (project(hidden_states) for project in (layer.q_proj, layer.k_proj, layer.v_proj))
    query, key, value = (part.unflatten(-1, (-1, layer.head_dim)) for part in projected)
    heads = (part.transpose(1, 2) for part in (*(turned(part, *position_embeddings) for part in (query, key)), value))
    attend = ALL_ATTENTION_FUNCTIONS[layer.config._attn_implementation]
    out, weights = attend(layer, *heads, attention_mask, **{**asked, **further})
    return layer.o_proj(out.flatten(2)), weights


_NOTE = "togi_note"
_noted: list[tuple[tuple[Tensor, Tensor, Tensor], dict[str, Any]]] = []


def _note(
    _: nn.Module, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None, **asked: Any
) -> tuple[Tensor, None]:
    """In place of attention: notes what it was called with."""
    _noted.append(((query, key, value), asked))
    return query.transpose(1, 2), None


AttentionInterface.register(_NOTE, _note)


def _row(projection: Any) -> Tensor:
    """A row of a projection's weight, as wide as what it reads; of one whose layers are its own, its first weight's."""
    weight = getattr(projection, "weight", None)
    row: Tensor = (weight if isinstance(weight, Tensor) else next(iter(projection.parameters())))[0]
    return row


def _made_up(rows: int, like: Tensor) -> Tensor:
    """Numbers [rows, width of ``like``] between -1 and 1."""
    return torch.linspace(-2.0, 3.0, rows * len(like), device=like.device).sin().view(rows, -1).to(like.dtype)
