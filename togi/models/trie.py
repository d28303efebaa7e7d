"""A prefix trie over many samples, and the attention calls that walk it.

It knows token ids, positions and sizes; it does not know models or what the samples are for. A token is shared exactly
where the whole prefix is equal.
"""

from __future__ import annotations

import itertools
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from togi.models.trie_attention import Block, Plan
from togi.types import Sample, Thoughts

IntArray = NDArray[np.int64]

# One attention call costs about as much as this many query-key pairs: below it, padding is cheaper than a further call.
_CALL_IN_PAIRS = 1 << 15
# Bounds of one call: its scores stay in the processor's cache whatever the context length, and half of the keys that a
# long piece would mask are not looked at.
_MAX_QUERIES, _MAX_PAIRS = 128, 1 << 18
# Sizes are rounded up to these: a matrix product of a new shape is first compiled, and freed memory of an old shape
# does not fit it.
NODES, _SIDE = 64, 16


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
    """Lay every distinct token of the samples out once; N is the number of distinct non-empty prefixes."""
    return laid_out([sample.ids for sample in samples])


def laid_out(rows: Sequence[IntArray]) -> Trie:
    """The layout of rows of ids.

    In lexicographic order a row shares with all earlier ones exactly what it shares with its predecessor, so one pass
    over neighbours finds every shared prefix. Equal sets of rows give equal layouts in whatever order.
    """
    order = sorted(range(len(rows)), key=lambda b: rows[b].tolist())
    nodes: dict[int, IntArray] = {}
    new_ids, new_positions, paths = [], [], []
    count = 0
    before = path = np.zeros(0, np.int64)
    for b in order:
        ids = rows[b]
        shared = _common_prefix(before, ids)
        fresh = np.arange(count, count + len(ids) - shared, dtype=np.int64)
        nodes[b] = path = np.concatenate((path[:shared], fresh))
        count += len(fresh)
        new_ids.append(ids[shared:])
        new_positions.append(np.arange(shared, len(ids), dtype=np.int64))
        paths.append((path, shared))
        before = ids
    return Trie(
        ids_N=np.concatenate(new_ids),
        position_N=np.concatenate(new_positions),
        nodes=tuple(nodes[b] for b in range(len(rows))),
        pieces=tuple(_pieces(paths)),
    )


def shared_length(one: Sample, other: Sample) -> int:
    """How many tokens two samples begin with in common."""
    return _common_prefix(one.ids, other.ids)


def packed_length(samples: Sequence[Sample]) -> int:
    """Number of distinct tokens of the samples and of their thoughts, which is what a forward pass over them costs."""
    rows = sorted(sample.ids.tolist() for sample in samples)
    lengths = [len(row) for row in rows]
    shared = [_common_prefix(np.asarray(a), np.asarray(b)) for a, b in itertools.pairwise(rows)]
    return sum(lengths) - sum(shared) + sum(_thought(sample.thoughts) for sample in samples if sample.thoughts)


def _thought(thoughts: Thoughts) -> int:
    """Tokens of thoughts, their starts and ends, and the tokens that are read once more after each."""
    places, per_place, length = thoughts.ids_NPL.shape
    tokens: int = per_place * (places * (length + 1) + int(thoughts.ahead_N.sum()))
    return tokens


def _common_prefix(a: IntArray, b: IntArray) -> int:
    length = min(len(a), len(b))
    differs = np.flatnonzero(a[:length] != b[:length])
    return int(differs[0]) if len(differs) else length


def _pieces(paths: Sequence[tuple[IntArray, int]]) -> Iterator[Piece]:
    """Cut each path's new tokens where later paths leave it, and at the longest allowed query."""
    # From the last path back, the places where those behind a path leave it: each as far as all between share, so that
    # they rise from the one farthest behind to the nearest. Every place is put there once and taken away once.
    left: list[int] = []
    cuts: list[list[int]] = []
    for path, shared in reversed(paths):
        first = bisect_right(left, shared)
        cuts.append(sorted({shared, len(path), *left[first:], *range(shared, len(path), _MAX_QUERIES)}))
        del left[first:]
        if not left or left[-1] < shared:
            left.append(shared)
    for (path, _), places in zip(paths, reversed(cuts), strict=True):
        for start, end in itertools.pairwise(places):
            yield Piece(path=path[:end], start=start)


def filled(trie: Trie) -> Trie:
    """The trie with a path of its own at the end that nothing reads, up to a round number of nodes."""
    count = len(trie.ids_N)
    filler = np.arange(rounded(count, NODES) - count, dtype=np.int64)
    return Trie(
        ids_N=np.concatenate((trie.ids_N, np.zeros_like(filler))),
        position_N=np.concatenate((trie.position_N, filler)),
        nodes=trie.nodes,
        pieces=(*trie.pieces, Piece(path=count + filler, start=0)) if len(filler) else trie.pieces,
    )


def rounded(count: int, multiple: int) -> int:
    return -(-count // multiple) * multiple


def plan(pieces: Sequence[Piece], device: torch.device, first: int = 0) -> Plan:
    """Collect pieces of similar size into attention calls, padding queries and keys to the longest of the call. The
    nodes before ``first`` were computed before."""
    order = sorted(pieces, key=lambda piece: (len(piece.path) - piece.start, len(piece.path)))
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
    return Plan([_block(each, device, first) for each in chosen])


def _block(pieces: Sequence[Piece], device: torch.device, first: int) -> Block:
    queries = max(len(piece.path) - piece.start for piece in pieces)
    queries = queries if first and queries == 1 else rounded(queries, _SIDE)  # where each row grows by a token
    keys = rounded(max(len(piece.path) for piece in pieces), _SIDE)
    query_RQ = np.zeros((len(pieces), queries), np.int64)
    key_RK = np.zeros((len(pieces), keys), np.int64)
    position_RQ = np.zeros((len(pieces), queries), np.int64)
    used_RQ = np.zeros((len(pieces), queries), np.bool_)
    for row, piece in enumerate(pieces):
        end, length = len(piece.path), len(piece.path) - piece.start
        query_RQ[row, :length] = piece.path[piece.start :] - first
        key_RK[row, :end] = piece.path
        position_RQ[row, :length] = np.arange(piece.start, end)
        used_RQ[row, :length] = True
    arrays = (torch.from_numpy(a).to(device) for a in (query_RQ, key_RK, position_RQ, used_RQ))
    query, key, position, used = arrays
    return Block(query_RQ=query, key_RK=key, position_RQ=position, used_RQ=used)
