"""Lays the distinct tokens of many samples out once, and runs a causal language model over that layout.

It knows token ids, positions and attention; it does not know losses, rewards, optimisers or what the samples are for.
Samples that share a prefix (attempts at one prompt, turns of one history, branches of one trunk) share its tokens,
which are computed once. The layout is a prefix trie: a token is shared exactly where the whole prefix is equal.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from transformers import PreTrainedModel

from togi.batch import collate
from togi.models.attention import Block, Plan, trie_attention
from togi.models.projection import token_log_probs
from togi.types import LOGP, Batch, Output, Outputs, Sample

IntArray = NDArray[np.int64]

# One attention call costs about as much as this many query-key pairs: below it, padding is cheaper than a further call.
_CALL_IN_PAIRS = 1 << 15
# Bounds of one call, so that its score matrices stay small whatever the context length.
_MAX_QUERIES = 512
# Sizes are rounded up to these: a matrix product of a new shape is first compiled, and freed memory of an old shape
# does not fit it.
_NODES, _SIDE = 64, 16
_MAX_PAIRS = 1 << 20


@dataclass(frozen=True, kw_only=True, eq=False)
class Piece:
    """Consecutive new tokens of one path: queries ``path[start:]``, keys the whole ``path``. Nodes are layout rows."""

    path: IntArray
    start: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Trie:
    """Distinct tokens in depth-first order.

    ``ids_N`` and ``position_N`` describe the N nodes, ``nodes[b][t]`` is the node of token t of sample b, and
    ``pieces`` together hold every node exactly once as a query.
    """

    ids_N: IntArray
    position_N: IntArray
    nodes: tuple[IntArray, ...]
    pieces: tuple[Piece, ...]


def layout(samples: Sequence[Sample]) -> Trie:
    """Lay every distinct token of the samples out once; N is the number of distinct non-empty prefixes.

    In lexicographic order a sample shares with all earlier ones exactly what it shares with its predecessor, so one
    pass over neighbours finds every shared prefix. Equal sets of samples give equal layouts in whatever order.
    """
    order = sorted(range(len(samples)), key=lambda b: samples[b].ids.tolist())
    nodes: list[IntArray] = [np.zeros(0, np.int64)] * len(samples)
    new_ids, new_positions, paths = [], [], []
    count = 0
    for rank, b in enumerate(order):
        ids = samples[b].ids
        before = order[rank - 1] if rank else b
        shared = _common_prefix(samples[before].ids, ids) if rank else 0
        fresh = np.arange(count, count + len(ids) - shared, dtype=np.int64)
        nodes[b] = np.concatenate((nodes[before][:shared], fresh))
        count += len(fresh)
        new_ids.append(ids[shared:])
        new_positions.append(np.arange(shared, len(ids), dtype=np.int64))
        paths.append((nodes[b], shared))
    return Trie(
        ids_N=np.concatenate(new_ids) if new_ids else np.zeros(0, np.int64),
        position_N=np.concatenate(new_positions) if new_positions else np.zeros(0, np.int64),
        nodes=tuple(nodes),
        pieces=tuple(_pieces(paths)),
    )


def packed_length(samples: Sequence[Sample]) -> int:
    """Number of distinct tokens of the samples, which is what a forward pass over them costs."""
    rows = sorted(sample.ids.tolist() for sample in samples)
    lengths = [len(row) for row in rows]
    shared = [_common_prefix(np.asarray(a), np.asarray(b)) for a, b in itertools.pairwise(rows)]
    return sum(lengths) - sum(shared)


def _common_prefix(a: IntArray, b: IntArray) -> int:
    length = min(len(a), len(b))
    differs = np.flatnonzero(a[:length] != b[:length])
    return int(differs[0]) if len(differs) else length


def _pieces(paths: Sequence[tuple[IntArray, int]]) -> Iterator[Piece]:
    """Cut each path's new tokens where later paths leave it, and at the longest allowed query."""
    for i, (path, shared) in enumerate(paths):
        cuts = {shared, len(path)}
        reach = len(path)
        for _, leaves in paths[i + 1 :]:
            # A later path leaves this one where the smallest overlap on the way to it ends.
            reach = min(reach, leaves)
            if reach <= shared:
                break
            cuts.add(reach)
        cuts.update(range(shared, len(path), _MAX_QUERIES))
        edges = sorted(cut for cut in cuts if cut >= shared)
        for start, end in itertools.pairwise(edges):
            yield Piece(path=path[:end], start=start)


