"""Process reward models on held-out answers, as a table, sentences and a few answers step by step. It reads no file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from togi.evidence.after.measure_process_model import AnswerRecord, StepsRecord, said
from togi.short_values import MISSING, percent, text

Row = tuple[str, list[str]]
SHOWN = 5  # answers of each model that are shown step by step


@dataclass(frozen=True, kw_only=True)
class StepsView:
    """One column a model. ``answers`` are (title, heads, rows) of answers with a known first error."""

    sentences: tuple[str, ...]
    heads: tuple[str, ...]
    rows: tuple[Row, ...]
    answers: tuple[tuple[str, tuple[str, ...], tuple[Row, ...]], ...]


def steps_view(records: Sequence[StepsRecord]) -> StepsView | None:
    """None when no model was measured."""
    if not records:
        return None
    rows = [
        ("Held-out answers", [str(len(one["answers"])) for one in records]),
        ("Finds the first error", [_share(one["first_error"]) for one in records]),
        ("Always naming the same step", [_percent(one["constant"]) for one in records]),
        ("Steps called as they are labelled", [_share(one["accuracy"]) for one in records]),
    ]
    return StepsView(
        sentences=tuple(f"{text(said(one))}." for one in records),
        heads=tuple(text(one["name"]) for one in records),
        rows=tuple(rows),
        answers=tuple(_answer(one["name"], answer) for one in records for answer in _wrong(one["answers"])),
    )


def _wrong(answers: Sequence[AnswerRecord]) -> list[AnswerRecord]:
    return [answer for answer in answers if 0 in answer["labels"]][:SHOWN]


def _answer(name: str, answer: AnswerRecord) -> tuple[str, tuple[str, ...], tuple[Row, ...]]:
    heads = tuple(f"step {number}" for number in range(1, len(answer["labels"]) + 1))
    labels = ("label", [f"{label:g}" for label in answer["labels"]])
    chances = ("chance that it is right", [percent(chance) for chance in answer["chances"]])
    return f"{text(name)}, {text(answer['task'])}", heads, (labels, chances)


def _share(one: Mapping[str, float] | None) -> str:
    if one is None:
        return MISSING
    return f"{percent(one['point'])} ({100 * one['low']:.1f}–{100 * one['high']:.1f}) of {one['n']:g}"


def _percent(one: float | None) -> str:
    return MISSING if one is None else percent(one)
