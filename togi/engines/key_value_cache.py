"""Attention over keys and values that are allocated once and written in place; knows no sampling and no schedule.

It reaches any model that dispatches its attention through transformers' ``AttentionInterface``: the cache travels as
a keyword argument of the model's call, and each attention layer hands its new keys and values over. Axes: B rows,
H query heads, K key-value heads, T tokens, D head width.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

from togi.engines.shared_prompts import Prefix, SharedPrompts, looked_at, rounded

ATTENTION = "togi_cached"


class Attends(Protocol):
    """What an attention layer needs of a cache."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """Take in a layer's new keys and values [B, K, T, D] and give its output [B, T, H, D]."""


class KeyValueCache:
    """Keys and values of ``rows`` sequences, [rows, K, capacity, D] for each layer, at the front of each row; prompts
    with several attempts are elsewhere, once.

    Each layer has tensors of its own: they fit where learning has left its memory, which one large tensor does not.
    The capacity is hardly more than the longest sequence, since a matrix product copies keys that do not lie one after
    the other; copying them when it grows is an eighth of the reading that attention does. Between ``begin_prefill`` and
    ``end_prefill`` a model call takes several prompts laid end to end; after ``begin_decode`` it takes one token for
    each of the first rows.
    """

    def __init__(self, layers: int, rows: int, context: int) -> None:
        self.layers, self.rows, self.context = layers, rows, context
        self.capacity = 0
        self._keys: list[torch.Tensor] = []
        self._values: list[torch.Tensor] = []
        self._prompts = SharedPrompts(rows)
        self._segments: list[tuple[int, int]] = []
        self._fresh: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        self._prefill = False
        # What one decoding step looks at: so many tokens of prompts and of the rows' own.
        self._common = self._seen = 0
        self._row_B = self._place_B = self._mask = torch.empty(0)

    def begin_prefill(self, lengths: Sequence[int]) -> None:
        self._segments, end = [], 0
        for length in lengths:
            self._segments.append((end, end + length))
            end += length
        self._fresh, self._prefill = {}, True

    def end_prefill(self) -> list[Prefix]:
        """The prompts' keys and values. Raises ValueError when some layer keeps its state elsewhere."""
        self._prefill = False
        shapes = {(key.shape, value.shape) for key, value in self._fresh.values()}
        if sorted(self._fresh) != list(range(self.layers)) or len(shapes) != 1:
            raise ValueError(
                f"this model cannot be sampled natively: of its {self.layers} layers {len(self._fresh)} use plain "
                "attention through transformers' attention interface, with keys and values of "
                f"{len(shapes)} shapes; every layer must, with one shape"
            )
        keys = [self._fresh[layer][0][0] for layer in range(self.layers)]
        values = [self._fresh[layer][1][0] for layer in range(self.layers)]
        self._fresh = {}
        return [
            Prefix(keys=[key[:, start:end] for key in keys], values=[value[:, start:end] for value in values])
            for start, end in self._segments
        ]

    def place(self, prefix: Prefix, rows: Sequence[int], *, shared: bool) -> None:
        """Let rows begin with a prompt: they share it, with rows of other calls too, or have copies at their front."""
        if not self.capacity:
            self._keys = [key.new_empty(self.rows, key.shape[0], 0, key.shape[2]) for key in prefix.keys]
            self._values = [value.new_empty(self.rows, value.shape[0], 0, value.shape[2]) for value in prefix.values]
        if shared:
            self._prompts.place(prefix, rows)
            return
        self._prompts.leave(rows)
        self._reserve(len(prefix) + 1)
        for kept, new in ((self._keys, prefix.keys), (self._values, prefix.values)):
            for layer, one in zip(kept, new, strict=True):
                for row in rows:
                    layer[row, :, : len(prefix)] = one

    def move(self, source: int, target: int, length: int) -> None:
        """Put the first ``length`` tokens of a row in the place of another row."""
        self._prompts.move(source, target)
        own = length - self._prompts.lengths(self.rows)[target]
        for layer in (*self._keys, *self._values):
            layer[target, :, :own] = layer[source, :, :own]

    def begin_decode(self, position_B: NDArray[np.int64], device: torch.device) -> None:
        """Rows 0..B-1 each take a token at ``position_B``."""
        rows = len(position_B)
        place_B = position_B - self._prompts.lengths(rows)
        longest = int(place_B.max()) + 1
        self._reserve(longest)
        self._seen = looked_at(longest, self.capacity)
        self._row_B, self._place_B = torch.arange(rows, device=device), torch.from_numpy(place_B).to(device)
        heads, dtype = self._keys[0].shape[1], self._keys[0].dtype
        common_BP = self._prompts.begin_decode(rows, heads, device)
        self._common = common_BP.shape[1]
        ahead_BT = torch.arange(self._seen, device=device) > self._place_B[:, None]
        hidden = torch.cat((common_BP, ahead_BT), 1).repeat_interleave(heads, 0)[:, None]
        self._mask = torch.zeros_like(hidden, dtype=dtype).masked_fill_(hidden, -torch.inf)

    def _reserve(self, length: int) -> None:
        """Make every row hold ``length`` tokens, keeping what is there."""
        if length <= self.capacity:
            return
        capacity = rounded(length)
        for kept in (self._keys, self._values):
            for layer in range(self.layers):
                kept[layer] = _widened(kept[layer], capacity)
        self.capacity = capacity

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None
    ) -> torch.Tensor:
        """Take in a layer's new keys and values [B, K, T, D] and give its output [B, T, H, D]."""
        if self._prefill:
            self._fresh[layer] = key, value
            grouped = query.shape[1] != key.shape[1]
            parts = [
                scaled_dot_product_attention(
                    query[:, :, start:end],
                    key[:, :, start:end],
                    value[:, :, start:end],
                    is_causal=True,
                    scale=scaling,
                    enable_gqa=grouped,
                ).transpose(1, 2)
                for start, end in self._segments
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        rows, heads, _, width = query.shape
        keys, values = self._keys[layer], self._values[layer]
        keys[self._row_B, :, self._place_B] = key[:, :, 0]
        values[self._row_B, :, self._place_B] = value[:, :, 0]
        # Plain products: torch's fused attention takes twice as long where each row has one new token. Query heads that
        # share keys become query positions, so that no key is repeated.
        seen_keys, seen_values = (kept[:rows, :, : self._seen].flatten(0, 1) for kept in (keys, values))
        queries, scale = query.reshape(len(seen_keys), -1, width), width**-0.5 if scaling is None else scaling
        if not self._common:
            scores = torch.baddbmm(self._mask, queries, seen_keys.transpose(1, 2), alpha=scale)
            return torch.bmm(torch.softmax(scores, -1), seen_values).view(rows, 1, heads, -1)
        scores = torch.cat((self._prompts.scores(layer, queries), torch.bmm(queries, seen_keys.transpose(1, 2))), -1)
        weights = torch.softmax(torch.add(self._mask, scores, alpha=scale), -1)
        common = self._prompts.read(layer, weights[..., : self._common])
        return torch.baddbmm(common, weights[..., self._common :], seen_values).view(rows, 1, heads, -1)


def _widened(old: torch.Tensor, capacity: int) -> torch.Tensor:
    """Room for ``capacity`` tokens. Zeros in it, since attention multiplies what it masks by nought, which must be
    finite."""
    new = old.new_empty(*old.shape[:2], capacity, old.shape[3])
    length = old.shape[2]
    new[:, :, :length] = old
    new[:, :, length:] = 0
    return new


def cached_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    kv_cache: KeyValueCache,
    scaling: float | None = None,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: torch.Tensor | None = None,
    position_bias: torch.Tensor | None = None,
    **_: Any,  # models add arguments of other kernels
) -> tuple[torch.Tensor, None]:
    """The function transformers calls in each attention layer. Raises ValueError for attention it does not compute."""
    if softcap is not None or s_aux is not None or position_bias is not None or attention_mask is not None:
        raise ValueError(
            f"{type(module).__name__} uses soft-capping, attention sinks, a position bias or a mask of its own; "
            "only plain causal attention can be sampled natively"
        )
    if sliding_window is not None and sliding_window < kv_cache.context:
        raise ValueError(
            f"{type(module).__name__} attends to a sliding window of {sliding_window} tokens, which is less than the "
            f"context of {kv_cache.context}; give max_context={sliding_window} or less"
        )
    layer = module.layer_idx
    assert isinstance(layer, int)
    return kv_cache.attend(layer, query, key, value, scaling), None


AttentionInterface.register(ATTENTION, cached_attention)
