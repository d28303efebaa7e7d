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

from togi.engines.row_storage import RowStorage
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
    Between ``begin_prefill`` and ``end_prefill`` a model call takes several prompts laid end to end, after
    ``begin_further`` what follows in several rows; after ``begin_decode`` it takes one token for each of some rows.
    """

    def __init__(self, layers: int, rows: int, context: int) -> None:
        self.layers, self.rows, self.context = layers, rows, context
        self._keys, self._values = RowStorage(rows), RowStorage(rows)
        self._prompts = SharedPrompts(rows)
        self._segments: list[tuple[int, int]] = []
        self._further: list[tuple[int, int, Prefix | None]] = []
        self._begun: list[Prefix | None] = []
        self._fresh: dict[int, tuple[list[torch.Tensor], list[torch.Tensor]]] = {}
        self._prefill = False
        # What one decoding step looks at: so many rows, those that wait among them; tokens of prompts and of their own.
        self._span = self._common = self._seen = 0
        self._row_B = self._place_B = self._hidden_ST = self._behind_ST = torch.empty(0)
        self._masks: dict[int | None, torch.Tensor] = {}
        self._causal_masks: dict[tuple[int, int], torch.Tensor] = {}

    @property
    def capacity(self) -> int:
        """How many tokens of its own a row can hold."""
        return self._keys.capacity

    def begin_prefill(self, lengths: Sequence[int], begun: Sequence[Prefix | None] = ()) -> None:
        """So many tokens of each prompt come next, after those that it has ``begun`` with."""
        self._segments, end, self._further = [], 0, []
        for length in lengths:
            self._segments.append((end, end + length))
            end += length
        self._begun = list(begun) or [None] * len(lengths)
        self._fresh, self._prefill, self._causal_masks = {}, True, {}

    def begin_further(self, rows: Sequence[int], begun: Sequence[int], lengths: Sequence[int]) -> None:
        """So many tokens come next in each row, after those that it has ``begun`` with."""
        self.begin_prefill(lengths)
        for row, there in zip(rows, begun, strict=True):
            shared = self._prompts.of_row(row)
            self._further.append((row, there - (len(shared) if shared else 0), shared))
        self._reserve(max(own + length for (_, own, _), length in zip(self._further, lengths, strict=True)) + 1)

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
        self._fresh = {}
        return [
            Prefix(keys=[keys[number][0] for keys, _ in layers], values=[values[number][0] for _, values in layers])
            for number in range(len(self._segments))
        ]

    def place(self, prefix: Prefix, rows: Sequence[int], *, shared: bool) -> None:
        """Let rows begin with a prompt: they share it, with rows of other calls too, or have copies at their front."""
        self._keys.open(prefix.keys)
        self._values.open(prefix.values)
        if shared:
            self._prompts.place(prefix, rows)
            return
        self._prompts.leave(rows)
        self._reserve(len(prefix) + 1)
        self._keys.put(prefix.keys, rows)
        self._values.put(prefix.values, rows)

    def copied(self, row: int, length: int) -> Prefix:
        """The keys and values of a row's first so many tokens, with those that it shares."""
        shared = self._prompts.of_row(row)
        own = length - len(shared or ())
        return Prefix(
            keys=self._keys.copied(row, own, shared.keys if shared else ()),
            values=self._values.copied(row, own, shared.values if shared else ()),
        )

    def end_further(self) -> None:
        self._prefill, self._fresh, self._further = False, {}, []

    def move(self, source: int, target: int, length: int) -> None:
        """Put the first ``length`` tokens of a row in the place of another row."""
        self._prompts.move(source, target)
        own = length - int(self._prompts.lengths(self.rows)[target])
        for kept in (self._keys, self._values):
            kept.move(source, target, own)

    def exchange(self, one: int, other: int, lengths: tuple[int, int]) -> None:
        """Let two rows change places, which have so many tokens."""
        shared = self._prompts.lengths(self.rows)
        own = lengths[0] - int(shared[one]), lengths[1] - int(shared[other])
        self._prompts.exchange(one, other)
        for kept in (self._keys, self._values):
            kept.exchange(one, other, own)

    def begin_decode(self, row_B: NDArray[np.int64], position_B: NDArray[np.int64], device: torch.device) -> None:
        """These rows, in their order, each take a token at ``position_B``. Attention looks at all rows up to the last
        of them, since those between, which wait, cost less than moving the others together."""
        self._span = span = int(row_B[-1]) + 1
        before_S = self._prompts.lengths(span)
        place_S = np.zeros(span, dtype=np.int64)
        place_S[row_B] = position_B - before_S[row_B]
        longest = int(place_S.max()) + 1
        self._reserve(longest)
        self._seen = looked_at(longest, self.capacity)
        place_S1 = torch.from_numpy(place_S).to(device)[:, None]
        self._row_B = torch.from_numpy(row_B).to(device)
        self._place_B = place_S1[self._row_B, 0]
        common_SP = self._prompts.begin_decode(span, self._keys[0].shape[1], device)
        self._common = common_SP.shape[1]
        at_T = torch.arange(self._seen, device=device)
        self._hidden_ST = torch.cat((common_SP, at_T > place_S1), 1)
        # How far behind its row's token each key stands: prompts begin at 0, what rows keep of their own after them.
        before_S1 = torch.from_numpy(before_S).to(device)[:, None]
        key_ST = torch.cat((torch.arange(self._common, device=device).expand(span, -1), at_T + before_S1), 1)
        self._behind_ST = place_S1 + before_S1 - key_ST
        self._masks = {}

    def _mask(self, window: int | None) -> torch.Tensor:
        """What no token of a decoding step may see [S * K, 1, T], made once a step for all layers of one window."""
        if window not in self._masks:
            hidden_ST = self._hidden_ST if window is None else self._hidden_ST | (self._behind_ST >= window)
            hidden = hidden_ST.repeat_interleave(self._keys[0].shape[1], 0)[:, None]
            mask = torch.zeros_like(hidden, dtype=self._keys[0].dtype)
            self._masks[window] = mask.masked_fill_(hidden, -torch.inf)
        return self._masks[window]

    def _reserve(self, length: int) -> None:
        """Make every row hold ``length`` tokens, keeping what is there."""
        if length <= self.capacity:
            return
        for kept in (self._keys, self._values):
            kept.widen(rounded(length))

    def _behind(self, layer: int, key: torch.Tensor, value: torch.Tensor) -> tuple[list[torch.Tensor], ...]:
        """The keys and the values of each row [1, K, T, D], with those that are new behind those that are there."""
        sides: tuple[list[torch.Tensor], list[torch.Tensor]] = ([], [])
        for (start, end), (row, own, shared) in zip(self._segments, self._further, strict=True):
            for side, new, kept in zip(sides, (key, value), (self._keys[layer], self._values[layer]), strict=True):
                kept[row, :, own : own + end - start] = new[0, :, start:end]
                side.append(kept[row : row + 1, :, : own + end - start])
            if shared is not None:
                for side, before in zip(sides, (shared.keys[layer], shared.values[layer]), strict=True):
                    side[-1] = torch.cat((before[None], side[-1]), 2)
        return sides

    def _causal_mask(self, new: int, length: int, device: torch.device) -> torch.Tensor | None:
        """What the last ``new`` of so many tokens may see [new, length]: what was there, what is new up to itself."""
        if new == length:
            return None
        if (new, length) not in self._causal_masks:
            seen = torch.ones(new, length, dtype=torch.bool, device=device)
            self._causal_masks[new, length] = seen.tril(length - new)
        return self._causal_masks[new, length]

    def attend(
        self, layer: int, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, form: AttentionForm
    ) -> torch.Tensor:
        """Take in a layer's new keys and values [B, K, T, D] and give its output [B, T, H, D]."""
        if self._prefill:
            if self._further:
                keys_, values_ = self._behind(layer, key, value)
            else:
                prompts = list(zip(self._segments, self._begun, strict=True))
                keys_ = [_after(begun.keys[layer] if begun else None, key[:, :, a:b]) for (a, b), begun in prompts]
                values_ = [
                    _after(begun.values[layer] if begun else None, value[:, :, a:b]) for (a, b), begun in prompts
                ]
                self._fresh[layer] = keys_, values_
            parts = [
                _causal(query[:, :, a:b], k, v, form, self._causal_mask(b - a, k.shape[2], query.device))
                for (a, b), k, v in zip(self._segments, keys_, values_, strict=True)
            ]
            return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)
        keys, values = self._keys[layer], self._values[layer]
        keys[self._row_B, :, self._place_B] = key[:, :, 0]
        values[self._row_B, :, self._place_B] = value[:, :, 0]
        if len(query) == self._span:
            return self._attended(query, keys, values, layer, form)
        spread = query.new_zeros(self._span, *query.shape[1:]).index_copy(0, self._row_B, query)
        return self._attended(spread, keys, values, layer, form).index_select(0, self._row_B)

    def _attended(
        self, query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, layer: int, form: AttentionForm
    ) -> torch.Tensor:
        """What the first rows' tokens take from all that they may see [S, 1, H, D]."""
        rows, heads, _, width = query.shape
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


def _causal(
    query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, form: AttentionForm, seen: torch.Tensor | None
) -> torch.Tensor:
    """Attention within one sequence of T tokens, of whose last Q the queries are: [1, H, Q, D] and [1, K, T, D] ->
    [1, Q, H, D]. ``seen`` [Q, T] is what each of them may see, where they are not all of it."""
    heads, kv_heads, length = query.shape[1], key.shape[1], key.shape[2]
    before = length - query.shape[2]
    if form.plain and (form.window is None or form.window >= length):
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


def _after(begun: torch.Tensor | None, new: torch.Tensor) -> torch.Tensor:
    """New keys or values of one prompt [1, K, T, D] behind those that it began with [K, P, D]."""
    return new if begun is None else torch.cat((begun[None], new), 2)


def _sink(form: AttentionForm, kv_heads: int, rows: int) -> torch.Tensor | None:
    """The sinks of a layer's query heads, by key head: [H] -> [rows * K, G, 1]."""
    return None if form.sinks is None else form.sinks.view(kv_heads, -1, 1).repeat(rows, 1, 1)


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
