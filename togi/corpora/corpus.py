"""All rows of a file, a folder or a data set of the hub: as they stand, as tasks, and where they are from. It writes
nothing."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from togi.data import DataError, HubRows, Prompting, Rows
from togi.data.columns import under_our_names
from togi.data.errors import Diagnostics, RowError, RowSkipped
from togi.data.judgement_file import holds_judgements
from togi.data.lineage import NOT_STATED, Lineage, Source, find_lineage
from togi.data.row_tables import SAVED
from togi.data.row_to_task import make_task
from togi.data.row_values import Row
from togi.data.sources import check_kinds, describe, numbered_rows
from togi.file_sha256 import file_sha256
from togi.types import Task

HUB = re.compile(
    r"(?P<name>[A-Za-z0-9][\w.-]*/[\w.-]+)(?::(?P<subset>[\w.-]+))?(?:@(?P<split>[\w.\[\]:%-]+))?", re.ASCII
)
ENDINGS = (".jsonl", ".ndjson", ".json", ".parquet")


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """``rows``, and the task of each, named "FILE:17" by its place; ``skipped`` counts rows that say nothing, by
    reason."""

    source: Source
    rows: tuple[Row, ...]
    tasks: tuple[Task, ...]
    skipped: Mapping[str, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)


def named_source(named: str, columns: Mapping[str, str]) -> Rows | HubRows:
    """A file, a folder that `datasets` saved or that is a copy of a data set of the hub, or one of the hub by its name:
    "owner/name", "owner/name:subset@split".

    Raises DataError for what is none of them.
    """
    path = Path(named).expanduser()
    if path.is_dir() and not any((path / name).is_file() for name in SAVED):
        return HubRows(name=str(path), columns=columns)  # a copy of a data set of the hub
    if path.exists() or path.suffix in ENDINGS:
        return Rows(path=path, columns=columns)
    found = HUB.fullmatch(named)
    if found is None:
        raise DataError(f'there is no {named}; rows come from a file, a folder, or the hub: "owner/name:subset@split"')
    return HubRows(name=found["name"], subset=found["subset"], split=found["split"], columns=columns)


def open_corpus(
    named: str, columns: Mapping[str, str] | None = None, license_id: str = "", split: str = "train"
) -> Corpus:
    """Everything that ``named`` holds. With ``columns`` the rows have Togi's names beside their own.

    Raises DataError: rows that cannot be read (all are named), no row, or a lineage that is not these rows'.
    """
    try:
        return read_corpus(named_source(named, columns or {}), license_id, split)
    except DataError as error:
        if "columns = {" not in str(error):
            raise
        raise DataError(f"{error}\nHere a column is named as --column prompt=NAME") from error


def read_corpus(source: Rows | HubRows, license_id: str, split: str) -> Corpus:
    """See ``open_corpus``."""
    if isinstance(source, Rows) and holds_judgements(source.path):
        raise DataError(f"{source.path} holds judgements of people, which a recipe takes as they are, and no rows")
    find_lineage_of(source)  # a lineage of other rows is told before any row is read
    name, problems = source_name(source), Diagnostics()
    rows: list[Row] = []
    tasks: list[Task] = []
    skipped: Counter[str] = Counter()
    kinds: dict[str, tuple[str, int]] = {}
    for number, row in numbered_rows(source, split, problems):
        try:
            tasks.append(make_task(row, f"{name}:{number}", Prompting(), columns=source.columns))
            check_kinds(under_our_names(row, source.columns), number, kinds)
        except RowError as error:
            problems.add(f"{describe(source)}:{number}", str(error))
        except RowSkipped as reason:
            skipped[str(reason)] += 1
        else:
            rows.append(named_row(row, source))
    problems.stop_if_any()
    if not rows:
        raise DataError(f"{describe(source)} has no rows")
    return Corpus(
        source=record_of(source, rows, len(rows) + sum(skipped.values()), license_id),
        rows=tuple(rows),
        tasks=tuple(tasks),
        skipped=skipped,
    )


def named_row(row: Row, source: Rows | HubRows) -> Row:
    """The row as it stands, and where its source says how it calls Togi's columns, under those names too."""
    return under_our_names(row, source.columns) if source.columns else row


def record_of(source: Rows | HubRows, rows: Sequence[Row], count: int, license_id: str = "") -> Source:
    """What a lineage says of a source of ``count`` rows. Rows that were made from others have all their licences."""
    lineage = find_lineage_of(source)
    inherited = ", ".join(dict.fromkeys(each.license for each in lineage.sources)) if lineage else NOT_STATED
    return Source(
        name=source_name(source),
        sha256=_digest(source, rows),
        rows=count,
        license=license_id or inherited,
        lineage=lineage,
    )


def find_lineage_of(source: Rows | HubRows) -> Lineage | None:
    return find_lineage(source.path) if isinstance(source, Rows) else None


def source_name(source: Rows | HubRows) -> str:
    if isinstance(source, Rows):
        return source.path.name
    return source.name + (f":{source.subset}" if source.subset else "") + (f"@{source.split}" if source.split else "")


def _digest(source: Rows | HubRows, rows: Sequence[Row]) -> str:
    """sha256 of the file, or where there is no single file of its rows."""
    if isinstance(source, Rows) and source.path.is_file():
        return file_sha256(source.path)
    sha = hashlib.sha256()
    for row in rows:
        sha.update(json.dumps(row, sort_keys=True, ensure_ascii=False).encode() + b"\n")
    return sha.hexdigest()
