"""Attention over a prefix trie, offered to transformers models as one more attention implementation.

It knows queries, keys, values and which of them belong together (`Block`); it does not know tokens or samples. Each
block is a batch of rows of similar size: a row's queries see the keys of its own path up to their own position, or the
last of them. The backward pass gathers the shared keys and recomputes the weights, so nothing grows with the number of
sharing rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel

from togi.models.attention_form import AttentionForm, attention_form

NAME = "togi_trie"


@dataclass(frozen=True, kw_only=True, eq=False)
class Block:
    """One attention call: R rows of Q queries and K keys, as node numbers, padded with node 0. Queries are numbered
    from the first node that is computed now.

    ``position_RQ`` is each query's position on its path (0 on padding), ``used_RQ`` is false on padding. Key column k
    holds position k of the row's path, so a query at position p may see columns 0 to p.
    """

    query_RQ: Tensor
    key_RK: Tensor
    position_RQ: Tensor
    used_RQ: Tensor


@dataclass(frozen=True, kw_only=True, eq=False)
class _Call:
    """A block for one number of heads: flat row numbers into [N * heads, D], and what a query may see
    [R, 1, 1, Q, K], where every query sees the first ``unmasked`` keys."""

    query: Tensor
    key: Tensor
    mask: Tensor
    unmasked: int
    used: Tensor | None
    batch: int


class Plan:
    """The blocks of one layout; ``answer_N`` tells where, in the blocks' queries laid end to end, each node is."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = tuple(blocks)
        self._calls: dict[tuple[int, int, int | None, torch.dtype], tuple[list[_Call], Tensor]] = {}

    def calls(self, heads: int, kv_heads: int, window: int | None, dtype: torch.dtype) -> tuple[list[_Call], Tensor]:
        """The calls, and for each [node, head] its row among all the calls' answers; made once for all layers."""
        wanted = (heads, kv_heads, window, dtype)
        if wanted not in self._calls:
            self._calls[wanted] = self._build(*wanted)
        return self._calls[wanted]

    def _build(self, heads: int, kv_heads: int, window: int | None, dtype: torch.dtype) -> tuple[list[_Call], Tensor]:
        group = heads // kv_heads
        calls, answered = [], []
        for block in self.blocks:
            device = block.query_RQ.device
            head = torch.arange(heads, device=device).view(1, kv_heads, group, 1)
            kv_head = torch.arange(kv_heads, device=device).view(1, kv_heads, 1)
            rows, keys = block.key_RK.shape
            # The queries of the heads that share a key head lie one after the other: [R, Hkv, G, Q].
            query = block.query_RQ.view(rows, 1, 1, -1) * heads + head
            used = block.used_RQ.view(rows, 1, 1, -1).expand_as(query)
            column = torch.arange(keys, device=device)
            ahead = column - block.position_RQ.unsqueeze(-1)
            hidden = ahead > 0
            if window is not None:
                hidden |= ahead <= -window
            mask = torch.zeros(hidden.shape, dtype=dtype, device=device).masked_fill_(hidden, float("-inf"))
            masked = torch.nonzero((hidden & block.used_RQ.unsqueeze(-1)).any(1).any(0))
            calls.append(
                _Call(
                    query=query.reshape(-1),
                    key=(block.key_RK.view(rows, 1, keys) * kv_heads + kv_head).reshape(-1),
                    mask=mask.view(rows, 1, 1, -1, keys),
                    unmasked=int(masked[0]) if len(masked) else keys,
                    used=None if bool(block.used_RQ.all()) else used.reshape(rows * kv_heads, -1, 1).to(dtype),
                    batch=rows * kv_heads,
                )
            )
            answered.append(torch.where(used, query, -1).reshape(-1))
        flat = torch.cat(answered)
        real = torch.nonzero(flat >= 0).squeeze(1)
        answer = torch.empty_like(real)
        answer[flat[real]] = real
        return calls, answer


