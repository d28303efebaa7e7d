"""Writes the rows of a verb as JSON lines, and their lineage beside them. It makes no row."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from togi.data import DataError
from togi.data.lineage import Dropped, Lineage, Source, lineage_path
from togi.data.row_values import Row
from togi.run_folder.files import write_text


def check_place(out: Path) -> None:
    """Raise DataError for a file that rows cannot be written to, before any work is done."""
    if out.suffix != ".jsonl":
        raise DataError(f'--out {out}: rows are written as JSON lines, to a file that ends in ".jsonl"')
    for path in (out, lineage_path(out)):
        if path.exists():
            raise DataError(f"{path} exists already: choose another file, or remove it first")


def write_rows(
    out: Path,
    rows: Sequence[Row],
    *,
    verb: str,
    settings: Mapping[str, Any],
    sources: Sequence[Source],
    consulted: Sequence[Source] = (),
    dropped: Sequence[Dropped] = (),
) -> Lineage:
    """Write rows and lineage. Raises DataError when no row is left, or the place is taken."""
    check_place(out)
    if not rows:
        why = "; ".join(f"{each.rows:,} {each.why}" for each in dropped)
        raise DataError(f"no row is left ({why or 'there was none'}): nothing was written")
    text = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    lineage = Lineage(
        file=out.name,
        sha256=hashlib.sha256(text.encode()).hexdigest(),
        rows=len(rows),
        verb=verb,
        settings=dict(settings),
        sources=tuple(sources),
        consulted=tuple(consulted),
        dropped=tuple(each for each in dropped if each.rows),
        togi=version("togi"),
        time=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    )
    # The record first: rows that are there have their lineage, whenever a kill comes.
    write_text(lineage_path(out), json.dumps(asdict(lineage), indent=1, ensure_ascii=False) + "\n")
    write_text(out, text)
    return lineage
