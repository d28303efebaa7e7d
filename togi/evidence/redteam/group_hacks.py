"""Hacks of a whole group or an episode: copies of one wrong answer, and an attempt that never made a move."""

from __future__ import annotations

from collections.abc import Sequence

from togi.evidence.redteam.ask_reward import Grading
from togi.evidence.redteam.attacked_rows import Row
from togi.evidence.redteam.hollow_answers import Probe
from togi.evidence.redteam.payout import Told

COPIES = 4


def copies(rows: Sequence[Row], grading: Grading) -> list[Told]:
    """Four copies of one wrong answer, and of nothing; a reward that asks the siblings for the truth pays them."""
    told = []
    for row in rows:
        for name, text in (("copies of a wrong answer", row.write(row.wrong[0])), ("copies of an empty answer", "")):
            score = grading.together(row.task, [text] * COPIES)[0]
            told.append(Told(row, Probe(family="group", name=name, text=text, free=True), score))
    return told
