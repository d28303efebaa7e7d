"""Rows that nearly say what an earlier row says: found by MinHash, decided by the exact share of their runs of words.

MinHash (Broder, 1997) only proposes; the Jaccard index of the two sets decides, so that no row is dropped by chance. A
row is held against rows that stay, never against one that was dropped itself: chains of small changes do not carry on.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from togi.data.asked_text import Words, answer_words, question_of, words_of
from togi.data.errors import DataError
from togi.extras import lacking
from togi.types import Task

HASHES = 128
MISSED = 0.9  # weight of missed pairs against useless proposals, which cost time only

Shingles = frozenset[tuple[Words, int]]
"""Runs of words; one that comes again is another, so that "1+1" and "1+1+1+1" differ."""


@dataclass(frozen=True, kw_only=True)
class Repeat:
    """Row ``row`` repeats row ``of``, both as places in the sequence: ``similarity`` is the Jaccard index of their runs
    of words. ``contradicts``: the same words with another answer."""

    row: int
    of: int
    similarity: float
    contradicts: bool = False


def shingles(words: Words, run: int) -> Shingles:
    """The runs of so many words; a shorter text is a single run."""
    counts = Counter(words[start : start + run] for start in range(max(1, len(words) - run + 1)))
    return frozenset((each, time) for each, times in counts.items() for time in range(times))


def jaccard(one: Shingles, other: Shingles) -> float:
    return len(one & other) / len(one | other)


def find_repeats(
    tasks: Sequence[Task], similarity: float, run: int, text: Callable[[Task], str] = question_of
) -> list[Repeat]:
    """The tasks whose text is at least so similar to that of an earlier one that stays, in order.

    Texts that differ a little and have other answers are other questions ("17 + 25" and "17 + 26"), and stay. Texts of
    exactly the same words are one question, whatever their answers say. Raises DataError where the library is missing.
    """
    if not 0 < similarity <= 1:
        raise DataError(f"similarity is the share of common runs of words, above 0 and at most 1; got {similarity:g}")
    if run < 1:
        raise DataError(f"a run has at least 1 word; got {run}")
    proposals = _Proposals(similarity)
    said, answers = [words_of(text(task)) for task in tasks], [answer_words(task) for task in tasks]
    sets = [shingles(words, run) for words in said]
    found: list[Repeat] = []
    for row, own in enumerate(sets):
        close = sorted((-jaccard(own, sets[other]), other) for other in proposals.near(own))
        repeat = next(
            (
                Repeat(row=row, of=other, similarity=-distance, contradicts=answers[row] != answers[other])
                for distance, other in close
                if said[row] == said[other] or (-distance >= similarity and answers[row] == answers[other])
            ),
            None,
        )
        if repeat is None:
            proposals.add(row, own)
        else:
            found.append(repeat)
    return found


class _Proposals:
    """The rows that stay, by MinHash: which of them may be so similar to another."""

    def __init__(self, similarity: float) -> None:
        try:
            from datasketch import MinHash, MinHashLSH
        except ImportError as error:
            raise DataError(lacking("finding rows that are nearly the same", "data")) from error
        # Just below, so that rounding loses no pair that lies at the bound; 1 would ask for every hash to agree.
        bound = min(0.95, similarity)
        self._index = MinHashLSH(threshold=bound, num_perm=HASHES, weights=(1 - MISSED, MISSED))
        self._hashed = MinHash
        self._last: Any = None

    def near(self, own: Shingles) -> list[int]:
        self._last = self._hashed(num_perm=HASHES, seed=1)
        self._last.update_batch([f"{time}\x1f{chr(31).join(run)}".encode() for run, time in own])
        return list(self._index.query(self._last))

    def add(self, row: int, own: Shingles) -> None:
        """Keep the row that was just asked about."""
        self._index.insert(row, self._last)
