"""Draws thoughts before many tokens at once, each by the model itself. It knows no text, no loss and no algorithm.

All thoughts grow side by side, a token of each in every pass; a draw depends on its seed, place and number alone, and
never on its neighbours.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from togi.engines.token_sampling import check_drawn, draw, uniform
from togi.models.grown_trie import GrownTrie
from togi.models.packing import PackedModel
from togi.models.thought_head import START, ThoughtHead
from togi.models.trie import IntArray
from togi.types import Sample, Sampling

_TOGETHER = 1024  # thoughts drawn side by side
_LOGITS = 1 << 24  # logits at a time
_OWN = Sampling()  # temperature 1, every token: what the thought's own log-probability is of


def think(
    model: PackedModel, head: ThoughtHead, samples: Sequence[Sample], seeds: Sequence[int], together: int = _TOGETHER
) -> list[Sample]:
    """The samples with their thoughts drawn. Samples of the same ids and seed get the same thoughts at a place."""
    done: list[Sample] = []
    for part in _parts(samples, together):
        done += _drawn(model, head, samples[part], seeds[part])
    return done


def thoughts_after(
    trie: GrownTrie, head: ThoughtHead, paths: Sequence[IntArray], chance_RL: NDArray[np.float64]
) -> tuple[list[IntArray], IntArray]:
    """A thought after each path: the paths with all of it but its last token, and its tokens [R, L]."""
    rows, length = chance_RL.shape
    grown, ids_R = list(paths), np.full(rows, START)
    ids_RL = np.zeros((rows, length), np.int64)
    for k in range(length):
        grown, hidden_RD = trie.grow(grown, ids_R[:, None])
        ids_RL[:, k] = ids_R = drawn(trie.model, hidden_RD, chance_RL[:, k], head.thinking.random)
    return grown, ids_RL


def drawn(
    model: PackedModel, hidden_RD: torch.Tensor, chance_R: NDArray[np.float64], random: bool = False
) -> NDArray[np.int64]:
    """A token after each hidden state [R] by the model's own distribution, or with ``random`` any, all alike."""
    if random:
        return (chance_R * model.vocabulary).astype(np.int64)
    rows = max(1, _LOGITS // model.vocabulary)
    tokens = []
    with torch.no_grad():
        for start in range(0, len(hidden_RD), rows):
            part = slice(start, start + rows)
            token_R, logp_R = draw(model.logits(hidden_RD[part]), chance_R[part], _OWN)
            check_drawn(logp_R)
            tokens.append(token_R.cpu().numpy())
    return np.concatenate(tokens)


def chances(seed_R: NDArray[np.uint64], number_R: IntArray, length: int) -> NDArray[np.float64]:
    """The uniform number of each token [R, L] of the thought that has a number under a seed."""
    return np.stack([uniform(seed_R, number_R * length + k) for k in range(length)], axis=1)


def _parts(samples: Sequence[Sample], together: int) -> Iterator[slice]:
    """Samples one after the other with at most so many thoughts; one that has more is a part of its own."""
    start = filled = 0
    for i, sample in enumerate(samples):
        assert sample.thoughts is not None
        places, per_place, _ = sample.thoughts.ids_NPL.shape
        if i > start and filled + places * per_place > together:
            yield slice(start, i)
            start, filled = i, 0
        filled += places * per_place
    if samples:
        yield slice(start, len(samples))


def _drawn(model: PackedModel, head: ThoughtHead, samples: Sequence[Sample], seeds: Sequence[int]) -> list[Sample]:
    trie = GrownTrie(model, head.marks)
    trunks, _ = trie.begin([sample.ids for sample in samples])
    paths: list[IntArray] = []
    seed_R: list[int] = []
    number_R: list[int] = []
    for sample, trunk, seed in zip(samples, trunks, seeds, strict=True):
        assert sample.thoughts is not None
        per_place = sample.thoughts.ids_NPL.shape[1]
        for at in sample.thoughts.at_N.tolist():
            paths += [trunk[:at]] * per_place
            number_R += [at * per_place + p for p in range(per_place)]
            seed_R += [seed] * per_place
    chance_RL = chances(np.array(seed_R, np.uint64), np.array(number_R, np.int64), head.thinking.length)
    _, ids_RL = thoughts_after(trie, head, paths, chance_RL)
    done, start = [], 0
    for sample in samples:
        assert sample.thoughts is not None
        places, per_place, _ = sample.thoughts.ids_NPL.shape
        own = ids_RL[start : start + places * per_place].reshape(places, per_place, -1)
        done.append(replace(sample, thoughts=replace(sample.thoughts, ids_NPL=own)))
        start += places * per_place
    return done