class _TrieAttention(torch.autograd.Function):
    """softmax(bent(q k^T)) v, row by row; q [N*H, D] is scaled, k and v [N*Hkv, D], sinks [H]; gives [N*H, D]."""

    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        sinks: Tensor | None,
        form: AttentionForm,
        calls: list[_Call],
        answer: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(q, k, v)
        ctx.sinks, ctx.form, ctx.calls, ctx.answer = sinks, form, calls, answer
        parts = []
        for call in calls:
            weights, _ = _weights(q, k, call, form)
            parts.append(torch.bmm(weights, _rows(v, call.key, call)).flatten(0, 1))
        return torch.cat(parts).index_select(0, answer)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        grad = grads[0].contiguous()
        wide = torch.promote_types(q.dtype, torch.float32)
        grad_k = torch.zeros(k.shape, dtype=wide, device=k.device)
        grad_v = torch.zeros(v.shape, dtype=wide, device=v.device)
        grad_sinks = None if ctx.sinks is None else torch.zeros(ctx.sinks.shape, dtype=wide, device=q.device)
        parts = []
        for call in ctx.calls:
            weights, bend = _weights(q, k, call, ctx.form, slope=True)
            grad_out = _rows(grad, call.query, call)
            if call.used is not None:
                grad_out = grad_out * call.used
            grad_v.index_add_(0, call.key, torch.bmm(weights.transpose(1, 2), grad_out).flatten(0, 1).to(wide))
            grad_weights = torch.bmm(grad_out, _rows(v, call.key, call).transpose(1, 2))
            if grad_sinks is not None:
                # A sink has weight 1 - sum(weights) and no value: d/d sink = -its weight * sum(weights * grad).
                taken = (1 - weights.to(wide).sum(-1)) * (weights * grad_weights).to(wide).sum(-1)
                grad_sinks -= taken.view(-1, len(grad_sinks), call.mask.shape[3]).sum((0, 2))
            grad_scores = torch._softmax_backward_data(grad_weights, weights, -1, weights.dtype)
            if bend is not None:
                grad_scores = grad_scores * bend
            parts.append(torch.bmm(grad_scores, _rows(k, call.key, call)).flatten(0, 1))
            grad_k.index_add_(
                0, call.key, torch.bmm(grad_scores.transpose(1, 2), _rows(q, call.query, call)).flatten(0, 1).to(wide)
            )
        grad_q = torch.cat(parts).index_select(0, ctx.answer)
        grad_sinks = None if grad_sinks is None else grad_sinks.to(ctx.sinks.dtype)
        return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype), grad_sinks, None, None, None


def _rows(x: Tensor, index: Tensor, call: _Call) -> Tensor:
    return x.index_select(0, index).view(call.batch, -1, x.shape[-1])


def _weights(
    q: Tensor, k: Tensor, call: _Call, form: AttentionForm, *, slope: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Attention weights [R * Hkv, G * Q, K], and with ``slope`` what a soft cap multiplies gradients by; what padded
    queries give is read by nobody."""
    scores = torch.bmm(_rows(q, call.query, call), _rows(k, call.key, call).transpose(1, 2))
    scores = form.bent(scores)
    bend = 1 - (scores / form.softcap).square() if slope and form.softcap is not None else None
    rows, queries = call.mask.shape[0], call.mask.shape[3]
    by_head = (rows, call.batch // rows, -1, queries)
    scores.view(*by_head, scores.shape[-1])[..., call.unmasked :].add_(call.mask[..., call.unmasked :])
    sink = None
    if form.sinks is not None:
        # One score a query head: [1, Hkv, G, 1, 1] -> [R * Hkv, G * Q, 1].
        each = form.sinks.detach().view(1, by_head[1], -1, 1, 1)
        sink = each.expand(rows, -1, -1, queries, 1).reshape(call.batch, -1, 1)
    return form.weights(scores, sink), bend


class _Active:
    """The plan of the forward pass under way; one process runs one at a time."""

    plan: Plan | None = None


def _attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **further: Any,
) -> tuple[Tensor, None]:
    """transformers' attention function: query [1, H, N, D], key and value [1, Hkv, N', D], gives [1, N, H, D]. There
    are more keys than queries where those of nodes that were computed before were kept."""
    plan = _Active.plan
    assert plan is not None, "packed attention outside of a packed forward pass"
    if dropout:
        raise ValueError("packed attention does not know dropout: use the padded forward")
    form = attention_form(module, query, attention_mask, scaling, further)
    heads, kv_heads, nodes, keys = query.shape[1], key.shape[1], query.shape[2], key.shape[2]
    calls, answer = plan.calls(heads, kv_heads, form.window, query.dtype)
    out = _TrieAttention.apply(  # type: ignore[no-untyped-call]
        (query * form.scale).transpose(1, 2).reshape(nodes * heads, -1),
        key.transpose(1, 2).reshape(keys * kv_heads, -1),
        value.transpose(1, 2).reshape(keys * kv_heads, -1),
        form.sinks,
        form,
        calls,
        answer,
    )
    return out.view(1, nodes, heads, -1), None


AttentionInterface.register(NAME, _attend)


@contextmanager
def trie_attention(model: PreTrainedModel, plan: Plan) -> Iterator[None]:
    """Let the model attend along the plan's paths; its own implementation is put back afterwards."""
    own = model.config._attn_implementation
    model.set_attn_implementation(NAME)
    _Active.plan = plan
    try:
        yield
    finally:
        _Active.plan = None
        model.set_attn_implementation(own)
