"""Splits a step's samples between processes, and into micro-batches by a budget of distinct tokens. Knows lengths, not
models."""

from __future__ import annotations

from collections.abc import Sequence

from togi.models.trie import packed_length, shared_length
from togi.types import Sample, Unit


def microbatches(samples: Sequence[Sample], budget: int, unit: Unit = "sample") -> list[list[int]]:
    """Indices of the samples, every one once, in parts of at most ``budget`` distinct tokens.

    Groups, whose samples share a prompt, stay together when they fit and are split otherwise, but never with ``unit``
    "group". What is longer than the budget and may not be split is a part of its own. A part of a group behind a long
    prompt may have twice that prompt's tokens, since each part computes the prompt anew.
    """
    groups: dict[int, list[int]] = {}
    for i, sample in enumerate(samples):
        groups.setdefault(sample.group, []).append(i)
    parts: list[list[int]] = []
    filled = budget
    for group in groups.values():
        for piece in [group] if unit == "group" else _split(samples, group, budget):
            length = packed_length([samples[i] for i in piece])
            if filled + length > budget:
                parts.append([])
                filled = 0
            parts[-1].extend(piece)
            filled += length
    return parts


def divided(samples: Sequence[Sample], count: int) -> list[list[int]]:
    """Indices of the samples, every one once, in ``count`` parts of about equally many distinct tokens. Groups stay
    together, so that what they share is computed once; where there are few, parts are empty."""
    if count == 1:
        return [list(range(len(samples)))]
    groups: dict[int, list[int]] = {}
    for i, sample in enumerate(samples):
        groups.setdefault(sample.group, []).append(i)
    lengths = {number: packed_length([samples[i] for i in group]) for number, group in groups.items()}
    parts: list[list[int]] = [[] for _ in range(count)]
    filled = [0] * count
    # The longest first, each to the part that has the least.
    for number in sorted(lengths, key=lambda number: (-lengths[number], number)):
        least = filled.index(min(filled))
        parts[least].extend(groups[number])
        filled[least] += lengths[number]
    return [sorted(part) for part in parts]


def _split(samples: Sequence[Sample], group: Sequence[int], budget: int) -> list[list[int]]:
    # Neighbours in this order share the most, and what the outermost share is shared by all.
    order = sorted(group, key=lambda i: samples[i].ids.tolist())
    budget = max(budget, 2 * shared_length(samples[order[0]], samples[order[-1]]))
    if packed_length([samples[i] for i in group]) <= budget:
        return [list(group)]
    pieces: list[list[int]] = [[]]
    for i in order:
        if pieces[-1] and packed_length([samples[j] for j in (*pieces[-1], i)]) > budget:
            pieces.append([])
        pieces[-1].append(i)
    return pieces
