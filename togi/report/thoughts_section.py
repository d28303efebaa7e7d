"""What a model's thoughts were worth on held-out texts, as a table, a sentence and a few of them. It reads no file."""

from __future__ import annotations

from dataclasses import dataclass

from togi.evidence.after.measure_thoughts import KindRecord, PlaceRecord, ThoughtsRecord, said
from togi.short_values import text

Row = tuple[str, list[str]]


@dataclass(frozen=True, kw_only=True)
class ThoughtsView:
    """``rows`` has a row for each kind of token, ``places`` one for each thought that is shown."""

    name: str
    sentence: str
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    place_heads: tuple[str, ...]
    places: tuple[Row, ...]


def thoughts_view(record: ThoughtsRecord) -> ThoughtsView:
    return ThoughtsView(
        name=text(record["name"]),
        sentence=f"{text(said(record))}.",
        heads=("tokens", "without thoughts", "with thoughts", "gain", "share"),
        rows=tuple((text(kind), _cells(one)) for kind, one in record["kinds"].items()),
        place_heads=("next token", "thought", "without", "with"),
        places=tuple(row for place in record["places"] for row in _thoughts(place)),
    )


def _cells(one: KindRecord) -> list[str]:
    gain = one["gain"]
    point, low, high = (gain[key] for key in ("point", "low", "high"))
    known = "" if low is None or high is None else f" ({low:+.3f} to {high:+.3f})"
    numbers = [f"{one['without']:.3f}", f"{one['with_thoughts']:.3f}"]
    return [str(one["tokens"]), *numbers, f"{point:+.3f}{known}", f"{one['share']:.2f}"]


def _thoughts(place: PlaceRecord) -> list[Row]:
    return [
        (text(place["before"]), [text(place["token"]), text(thought), f"{-place['without']:.3f}", f"{-after:.3f}"])
        for thought, after in zip(place["thoughts"], place["with_thoughts"], strict=True)
    ]