def _filled(trie: Trie) -> Trie:
    """The trie with a path of its own at the end that nothing reads, up to a round number of nodes."""
    count = len(trie.ids_N)
    filler = np.arange(_rounded(count, _NODES) - count, dtype=np.int64)
    return Trie(
        ids_N=np.concatenate((trie.ids_N, np.zeros_like(filler))),
        position_N=np.concatenate((trie.position_N, filler)),
        nodes=trie.nodes,
        pieces=(*trie.pieces, Piece(path=count + filler, start=0)) if len(filler) else trie.pieces,
    )


def _rounded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def plan(trie: Trie, device: torch.device) -> Plan:
    """Collect pieces of similar size into attention calls, padding queries and keys to the longest of the call."""
    order = sorted(trie.pieces, key=lambda piece: (len(piece.path) - piece.start, len(piece.path)))
    chosen: list[list[Piece]] = []
    queries = keys = 0
    for piece in order:
        q, k = len(piece.path) - piece.start, len(piece.path)
        if chosen:
            rows = len(chosen[-1])
            joined = (rows + 1) * max(q, queries) * max(k, keys)
            if joined <= rows * queries * keys + q * k + _CALL_IN_PAIRS and joined <= _MAX_PAIRS:
                chosen[-1].append(piece)
                queries, keys = max(q, queries), max(k, keys)
                continue
        chosen.append([piece])
        queries, keys = q, k
    return Plan([_block(pieces, device) for pieces in chosen])


def _block(pieces: Sequence[Piece], device: torch.device) -> Block:
    queries = _rounded(max(len(piece.path) - piece.start for piece in pieces), _SIDE)
    keys = _rounded(max(len(piece.path) for piece in pieces), _SIDE)
    query_RQ = np.zeros((len(pieces), queries), np.int64)
    key_RK = np.zeros((len(pieces), keys), np.int64)
    position_RQ = np.zeros((len(pieces), queries), np.int64)
    used_RQ = np.zeros((len(pieces), queries), np.bool_)
    for row, piece in enumerate(pieces):
        end, length = len(piece.path), len(piece.path) - piece.start
        query_RQ[row, :length] = piece.path[piece.start :]
        key_RK[row, :end] = piece.path
        position_RQ[row, :length] = np.arange(piece.start, end)
        used_RQ[row, :length] = True
    arrays = (torch.from_numpy(a).to(device) for a in (query_RQ, key_RK, position_RQ, used_RQ))
    query, key, position, used = arrays
    return Block(query_RQ=query, key_RK=key, position_RQ=position, used_RQ=used)


class PackedModel:
    """The differentiable view of a causal language model that computes shared prefixes once.

    Gives what `padded_outputs` gives, and is that for a model it cannot pack: one that does not attend through
    transformers' attention interface, or whose logits are not its output embedding times its last hidden state. Which
    of the two is found out once, by comparing them on a few tokens.
    """

    def __init__(self, hf_model: nn.Module) -> None:
        self._model = pretrained(hf_model)
        head = self._model.get_output_embeddings()
        if head is None:
            raise ValueError(f"{type(self._model).__name__} has no output embedding: a causal language model is wanted")
        self._head = head
        self.packs = type(head) is nn.Linear and head.bias is None and self._agrees()
        """False for a model that packing does not fit (other attention, logits changed afterwards): it is padded."""

    def _agrees(self) -> bool:
        """Whether a few branching tokens get the padded forward's log-probabilities."""
        rows = [[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 6]]
        samples = [_plain(np.asarray(row) % self._head.weight.shape[0]) for row in rows]
        batch = collate(samples)
        with torch.no_grad():
            padded = padded_outputs(self._model, batch).logp_BT
            try:
                packed = self._packed(batch, LOGP).logp_BT
            except ValueError:
                return False
        tolerance = 0.25 if self._head.weight.dtype in (torch.bfloat16, torch.float16) else 1e-3
        return torch.allclose(packed, padded, rtol=0.02, atol=tolerance)

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        if not self.packs:
            return padded_outputs(self._model, batch, outputs)
        return self._packed(batch, outputs)

    def _packed(self, batch: Batch, outputs: frozenset[Output]) -> Outputs:
        entropy = "entropy" in outputs
        device = batch.ids_BT.device
        trie = layout(batch.samples)
        scored = _scored(trie, batch)
        trie = _filled(trie)
        with trie_attention(self._model, plan(trie, device)):
            hidden_ND = self._model.get_decoder()(
                input_ids=torch.from_numpy(trie.ids_N).to(device)[None],
                position_ids=torch.from_numpy(trie.position_N).to(device)[None],
                use_cache=False,
            ).last_hidden_state[0]
        x_MD = hidden_ND.index_select(0, scored.node_M) / scored.temperature_M[:, None].to(hidden_ND.dtype)
        logp_P, entropy_M = token_log_probs(x_MD, self._head.weight, scored.row_P, scored.token_P, entropy=entropy)
        shape = batch.mask_BT.shape
        logp_BT = logp_P.new_zeros(shape).index_put((scored.b, scored.t), logp_P[scored.pair])
        if not entropy:
            return Outputs(logp_BT=logp_BT)
        entropy_BT = entropy_M.new_zeros(shape).index_put((scored.b, scored.t), entropy_M[scored.row_P[scored.pair]])
        return Outputs(logp_BT=logp_BT, entropy_BT=entropy_BT)


