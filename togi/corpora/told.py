"""What a verb did, and the chain behind a file of rows, as lines and tables for a terminal. It decides nothing."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from pathlib import Path

from rich.table import Table
from rich.text import Text

from togi.data.lineage import Dropped, Lineage, Source, lineage_path
from togi.harmless_text import visible
from togi.short_values import text

SHOWN = 5
"""Examples of each reason that a terminal shows."""


def done(lineage: Lineage, out: Path) -> Iterator[str]:
    """What was read, left out and written."""
    for source in (*lineage.sources, *lineage.consulted):
        yield read(source)
    for each in lineage.dropped:
        yield f"  {out_told(each)}"
    yield f"{lineage.rows:,} rows are in {out}, and where they come from in {lineage_path(out).name}"


def read(source: Source) -> str:
    count = "" if source.rows is None else f": {source.rows:,} rows"
    return f"read {source.name}{count}, licence {source.license}"


def out_told(dropped: Dropped) -> str:
    return f"left out: {dropped.rows:,} ({dropped.why})"


def examples(dropped: Dropped) -> Table | None:
    """Rows that were left out beside what they were held against; None for a reason that held them against nothing."""
    pairs = [each for each in dropped.examples if "other" in each][:SHOWN]
    if not pairs:
        return None
    more = f", {len(pairs)} of {dropped.rows:,} shown" if dropped.rows > len(pairs) else ""
    table = Table(title=Text(f"{out_told(dropped)}{more}"), title_justify="left", show_lines=True)
    for head in ("row", "held against", "alike"):
        table.add_column(head, overflow="fold")
    for each in pairs:
        one = _cell(each.get("row"), each.get("text"))
        other = _cell(each.get("of"), each.get("other"))
        alike = each.get("similarity")
        table.add_row(one, other, f"{100 * alike:.0f}%" if isinstance(alike, int | float) else "")
    return table


def _cell(place: object, said: object) -> Text:
    head = f"{text(place)}\n" if place is not None else ""
    return Text(visible(f"{head}{said}"))


def chain(lineage: Lineage, depth: int = 0) -> Iterator[str]:
    """The record and what stands behind it, the newest first, each source further in."""
    indent = "  " * depth
    made = f"{lineage.rows:,} rows by togi data {lineage.verb}, {lineage.time}"
    yield f"{indent}{lineage.file}: {made}, sha256 {lineage.sha256[:16]}"
    settings = ", ".join(f"{name} {text(value)}" for name, value in lineage.settings.items() if value not in (None, []))
    if settings:
        yield from textwrap.wrap(settings, 110, initial_indent=f"{indent}  with ", subsequent_indent=f"{indent}    ")
    for each in lineage.dropped:
        yield f"{indent}  {out_told(each)}"
    for source in lineage.consulted:
        yield f"{indent}  held against or asked: {source.name}, sha256 {source.sha256[:16]}"
    for source in lineage.sources:
        yield f"{indent}  from {source.name}, sha256 {source.sha256[:16]}, licence {source.license}"
        if source.lineage is not None:
            yield from chain(source.lineage, depth + 2)
