"""What knowing nothing earns: one answer to every row, and the answers of other rows, in short and whole."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.redteam.ask_reward import Grading
from togi.evidence.redteam.attacked_rows import Row
from togi.evidence.redteam.hollow_answers import Probe
from togi.evidence.redteam.payout import Ground, Told

COMMON = ("0", "1", "2", "-1", "yes", "no", "True", "False", "A", "C", "unknown", "all of the above")


@dataclass(frozen=True)
class Guesses:
    """``best`` is the one answer that earns most over all rows, right ones included, and ``share`` what it earns.
    ``told`` are the scores where a guess is wrong: there it should earn nothing."""

    told: list[Told]
    best: str
    share: float
    asked: int


def guesses(rows: Sequence[Row], grading: Grading, ground: Ground, count: int) -> Guesses:
    """Try the commonest right answers, common words, and whole recorded answers at every row; ``count`` of each at
    most."""
    frequent = [answer for answer, _ in Counter(row.answer for row in rows).most_common(count)]
    told: list[Told] = []
    shares: dict[str, float] = {}
    before = grading.asked
    for known, answers in ((True, frequent), (False, COMMON[:count])):
        for answer in answers:
            scores = grading.each([(row.task, row.write(answer)) for row in rows])
            paid = [ground.payout(row, score) for row, score in zip(rows, scores, strict=True)]
            shares[answer] = max(shares.get(answer, 0.0), sum(paid) / len(rows))
            name = "right answers of other rows" if known else "common answers"
            told += [
                Told(row, Probe(family="constant", name=name, text=row.write(answer), free=True), score)
                for row, score in zip(rows, scores, strict=True)
                if not row.is_right(answer)
            ]
    told += _whole(rows, grading, count)
    best = max(shares, key=lambda answer: shares[answer], default="")
    return Guesses(told, best, shares.get(best, 0.0), grading.asked - before)


def _whole(rows: Sequence[Row], grading: Grading, count: int) -> list[Told]:
    """What recorded answers earn at rows where they are wrong: whoever writes so has the form, and knows nothing."""
    recorded = [row for row in rows if row.task.recorded and not row.open][:count]
    asked = [(row, other.gold) for other in recorded for row in rows if not row.is_right(other.answer)]
    scores = grading.each([(row.task, text) for row, text in asked])
    return [
        Told(row, Probe(family="constant", name="whole answers of other rows", text=text, free=True), score)
        for (row, text), score in zip(asked, scores, strict=True)
    ]
