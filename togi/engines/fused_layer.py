"""The usual decoder layer as seven products with little between them, for decoding in bfloat16 on a processor.

It knows that layer by its parts, as Llama, Mistral, Qwen2 and SmolLM2 have them: norm, attention over turned queries
and keys, sum, norm, gated feed-forward network, sum. A layer that only looks like it is found out by a try and left
alone. Axes: B rows, one token each, H query heads, K key-value heads, D head width.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from togi.engines.key_value_cache import Attends
from togi.engines.packed_linear import Packed, packed_weights, packs
from togi.models.attention_form import AttentionForm
from togi.models.rotary import turn

_ATTENTION, _FEED_FORWARD = ("q_proj", "k_proj", "v_proj", "o_proj"), ("gate_proj", "up_proj", "down_proj")
# Fewer roundings to bfloat16 than the layer's own move its outputs by about half a percent.
_NOISE = 0.03


class FusedLayers:
    """A model's layers in the form they have while decoding; which of them are usual is found out once."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._asks: dict[nn.Module, AttentionForm | None] = {}

    @contextmanager
    def open(self, rows: int) -> Iterator[None]:
        """Usual layers are fused while open, all other linear ones have packed weights; for about ``rows`` rows.

        The model has the engine's own attention. Packed weights take as much memory as the weights.
        """
        fused = {}
        for layer in self._model.modules() if rows > 1 else ():
            if _looks_usual(layer):
                if layer not in self._asks:
                    self._asks[layer] = _asked(layer, rows)
                asks = self._asks[layer]
                if asks is not None:
                    fused[layer] = _Fused(layer, rows, asks)
        inside = {part for layer in fused for part in layer.modules()}
        others = [layer for layer in self._model.modules() if layer not in inside]
        for layer, form in fused.items():
            layer.forward = form
        try:
            with packed_weights(others, rows):
                yield
        finally:
            for layer in fused:
                del layer.forward


class _Fused:
    """The forward of one layer, which asks for attention as the layer itself does."""

    def __init__(self, layer: Any, rows: int, asks: AttentionForm) -> None:
        attention, feed_forward = layer.self_attn, layer.mlp
        self._own = layer.forward
        self._first_norm, self._second_norm = layer.input_layernorm, layer.post_attention_layernorm
        self._index, self._asks, self._width = attention.layer_idx, asks, attention.head_dim
        self._key_heads = attention.k_proj.out_features // self._width
        query, key, value, out = (getattr(attention, name) for name in _ATTENTION)
        gate, up, down = (getattr(feed_forward, name) for name in _FEED_FORWARD)
        self._read, self._out = Packed([query, key, value], rows), Packed([out], rows)
        self._gate, self._up, self._down = Packed([gate], rows), Packed([up], rows), Packed([down], rows)

    def __call__(self, hidden: Tensor, *more: Any, **given: Any) -> Any:
        if more or hidden.shape[1] > 1:  # prompts: few calls, and long products
            return self._own(hidden, *more, **given)
        return self.decode(hidden, given["position_embeddings"], given["kv_cache"])

    def decode(self, hidden_B1: Tensor, rotation: tuple[Tensor, Tensor], kv_cache: Attends) -> Tensor:
        """``rotation``: cosines and sines [B, 1, D]."""
        read = self._read(self._first_norm(hidden_B1)).view(len(hidden_B1), 1, -1, self._width)
        turned = turn(read[:, :, : -self._key_heads], *rotation).transpose(1, 2)
        query, key = turned[:, : -self._key_heads], turned[:, -self._key_heads :]
        value = read[:, :, -self._key_heads :].transpose(1, 2)
        attended = kv_cache.attend(self._index, query, key, value, self._asks).flatten(2)
        hidden_B1 = self._out.plus(attended, hidden_B1)
        normed = self._second_norm(hidden_B1)
        return self._down.plus(self._up.times(normed, self._gate.silu(normed)), hidden_B1)


def _looks_usual(layer: nn.Module) -> bool:
    attention, feed_forward = getattr(layer, "self_attn", None), getattr(layer, "mlp", None)
    groups = [[getattr(attention, name, None) for name in _ATTENTION]]
    groups.append([getattr(feed_forward, name, None) for name in _FEED_FORWARD])
    if not all(type(part) is nn.Linear and packs(part) for group in groups for part in group):
        return False
    biased = {getattr(part, "bias", None) is None for part in groups[0][:3]}
    gated = type(getattr(feed_forward, "act_fn", None)).__name__.startswith("SiLU")
    named = all(hasattr(layer, name) for name in ("input_layernorm", "post_attention_layernorm"))
    named &= all(hasattr(attention, name) for name in ("layer_idx", "head_dim"))
    return len(biased) == 1 and gated and named and "forward" not in vars(layer)


class _Recorder:
    """In place of a cache: keeps what it is told, and answers with a mixture of all of it."""

    def __init__(self) -> None:
        self.told: list[Tensor] = []
        self.layer = -1
        self.form = AttentionForm(scale=1.0)

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, form: AttentionForm) -> Tensor:
        self.told, self.layer, self.form = [query, key, value], layer, form
        return (query + key.mean(1, keepdim=True) - value.mean(1, keepdim=True)).transpose(1, 2)


def _asked(layer: Any, rows: int) -> AttentionForm | None:
    """The attention that a layer asks for, if it gives nearly what its fused form gives for a few made-up rows."""
    hidden = torch.linspace(-2, 3, 3 * layer.self_attn.q_proj.in_features).sin().view(3, 1, -1) / 4
    cos, sin = torch.linspace(-3, 2, 6 * layer.self_attn.head_dim).sin().view(2, 3, 1, -1).to(torch.bfloat16)
    hidden = hidden.to(torch.bfloat16)
    own, fused = _Recorder(), _Recorder()
    try:
        out = layer(
            hidden,
            attention_mask=None,
            position_embeddings=(cos, sin),
            past_key_values=None,
            use_cache=False,
            kv_cache=own,
        )
        again = _Fused(layer, rows, own.form).decode(hidden, (cos, sin), fused)
        pairs = [(out - hidden, again - hidden), *zip(own.told, fused.told, strict=True)]
    except (AttributeError, RuntimeError, TypeError, ValueError):
        return None
    close = all(float((one - other).norm()) <= _NOISE * float(one.norm()) for one, other in pairs)
    return own.form if close and own.layer == fused.layer else None
