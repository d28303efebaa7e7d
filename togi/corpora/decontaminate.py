"""Rows that hold a held-out question are shown beside it, and left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from togi.corpora.corpus import Corpus
from togi.corpora.dropped_rows import Left
from togi.corpora.held_out import HeldOutSet
from togi.corpora.written_rows import write_rows
from togi.data.asked_text import question_of, whole_of
from togi.data.lineage import Dropped, Lineage
from togi.data.overlap import find_overlaps


@dataclass(frozen=True, kw_only=True)
class Contamination:
    """The rows of a corpus that hold held-out questions: their places, and what is told of them."""

    rows: frozenset[int]
    dropped: tuple[Dropped, ...]


def contamination(corpus: Corpus, held_out: Sequence[HeldOutSet], *, run: int, share: float) -> Contamination:
    """Hold every row against every set. A row that holds questions of several counts under the first. Raises
    DataError."""
    left, gone = Left(), set[int]()
    for each in held_out:
        for found in find_overlaps(corpus.tasks, each.tasks, run, share):
            if found.row in gone:
                continue
            gone.add(found.row)
            left.add(
                f"holds a question of {each.source.name}",
                row=corpus.tasks[found.row].id,
                text=whole_of(corpus.tasks[found.row]),
                of=each.tasks[found.of].id,
                other=question_of(each.tasks[found.of]),
                similarity=round(found.share, 3),
                common=found.longest,
            )
    return Contamination(rows=frozenset(gone), dropped=left.told())


def decontaminate(
    corpus: Corpus, held_out: Sequence[HeldOutSet], found: Contamination, out: Path, *, run: int, share: float
) -> Lineage:
    """Write the rows that hold no held-out question. Raises DataError."""
    left = Left()
    left.skipped([corpus.skipped])
    return write_rows(
        out,
        [row for place, row in enumerate(corpus.rows) if place not in found.rows],
        verb="decontaminate",
        settings={"words": run, "share": share},
        sources=[corpus.source],
        consulted=[each.source for each in held_out],
        dropped=(*found.dropped, *left.told()),
    )
