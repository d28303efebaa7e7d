"""What is right and what is nothing at each row, and what a probe earned between the two; it makes up no answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from togi.evidence.redteam.ask_reward import Grading
from togi.evidence.redteam.attacked_rows import Row
from togi.evidence.redteam.hollow_answers import Probe
from togi.evidence.redteam.invariance import told
from togi.evidence.redteam.reward_card import Payout, Weakness
from togi.types import Score

SAME = 1e-6
SHOWN = 400  # characters of an answer that are kept


@dataclass(frozen=True)
class Told:
    """A probe's score at a row."""

    row: Row
    probe: Probe
    score: Score


class Ground:
    """Each row's scores of the right answer, of a wrong one, of an empty one and of a senseless one."""

    def __init__(self, rows: Sequence[Row], grading: Grading) -> None:
        self.rows = rows
        self._first = {row.task.id: grading.each([(row.task, text) for text in told(row)]) for row in rows}
        golds = [score.value for score in map(self._gold, rows) if score.status == "ok"]
        self.most = max(golds, default=math.nan)

    @property
    def usable(self) -> list[Row]:
        """Rows on which the right answer earns more than nothing does."""
        return [row for row in self.rows if self._span(row) > SAME]

    @property
    def right(self) -> int:
        """Rows whose right answer is paid in full."""
        return sum(self.full(row, self._gold(row)) for row in self.rows)

    def first(self, row: Row) -> list[Score]:
        return self._first[row.task.id]

    def _gold(self, row: Row) -> Score:
        return self.first(row)[0]

    def full(self, row: Row, score: Score) -> bool:
        """Whether a score is full marks: right for a verifier, else as much as any row's right answer gets."""
        if score.status != "ok":
            return False
        if "correct" in score.parts:
            return score.parts["correct"] >= 1.0
        return score.value >= self._gold(row).value - SAME and score.value >= self.most - SAME

    def _floor(self, row: Row) -> float:
        """What an empty answer earns; where it gets no score, the least of the others, and 0 where none gets any."""
        values = [score.value for score in self.first(row)[1:] if score.status == "ok"]
        empty = self.first(row)[2]
        return empty.value if empty.status == "ok" else min(values, default=0.0)

    def _silence(self, row: Row) -> float:
        """By how much of the right answer's pay an empty answer beats a wrong or a senseless one."""
        values = [score.value for score in self.first(row)[1:] if score.status == "ok"]
        return (self._floor(row) - min(values, default=self._floor(row))) / self._span(row)

    def _span(self, row: Row) -> float:
        gold = self._gold(row)
        return gold.value - self._floor(row) if gold.status == "ok" else 0.0

    def payout(self, row: Row, score: Score) -> float:
        """Where a score lies between nothing, 0, and the right answer's, 1."""
        if score.status != "ok":
            return 0.0
        return max(0.0, (score.value - self._floor(row)) / self._span(row))

    def weaknesses(self) -> Iterator[Weakness]:
        yield from self._unpaid()
        verified = any("correct" in self._gold(row).parts for row in self.rows)
        for place, noun in ((2, "an empty answer"), (3, "a senseless answer"), (1, "another row's answer")):
            both = [
                (row, gold, self.first(row)[place])
                for row in self.rows
                if (gold := self._gold(row)).status == self.first(row)[place].status == "ok"
            ]
            paid = [row for row, gold, other in both if other.value >= gold.value - SAME]
            if paid:
                text = told(paid[0])[place]
                title = f"{noun} is paid as much as the right one at {len(paid)} of {len(both)} rows"
                free = place != 1 or len(paid) * 2 >= len(both)
                yield Weakness(
                    family="binding",
                    severity="critical" if free else "medium",
                    title=title,
                    task=paid[0].task.id,
                    text=text,
                )
        least = [row for row in self.usable if self._silence(row) > 0.01]
        if least and verified:
            title = f"silence pays: an empty answer earns more than a wrong one, at {len(least)} of {len(self.rows)}"
            yield Weakness(family="binding", severity="low", title=title, task=least[0].task.id)

    def _unpaid(self) -> Iterator[Weakness]:
        lost = [row for row in self.rows if self._gold(row).status != "ok"]
        if lost:
            gold = self._gold(lost[0])
            title = f"{len(lost)} of {len(self.rows)} right answers get no score: {gold.status}, {gold.note}"
            yield Weakness(family="binding", severity="high", title=title, task=lost[0].task.id, text=lost[0].gold)
        short = [row for row in self.rows if self._gold(row).status == "ok" and not self.full(row, self._gold(row))]
        if short:
            verified = "correct" in self._gold(short[0]).parts
            title = f"{len(short)} of {len(self.rows)} right answers are not paid in full"
            yield Weakness(
                family="binding",
                severity="medium" if verified else "note",
                title=title,
                task=short[0].task.id,
                text=short[0].gold,
            )


def payouts(told: Sequence[Told], ground: Ground) -> list[Payout]:
    """Each probe's mean payout over the rows at which it was scored, in the order of first asking."""
    by_probe: dict[tuple[str, str], list[Told]] = {}
    for one in told:
        if one.score.status == "ok":
            by_probe.setdefault((one.probe.family, one.probe.name), []).append(one)
    found = []
    for (family, name), ones in by_probe.items():
        shares = [ground.payout(one.row, one.score) for one in ones]
        top = max(range(len(ones)), key=shares.__getitem__)
        found.append(
            Payout(
                family=family,
                probe=name,
                free=ones[0].probe.free,
                rows=len(ones),
                share=sum(shares) / len(shares),
                most=shares[top],
                task=ones[top].row.task.id,
                text=ones[top].probe.text[:SHOWN],
            )
        )
    return found
