"""Which rows hold questions that are to be held out: told by the runs of words that both have. It knows no file.

A row holds a question when the runs of so many words that it repeats cover at least a share of the question's words.
Words in runs that many held-out questions have in common (an instruction, a form) tell nothing, and do not count.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from togi.data.asked_text import Words, question_of, whole_of, words_of
from togi.data.errors import DataError
from togi.types import Task

COMMON, LEAST_COMMON = 0.02, 3
"""A run in more than this share of the different held-out questions, and in so many at least, is a form."""
WHOLE = 4  # words from which a short question may stand inside a longer text


@dataclass(frozen=True, kw_only=True)
class Overlap:
    """Row ``row`` holds ``share`` of the telling words of the held-out question at place ``of``; ``longest`` is the
    longest stretch of it that stands in the row word for word."""

    row: int
    of: int
    share: float
    longest: str


class HeldOut:
    """Held-out questions, ready to be looked for in other texts."""

    def __init__(self, tasks: Sequence[Task], run: int) -> None:
        """Raises DataError where nothing is held out."""
        if run < 2:
            raise DataError(f"a run has at least 2 words; got {run}")
        if not tasks:
            raise DataError("there are no held-out questions to look for")
        self._run = run
        places: dict[Words, int] = {}
        for place, task in enumerate(tasks):
            places.setdefault(words_of(question_of(task)), place)
        places.pop((), None)
        self._questions = {place: words for words, place in places.items()}
        spread = Counter(gram for words in places for gram in set(_grams(words, run)))
        common = max(LEAST_COMMON, COMMON * len(places))
        self._starts: dict[Words, list[tuple[int, int]]] = defaultdict(list)
        self._telling: dict[int, set[int]] = {}
        self._short: dict[int, dict[Words, int]] = defaultdict(dict)
        for place, words in self._questions.items():
            own: dict[bool, list[int]] = {True: [], False: []}
            for start, gram in enumerate(_grams(words, run)):
                own[spread[gram] < common].append(start)
            telling = _covered(own[True], run) - _covered(own[False], run)
            if not telling:
                self._short[len(words)][words] = place
                continue
            for start in own[True]:
                self._starts[words[start : start + run]].append((place, start))
            self._telling[place] = telling

    def find(self, row: int, task: Task, share: float) -> Overlap | None:
        """The held-out question of which the task holds most, if that is at least ``share``."""
        words = words_of(whole_of(task))
        known: dict[int, set[int]] = defaultdict(set)
        for gram in _grams(words, self._run):
            for place, start in self._starts.get(gram, ()):
                known[place].add(start)
        shares = {place: self._share(place, starts) for place, starts in known.items()}
        shares |= dict.fromkeys(self._whole(words, words_of(question_of(task))), 1.0)
        best = max(shares, key=lambda place: (shares[place], -place), default=None)
        if best is None or shares[best] < share:
            return None
        longest = self._stretch(best, known[best]) if best in known else self._questions[best]
        return Overlap(row=row, of=best, share=shares[best], longest=" ".join(longest))

    def _share(self, place: int, starts: set[int]) -> float:
        """The part of a question's telling words that known runs cover: those that stand in no common run."""
        telling = self._telling[place]
        return len(_covered(starts, self._run) & telling) / len(telling)

    def _whole(self, words: Words, question: Words) -> Iterator[int]:
        """Questions without a telling run, that stand in the text as a whole."""
        for size, known in self._short.items():
            if size < WHOLE:
                yield from (known[question],) if question in known else ()
            else:
                yield from {known[gram] for gram in _grams(words, size) if gram in known}

    def _stretch(self, place: int, starts: set[int]) -> Words:
        """The longest stretch of a question that known runs cover without a gap between their beginnings."""
        best = begin = previous = min(starts)
        length = 0
        for start in sorted(starts):
            begin = start if start > previous + 1 else begin
            if start - begin >= length:
                best, length = begin, start - begin
            previous = start
        return self._questions[place][best : best + length + self._run]


def find_overlaps(tasks: Sequence[Task], held_out: Sequence[Task], run: int, share: float) -> list[Overlap]:
    """The tasks that hold a held-out question, each with the one of which it holds most. Raises DataError."""
    if not 0 < share <= 1:
        raise DataError(
            f"share is the part of a question's words that a row repeats, above 0, at most 1; got {share:g}"
        )
    known = HeldOut(held_out, run)
    return [found for row, task in enumerate(tasks) if (found := known.find(row, task, share))]


def _grams(words: Words, run: int) -> Iterator[Words]:
    return (words[start : start + run] for start in range(len(words) - run + 1))


def _covered(starts: Sequence[int] | set[int], run: int) -> set[int]:
    return {place for start in starts for place in range(start, start + run)}
