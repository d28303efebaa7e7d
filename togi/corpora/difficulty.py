"""Rows that a model solves never or always teach it little: those between are kept, each with its pass rate."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from togi.corpora.dropped_rows import Left
from togi.corpora.pass_rates import PassRate
from togi.corpora.recipe_rows import RowsBehind
from togi.corpora.written_rows import write_rows
from togi.data import DataError, Tasks
from togi.data.asked_text import question_of
from togi.data.lineage import Lineage, Source

COLUMN = "pass_rate"


def check_band(least: float, most: float) -> None:
    """Raise DataError for a band in which no pass rate can lie."""
    if not 0 <= least <= most <= 1:
        raise DataError(f"pass rates are kept from --least to --most, both from 0 to 1; got {least:g} to {most:g}")


def keep_between(
    rows: RowsBehind,
    tasks: Tasks,
    rates: Mapping[str, PassRate],
    out: Path,
    *,
    least: float,
    most: float,
    solver: Source,
    settings: Mapping[str, Any],
) -> Lineage:
    """Write the rows whose task the solver solves at a rate from ``least`` to ``most``, with that rate. Raises
    DataError."""
    check_band(least, most)
    left, kept = Left(), []
    for task in tasks:
        rate = rates.get(task.id)
        if rate is None:
            left.add("no attempt at it was scored", row=task.id, text=question_of(task))
        elif rate.right < least or rate.right > most:
            why = "solved too seldom" if rate.right < least else "solved too often"
            left.add(why, row=task.id, text=question_of(task), pass_rate=rate.right, attempts=rate.attempts)
        else:
            kept.append({**rows.of(task), COLUMN: rate.right})
    left.skipped([tasks.skipped])
    if tasks.dropped:
        left.count("its prompt stands in another split", tasks.dropped)
    return write_rows(
        out,
        kept,
        verb="difficulty",
        settings={"least": least, "most": most, **settings},
        sources=rows.sources,
        consulted=[solver],
        dropped=left.told(),
    )
