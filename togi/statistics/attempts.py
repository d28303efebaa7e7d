"""Several attempts at one task: the chance that one, all or most of k of them are right. Exact, without chance."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Hashable, Sequence
from math import comb


def pass_at_k(n: int, c: int, k: int) -> float:
    """The chance that at least one of ``k`` attempts is right, from ``c`` right ones of ``n``: 1 - C(n-c, k) / C(n, k).

    Unbiased for any n >= k (arXiv:2107.03374, equation 1), unlike 1 - (1 - c/n)^k.
    """
    _counts(n, c, k)
    return 1.0 - comb(n - c, k) / comb(n, k)


def pass_hat_k(n: int, c: int, k: int) -> float:
    """The chance that all of ``k`` attempts are right: C(c, k) / C(n, k) (arXiv:2406.12045)."""
    _counts(n, c, k)
    return comb(c, k) / comb(n, k)


def best_of_k(scores: Sequence[float], k: int) -> float:
    """The mean of the best of ``k`` of the scores, drawn without replacement: exact over all C(n, k) subsets."""
    _counts(len(scores), 0, k)
    ways = comb(len(scores), k)
    return sum(score * comb(rank, k - 1) / ways for rank, score in enumerate(sorted(scores)))


def majority_at_k(votes: Sequence[Hashable | None], answer: Hashable, k: int) -> float:
    """The chance that the most frequent answer among ``k`` of the attempts is right, ties broken at random.

    Exact over all C(n, k) subsets. Answers must be in one canonical form. An attempt without an answer (None) is drawn
    like any other but casts no vote, since it costs as much; with no vote at all the outcome is wrong.
    """
    _counts(len(votes), 0, k)
    sizes = Counter(votes)
    silent, right = sizes.pop(None, 0), sizes.pop(answer, 0)
    expected = 0.0
    for top in range(1, min(right, k) + 1):
        # ways[drawn, ties]: subsets of the wrong answers, none above ``top`` votes, ``ties`` of them at ``top``.
        ways = Counter({(top, 0): comb(right, top)})
        for size in sizes.values():
            grown: Counter[tuple[int, int]] = Counter()
            for ((drawn, ties), count), more in itertools.product(ways.items(), range(min(size, top) + 1)):
                grown[drawn + more, ties + (more == top)] += count * comb(size, more)
            ways = grown
        for (drawn, ties), count in ways.items():
            if 0 <= k - drawn <= silent:
                expected += count * comb(silent, k - drawn) / comb(len(votes), k) / (ties + 1)
    return expected


def _counts(n: int, c: int, k: int) -> None:
    if not (0 <= c <= n and 1 <= k <= n):
        raise ValueError(f"wanted 0 <= right <= attempts and 1 <= k <= attempts, got {c} right of {n} attempts, k={k}")