@dataclass(frozen=True, kw_only=True, eq=False)
class _Scored:
    """What is projected: M rows (a node at a temperature), P (row, next token) pairs, and where each pair is read.

    Rows that no pair looks at stand at the end, up to a round number. ``b``, ``t`` and ``pair`` have one entry for each
    scored position of the batch.
    """

    node_M: Tensor
    temperature_M: Tensor
    row_P: Tensor
    token_P: Tensor
    b: Tensor
    t: Tensor
    pair: Tensor


def _scored(trie: Trie, batch: Batch) -> _Scored:
    device = batch.ids_BT.device
    where = [np.flatnonzero(sample.mask) for sample in batch.samples]
    where = [t[t > 0] for t in where]
    b = np.repeat(np.arange(len(where)), [len(t) for t in where])
    t = np.concatenate(where)
    node = np.concatenate([trie.nodes[i][at] for i, at in enumerate(where)])
    parent = np.concatenate([trie.nodes[i][at - 1] for i, at in enumerate(where)])
    temperature = np.asarray([sample.temperature for sample in batch.samples], np.float32)[b]
    # A node stands for its whole prefix, so (node, temperature) is (row, next token) without repetition.
    keys = np.stack((parent.astype(np.float64), temperature, node.astype(np.float64)), axis=1)
    pairs, pair = np.unique(keys, axis=0, return_inverse=True)
    rows, row = np.unique(pairs[:, :2], axis=0, return_inverse=True)
    spare = _rounded(len(rows), _NODES) - len(rows)
    tensors = (
        np.pad(rows[:, 0].astype(np.int64), (0, spare)),
        np.pad(rows[:, 1], (0, spare), constant_values=1.0),
        row.reshape(-1),
        trie.ids_N[pairs[:, 2].astype(np.int64)],
        b,
        t,
        pair.reshape(-1),
    )
    node_M, temperature_M, row_P, token_P, b_at, t_at, pair_at = (torch.from_numpy(x).to(device) for x in tensors)
    return _Scored(
        node_M=node_M, temperature_M=temperature_M, row_P=row_P, token_P=token_P, b=b_at, t=t_at, pair=pair_at
    )


def _plain(ids: IntArray) -> Sample:
    """A sample of which every token with a context is scored."""
    zeros = np.zeros(len(ids), np.float32)
    mask = np.arange(len(ids)) > 0
    return Sample(ids=ids, mask=mask, logp=zeros, reward=0.0, group=0, trajectory=0, task="", stop="done")


def pretrained(hf_model: nn.Module) -> PreTrainedModel:
    """The transformers model itself, or the one inside an adapter wrapper (whose layers the wrapper has replaced)."""
    for module in hf_model.modules():
        if isinstance(module, PreTrainedModel):
            return module
    raise ValueError(f"got {type(hf_model).__name__}, wanted a transformers model")


def padded_outputs(hf_model: nn.Module, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
    """The plain forward pass over right-padded rows: what packing must equal, and the way for models it cannot pack."""
    length_B = torch.tensor([len(sample.ids) for sample in batch.samples], device=batch.ids_BT.device)
    attended_BT = torch.arange(batch.ids_BT.shape[1], device=batch.ids_BT.device) < length_B[:, None]
    logits = hf_model(input_ids=batch.ids_BT, attention_mask=attended_BT.long(), use_cache=False).logits
    wide = torch.promote_types(logits.dtype, torch.float32)
    scaled = logits[:, :-1].to(wide) / batch.temperature_B[:, None, None].to(wide)
    logp_BTV = torch.log_softmax(scaled, -1)
    scored_BT = batch.mask_BT[:, 1:]
    logp = logp_BTV.gather(-1, batch.ids_BT[:, 1:, None]).squeeze(-1)
    logp_BT = nn.functional.pad(torch.where(scored_BT, logp, 0.0), (1, 0))
    if "entropy" not in outputs:
        return Outputs(logp_BT=logp_BT)
    entropy_BT = torch.where(scored_BT, -(logp_BTV.exp() * logp_BTV).sum(-1), 0.0)
    return Outputs(logp_BT=logp_BT, entropy_BT=nn.functional.pad(entropy_BT, (1, 0)))
