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
from togi.models.attention_form import AttentionForm, attention_form

ATTENTION = "togi_cached"
_QUERIES = 512  # of a prompt that are looked at together, where every score is written down


class Attends(Protocol):
    """What an attention layer needs of a cache."""

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, form: AttentionForm
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
        self._past: Sequence[Prefix | None] = ()
        self._fresh: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._prefill = False
        # What one decoding step looks at: so many tokens of prompts and of the rows' own.
        self._common = self._seen = 0
        self._row_B = self._place_B = self._hidden_BT = self._behind_BT = torch.empty(0)
        self._masks: dict[int | None, torch.Tensor] = {}

    def begin_prefill(self, lengths: Sequence[int], past: Sequence[Prefix | None] = ()) -> None:
        """So many new tokens of each prompt come next, each after what is there of it already."""
        self._segments, end, self._past = [], 0, past or [None] * len(lengths)
        for length in lengths:
            self._segments.append((end, end + length))
            end += length
        self._fresh, self._prefill = {}, True

    def end_prefill(self) -> list[Prefix]:
        """The prompts' keys and values. Raises ValueError when some layer keeps its state elsewhere."""
        self._prefill = False
        shapes = {(keys[0].shape, values[0].shape) for keys, values in self._fresh.values()}
        if sorted(self._fresh) != list(range(self.layers)) or len(shapes) != 1:
            raise ValueError(
                f"of its {self.layers} layers {len(self._fresh)} attend through transformers' attention interface, "
                f"with keys and values of {len(shapes)} shapes; every layer must, with one shape"
            )
        layers = [self._fresh[layer] for layer in range(self.layers)]
        self._fresh, self._past = {}, ()
        return [
            Prefix(keys=[keys[number][0] for keys, _ in layers], values=[values[number][0] for _, values in layers])
            for number in range(len(self._segments))
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

    def sequence(self, row: int, length: int) -> Prefix:
        """A copy of the keys and values of a row's first ``length`` tokens."""
        shared = self._prompts.of_row(row)
        own = length - (len(shared) if shared else 0)
        keys, values = ([layer[row, :, :own] for layer in kept] for kept in (self._keys, self._values))
        if shared is None:
            return Prefix(keys=[key.clone() for key in keys], values=[value.clone() for value in values])
        return Prefix(
            keys=[torch.cat(both, 1) for both in zip(shared.keys, keys, strict=True)],
            values=[torch.cat(both, 1) for both in zip(shared.values, values, strict=True)],
        )

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
        common_BP = self._prompts.begin_decode(rows, self._keys[0].shape[1], device)
        self._common = common_BP.shape[1]
        at_T = torch.arange(self._seen, device=device)
        self._hidden_BT = torch.cat((common_BP, at_T > self._place_B[:, None]), 1)
        # How far behind its row's token each key stands: prompts begin at 0, what rows keep of their own after them.
        own_BT = at_T + torch.from_numpy(position_B - place_B).to(device)[:, None]
        key_BT = torch.cat((torch.arange(self._common, device=device).expand(rows, -1), own_BT), 1)
        self._behind_BT = torch.from_numpy(position_B).to(device)[:, None] - key_BT
        self._masks = {}

    def _mask(self, window: int | None) -> torch.Tensor:
        """What no token of a decoding step may see [B * K, 1, T], made once a step for all layers of one window."""
        if window not in self._masks:
            hidden_BT = self._hidden_BT if window is None else self._hidden_BT | (self._behind_BT >= window)
            hidden = hidden_BT.repeat_interleave(self._keys[0].shape[1], 0)[:, None]
            mask = torch.zeros_like(hidden, dtype=self._keys[0].dtype)
            self._masks[window] = mask.masked_fill_(hidden, -torch.inf)
        return self._masks[window]

    def _reserve(self, length: int) -> None:
        """Make every row hold ``length`` tokens, keeping what is there."""
        if length <= self.capacity:
            return
        capacity = rounded(length)
        for kept in (self._keys, self._values):
            for layer in range(self.layers):
                kept[layer] = _widened(kept[layer], capacity)
        self.capacity = capacity

    def _behind(self, new: torch.Tensor, past: Sequence[torch.Tensor | None]) -> list[torch.Tensor]:
        """A layer's new keys, or values, of each prompt behind what is there of it."""
        return [
            new[:, :, start:end] if before is None else torch.cat((before[None], new[:, :, start:end]), 2)
            for (start, end), before in zip(self._segments, past, strict=True)
        ]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, form: AttentionForm
    ) -> torch.Tensor:
        """Take in a layer's new keys and values [B, K, T, D] and give its output [B, T, H, D]."""
        if self._prefill:
            new_keys = self._behind(key, [past.keys[layer] if past else None for past in self._past])
            new_values = self._behind(value, [past.values[layer] if past else None for past in self._past])
            self._fresh[layer] = new_keys, new_values
            parts = [
                _causal(query[:, :, start:end], each_key, each_value, form)
                for (start, end), each_key, each_value in zip(self._segments, new_keys, new_values, strict=True)
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        rows, heads, _, width = query.shape
        keys, values = self._keys[layer], self._values[layer]
        keys[self._row_B, :, self._place_B] = key[:, :, 0]
        values[self._row_B, :, self._place_B] = value[:, :, 0]
        # Plain products: torch's fused attention takes twice as long where each row has one new token. Query heads that
        # share keys become query positions, so that no key is repeated.
        seen_keys, seen_values = (kept[:rows, :, : self._seen].flatten(0, 1) for kept in (keys, values))
        queries, mask = query.reshape(len(seen_keys), -1, width), self._mask(form.window)
        if form.plain and not self._common:
            scores = torch.baddbmm(mask, queries, seen_keys.transpose(1, 2), alpha=form.scale)
            return torch.bmm(torch.softmax(scores, -1), seen_values).view(rows, 1, heads, -1)
        scores = torch.bmm(queries, seen_keys.transpose(1, 2))
        if self._common:
            scores = torch.cat((self._prompts.scores(layer, queries), scores), -1)
        scores = torch.add(mask, scores, alpha=form.scale) if form.plain else form.bent(scores * form.scale) + mask
        weights = form.weights(scores, _sink(form, keys.shape[1], rows))
        own = weights[..., self._common :]
        if not self._common:
            return torch.bmm(own, seen_values).view(rows, 1, heads, -1)
        common = self._prompts.read(layer, weights[..., : self._common])
        return torch.baddbmm(common, own, seen_values).view(rows, 1, heads, -1)


def _causal(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, form: AttentionForm) -> torch.Tensor:
    """Attention within one sequence of T tokens, of whose last Q the queries are: [1, H, Q, D] and [1, K, T, D] ->
    [1, Q, H, D]."""
    heads, kv_heads, length = query.shape[1], key.shape[1], key.shape[2]
    before = length - query.shape[2]
    if form.plain and (form.window is None or form.window >= length):
        # Queries that follow what is there already: each sees that, and what is new up to itself.
        seen = None
        if before:
            seen = torch.ones(length - before, length, dtype=torch.bool, device=query.device).tril(before)
        return scaled_dot_product_attention(
            query, key, value, attn_mask=seen, is_causal=not before, scale=form.scale, enable_gqa=heads != kv_heads
        ).transpose(1, 2)
    parts = []
    for start in range(before, length, _QUERIES):
        end = min(start + _QUERIES, length)
        first = 0 if form.window is None else max(0, start - form.window + 1)
        behind = torch.arange(start, end, device=query.device)[:, None] - torch.arange(first, end, device=query.device)
        hidden = behind < 0 if form.window is None else (behind < 0) | (behind >= form.window)
        queries = query[0, :, start - before : end - before].reshape(kv_heads, -1, query.shape[3])  # [K, G * Q, D]
        scores = form.bent(torch.bmm(queries, key[0, :, first:end].transpose(1, 2)) * form.scale)
        scores = scores.masked_fill_(hidden.repeat(heads // kv_heads, 1), -torch.inf)
        sink = _sink(form, kv_heads, 1)
        weights = form.weights(scores, None if sink is None else sink.repeat_interleave(end - start, 1))
        parts.append(torch.bmm(weights, value[0, :, first:end]).view(heads, end - start, -1).transpose(0, 1)[None])
    return torch.cat(parts, 1)


def _sink(form: AttentionForm, kv_heads: int, rows: int) -> torch.Tensor | None:
    """The sinks of a layer's query heads, by key head: [H] -> [rows * K, G, 1]."""
    return None if form.sinks is None else form.sinks.view(kv_heads, -1, 1).repeat(rows, 1, 1)


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
    kv_cache: Attends | None = None,
    scaling: float | None = None,
    **further: Any,
) -> tuple[torch.Tensor, None]:
    """The function transformers calls in each attention layer. Raises ValueError for attention it does not compute."""
    layer = module.layer_idx
    assert isinstance(layer, int)
    if kv_cache is None:
        raise ValueError(f"{type(module).__name__} does not hand the arguments of the model's call on to its attention")
    form = attention_form(module, query, attention_mask, scaling, further)
    return kv_cache.attend(layer, query, key, value, form), None


AttentionInterface.register(ATTENTION, cached_attention)
