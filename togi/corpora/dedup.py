"""Rows that nearly repeat an earlier one are left out."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from togi.corpora.corpus import Corpus
from togi.corpora.dropped_rows import Left
from togi.corpora.written_rows import check_place, write_rows
from togi.data.asked_text import question_of, whole_of
from togi.data.lineage import Lineage
from togi.data.near_duplicates import find_repeats

By = Literal["question", "whole"]
REPEAT = "nearly the same as an earlier row"
CONTRADICTION = "an earlier row asks in the same words and has another answer"


def dedup(corpus: Corpus, out: Path, *, similarity: float, run: int, by: By) -> Lineage:
    """Write the rows without those that are at least so similar to an earlier one, by their question or with their
    recorded answers. Raises DataError."""
    check_place(out)
    text = question_of if by == "question" else whole_of
    repeats = find_repeats(corpus.tasks, similarity, run, text)
    left = Left()
    left.skipped([corpus.skipped])
    for each in repeats:
        left.add(
            CONTRADICTION if each.contradicts else REPEAT,
            row=corpus.tasks[each.row].id,
            text=text(corpus.tasks[each.row]),
            of=corpus.tasks[each.of].id,
            other=text(corpus.tasks[each.of]),
            similarity=round(each.similarity, 3),
        )
    gone = {each.row for each in repeats}
    return write_rows(
        out,
        [row for place, row in enumerate(corpus.rows) if place not in gone],
        verb="dedup",
        settings={"similarity": similarity, "words": run, "by": by},
        sources=[corpus.source],
        dropped=left.told(),
    )
