"""What a row says its answers are worth, from labels, scores, ranks and probabilities; it does not know messages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from togi.data.errors import RowError, RowSkipped

Worth = tuple[float, ...]
PAIR_COLUMNS = ("chosen_probability", "margin", "score_chosen", "score_rejected")
RANKING_COLUMNS = ("ranks", "scores")
TIE = "the answers are worth the same"


def pair_worth(row: Mapping[str, Any]) -> Worth:
    """(chosen, rejected): their scores, (margin, 0), the win probabilities (p, 1 - p), or (1, 0) when the row says no
    more than which is better. Raises RowError, and RowSkipped for a tie; but a probability of 0.5 is a label."""
    given = [name for name in PAIR_COLUMNS if row.get(name) is not None]
    if not given:
        return (1.0, 0.0)
    if given == ["score_chosen", "score_rejected"]:
        worth: Worth = (_number(row, "score_chosen"), _number(row, "score_rejected"))
        if worth[0] < worth[1]:
            raise RowError(f"chosen has the lower score, {worth[0]:g} against {worth[1]:g}: swap them, or their scores")
    elif given == ["chosen_probability"]:
        p = _number(row, "chosen_probability")
        if not 0 <= p <= 1:
            raise RowError(f"chosen_probability lies between 0 and 1; got {p:g}")
        return (p, 1 - p)
    elif given == ["margin"]:
        worth = (_number(row, "margin"), 0.0)
        if worth[0] < 0:
            raise RowError(f"margin says by how much chosen is better, and is not negative; got {worth[0]:g}")
    else:
        raise RowError(
            "a pair has one measure of worth: chosen_probability, or margin, or both score_chosen and score_rejected; "
            f"this has {' and '.join(given)}"
        )
    if worth[0] == worth[1]:
        raise RowSkipped(TIE)
    return worth


def ranking_worth(row: Mapping[str, Any], count: int) -> Worth:
    """One number for each of ``count`` answers: its score, or how many answers have a worse rank (1 is the best).
    Raises RowError, and RowSkipped for a ranking of one answer and for one where all are alike."""
    given = [name for name in RANKING_COLUMNS if row.get(name) is not None]
    if len(given) != 1:
        raise RowError(
            f"completions have either ranks (1 is the best) or scores (higher is better); this has {given or 'neither'}"
        )
    values = row[given[0]]
    if not isinstance(values, Sequence) or isinstance(values, str) or len(values) != count:
        raise RowError(f'"{given[0]}" is a list of {count} numbers, one for each completion; this is {values!r:.80}')
    worth = tuple(_finite(value, given[0]) for value in values)
    if count == 1:
        raise RowSkipped("a ranking of a single answer compares nothing")
    if given[0] == "ranks":
        worth = tuple(float(sum(other > rank for other in worth)) for rank in worth)
    if len(set(worth)) == 1:
        raise RowSkipped(TIE)
    return worth


def label_worth(row: Mapping[str, Any]) -> Worth:
    """1 for an answer labelled true or 1, 0 for false or 0; nothing when ``label`` is no such value, but a column like
    others."""
    return (float(row["label"]),) if is_thumb(row.get("label")) else ()


def is_thumb(label: Any) -> bool:
    return isinstance(label, bool | int) and label in (0, 1)


def step_worth(row: Mapping[str, Any], count: int) -> Worth:
    """From 0 (wrong) to 1 (right) for each of ``count`` steps, nan where its label is missing; true is 1. Raises
    RowError."""
    labels = row["labels"]
    if not isinstance(labels, Sequence) or isinstance(labels, str) or len(labels) != count:
        raise RowError(f'"labels" is a list of {count}, one for each step; this is {labels!r:.80}')
    worth = tuple(math.nan if each is None else _finite(float(each) if isinstance(each, bool) else each, "labels")
                  for each in labels)  # fmt: skip
    if any(each < 0 or each > 1 for each in worth):
        raise RowError(f"labels of steps are true, false, or from 0 to 1 (write a rating as rating >= 0); got {labels}")
    if all(map(math.isnan, worth)):
        raise RowSkipped("no step of the answer has a label")
    return worth


def refuse_one_class(worths: Sequence[Worth]) -> None:
    """Refuse single labelled answers that all have the same label. Raises RowError."""
    if not all(len(worth) == 1 for worth in worths) or len(set(worths)) > 1:
        return
    good = worths[0] == (1.0,)
    advice = "add bad ones, or remove the column to learn from these as demonstrations" if good else "add good ones"
    raise RowError(
        f'the column "label" is {"true" if good else "false"} in all {len(worths)} rows, and a preference is learned '
        f"from good and bad answers: {advice}"
    )


def _number(row: Mapping[str, Any], name: str) -> float:
    return _finite(row[name], name)


def _finite(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise RowError(f'"{name}" holds numbers; this is {value!r:.80}')
    return float(value)
