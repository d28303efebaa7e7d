"""Where a file of rows comes from, as a small JSON file beside it: what was read, what was left out and why.

Every command that writes rows writes such a record, with the records of what it read inside, so that one file tells the
whole chain. It knows the form and whether the rows are still those it speaks of, and makes no row.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.data.errors import DataError
from togi.file_sha256 import file_sha256

SCHEMA = "togi.lineage.1"
ENDING = ".lineage.json"
DEEPEST = 100  # commands one after the other
NOT_STATED = "not stated"


@dataclass(frozen=True, kw_only=True)
class Dropped:
    """So many rows were left out, and why. ``examples`` are some of them, the row's text beside what it was held
    against."""

    why: str
    rows: int
    examples: tuple[Mapping[str, Any], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Source:
    """What rows were read from: a name, the sha256 of the file (or of the rows, where there is no file), how many rows
    it has, the licence as it was stated, and its own lineage where it has one. ``rows`` is None for what holds none,
    such as a model."""

    name: str
    sha256: str
    rows: int | None = None
    license: str = NOT_STATED
    lineage: Lineage | None = None


@dataclass(frozen=True, kw_only=True)
class Lineage:
    """``verb`` made the ``rows`` rows of ``file`` from ``sources``, by way of ``consulted``: benchmarks, a model, a
    run's attempts, none of whose rows are in the file."""

    file: str
    sha256: str
    rows: int
    verb: str
    settings: Mapping[str, Any]
    sources: tuple[Source, ...]
    consulted: tuple[Source, ...] = ()
    dropped: tuple[Dropped, ...] = ()
    togi: str = ""
    time: str = ""
    schema: str = field(default=SCHEMA)


def lineage_path(rows: Path) -> Path:
    """Where the record of a file of rows stands."""
    return rows.with_name(rows.name + ENDING)


def find_lineage(rows: Path) -> Lineage | None:
    """The record beside a file of rows; None where there is none. Raises DataError when it is damaged, or when the rows
    are no longer those it speaks of."""
    path = lineage_path(rows)
    if not rows.is_file() or not path.is_file():
        return None
    found = read_lineage(path)
    now = file_sha256(rows)
    if now != found.sha256:
        raise DataError(
            f"{rows} was changed after its lineage was written: its sha256 is {now[:12]}…, {path.name} says "
            f"{found.sha256[:12]}…. Bring the rows back, make them again with togi data {found.verb}, or remove {path} "
            "if these rows are to be a source of their own"
        )
    return found


def read_lineage(path: Path) -> Lineage:
    """A record from its file. Raises DataError."""
    try:
        value = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(
            f"{path} cannot be read as a lineage ({error}): bring it back, or make its rows again"
        ) from error
    try:
        return lineage_of(value)
    except ValueError as error:
        raise DataError(f"{path} is no lineage: {error}. Bring it back, or make its rows again") from error


def lineage_of(value: Any, depth: int = 0) -> Lineage:
    """A record from plain values. Raises ValueError."""
    if depth > DEEPEST:
        raise ValueError(f"more than {DEEPEST} commands one after the other")
    table = _table(value, "a lineage")
    if table.get("schema") != SCHEMA:
        raise ValueError(f'its schema is {table.get("schema")!r:.80}, "{SCHEMA}" was wanted')
    return Lineage(
        **{name: _text(table, name) for name in ("file", "sha256", "verb", "togi", "time")},
        rows=_count(table, "rows"),
        settings=_table(table.get("settings", {}), "settings"),
        sources=tuple(_source(each, depth) for each in _list(table, "sources")),
        consulted=tuple(_source(each, depth) for each in _list(table, "consulted")),
        dropped=tuple(_dropped(each) for each in _list(table, "dropped")),
    )


def _source(value: Any, depth: int) -> Source:
    table = _table(value, "a source")
    inner = table.get("lineage")
    return Source(
        **{name: _text(table, name) for name in ("name", "sha256", "license")},
        rows=None if table.get("rows") is None else _count(table, "rows"),
        lineage=None if inner is None else lineage_of(inner, depth + 1),
    )


def _dropped(value: Any) -> Dropped:
    table = _table(value, "what was dropped")
    examples = tuple(_table(each, "an example") for each in _list(table, "examples"))
    return Dropped(why=_text(table, "why"), rows=_count(table, "rows"), examples=examples)


def _table(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is a JSON object; this is {value!r:.80}")
    return value


def _list(table: Mapping[str, Any], name: str) -> list[Any]:
    value = table.get(name, [])
    if not isinstance(value, list):
        raise ValueError(f"{name} is a list; this is {value!r:.80}")
    return value


def _text(table: Mapping[str, Any], name: str) -> str:
    value = table.get(name)
    if not isinstance(value, str):
        raise ValueError(f"{name} is text; this is {value!r:.80}")
    return value


def _count(table: Mapping[str, Any], name: str) -> int:
    value = table.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{name} is a whole number; this is {value!r:.80}")
    return value
