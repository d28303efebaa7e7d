"""Where the rows of a run come from, as the rows of a table: the newest file first, what it was made from below."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from togi.data.lineage import Dropped, Lineage, Source
from togi.evidence.read_run import Json
from togi.run_folder.row_lineage import Noted, read_noted
from togi.short_values import text


@dataclass(frozen=True, kw_only=True)
class LineageRow:
    """A file of rows, or what was there before any command: then ``made`` is empty. ``depth`` counts files between it
    and the run."""

    name: str
    rows: str
    made: str
    left_out: tuple[str, ...]
    license: str
    sha256: str
    depth: int


@dataclass(frozen=True, kw_only=True)
class LineageView:
    used_by: str
    rows: tuple[LineageRow, ...]


def lineage_views(manifest: Json) -> list[LineageView]:
    """One a file that the run read; none where no file has a lineage."""
    return [_view(noted) for noted in read_noted(manifest)]


def _view(noted: Noted) -> LineageView:
    return LineageView(used_by=", ".join(map(text, noted.used_by)), rows=tuple(_file(noted.lineage, "", 0)))


def _file(lineage: Lineage, license_id: str, depth: int) -> Iterator[LineageRow]:
    settings = {name: value for name, value in lineage.settings.items() if value not in (None, "", [])}
    asked = f"; held against or asked: {', '.join(text(each.name) for each in lineage.consulted)}"
    made = f"togi data {text(lineage.verb)}, {text(lineage.time)}" + (f" ({text(settings)})" if settings else "")
    yield LineageRow(
        name=text(lineage.file),
        rows=f"{lineage.rows:,}",
        made=made + (asked if lineage.consulted else ""),
        left_out=tuple(map(_left_out, lineage.dropped)),
        license=license_id or ", ".join(dict.fromkeys(text(each.license) for each in lineage.sources)),
        sha256=text(lineage.sha256),
        depth=depth,
    )
    for source in lineage.sources:
        yield from _source(source, depth + 1)


def _source(source: Source, depth: int) -> Iterator[LineageRow]:
    if source.lineage is not None:
        yield from _file(source.lineage, text(source.license), depth)
        return
    rows = "" if source.rows is None else f"{source.rows:,}"
    license_id, sha256 = text(source.license), text(source.sha256)
    yield LineageRow(
        name=text(source.name), rows=rows, made="", left_out=(), license=license_id, sha256=sha256, depth=depth
    )


def _left_out(dropped: Dropped) -> str:
    return f"{dropped.rows:,}: {text(dropped.why)}"
