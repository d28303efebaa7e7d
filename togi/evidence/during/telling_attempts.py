"""The attempts of a step that show best what a signal alarms about. It reads rollout rows and decides nothing."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from togi.evidence.during.step_measures import Row, groups, is_right, is_scored, loops, number, same_text, similarity
from togi.types import CUT

MOST = 3
LONGEST = 4000  # characters of a text that an alarm carries
Order = Callable[[Sequence[Row], str], list[Row]]


def offenders(signal: str, about: str, rows: Sequence[Row]) -> tuple[dict[str, Any], ...]:
    """Up to three attempts, of different tasks where there are any. ``about`` is the part the signal speaks of."""
    chosen: list[Row] = []
    for row in ORDERS[signal](rows, about) if signal in ORDERS else []:
        if len(chosen) < MOST and all(row["group"] != other["group"] for other in chosen):
            chosen.append(row)
    return tuple(_carried(row) for row in chosen)


def _carried(row: Row) -> dict[str, Any]:
    return {
        "task": row["task"],
        "group": row["group"],
        "attempt": row["attempt"],
        "prompt": _cut_text(row["prompt"]),
        "completion": _cut_text(row["completion"]),
        "tokens": row["tokens"],
        "stop": row["stop"],
        "score": {key: row["score"][key] for key in ("value", "parts", "status", "note")},
        "answer": row["answer"],
        **({"gold": row["gold"]} if "gold" in row else {}),
    }


def _cut_text(text: str) -> str:
    return text if len(text) <= LONGEST else text[:LONGEST] + " …"


def _value(row: Row) -> float:
    known = number(row["score"]["value"])
    return -math.inf if known is None else known


def _paid_for_nothing(rows: Sequence[Row], _: str) -> list[Row]:
    """The best paid of those whose truth is lowest."""
    known = [row for row in rows if is_scored(row) and number(row.get("gold")) is not None]
    return sorted(known, key=lambda row: (row["gold"], -_value(row)))


def _paid_without(rows: Sequence[Row], part: str) -> list[Row]:
    """The best paid of those to which a part gave least."""
    known = [row for row in rows if is_scored(row)]
    return sorted(known, key=lambda row: (row["score"].get("shares", {}).get(part, 0.0), -_value(row)))


def _paid_by(rows: Sequence[Row], part: str) -> list[Row]:
    """Those to which a part gave most."""
    known = [row for row in rows if is_scored(row)]
    return sorted(known, key=lambda row: -row["score"].get("shares", {}).get(part, 0.0))


def _liked_and_wrong(rows: Sequence[Row], part: str) -> list[Row]:
    known = [row for row in rows if is_right(row) is False and part in row["score"]["parts"]]
    return sorted(known, key=lambda row: -(number(row["score"]["parts"][part]) or 0.0))


def _by_length(rows: Sequence[Row], word: str) -> list[Row]:
    return sorted(rows, key=lambda row: row["tokens"], reverse=word == "longer")


def _cut(rows: Sequence[Row], _: str) -> list[Row]:
    return [row for row in rows if row["stop"] in CUT]


def _repeated_at_a_task(rows: Sequence[Row], _: str) -> list[Row]:
    counts = Counter((row["group"], same_text(row["completion"])) for row in rows if not is_right(row))
    return _most(rows, lambda row: counts[row["group"], same_text(row["completion"])])


def _repeated_across(rows: Sequence[Row], _: str) -> list[Row]:
    tasks = Counter({(row["group"], same_text(row["completion"])): 1 for row in rows if not is_right(row)}.keys())
    spread = Counter(text for _, text in tasks)
    return _most(rows, lambda row: spread[same_text(row["completion"])])


def _most(rows: Sequence[Row], count: Callable[[Row], int]) -> list[Row]:
    return sorted((row for row in rows if count(row) > 1), key=lambda row: -count(row))


def _alike(rows: Sequence[Row], _: str) -> list[Row]:
    several = [group for group in groups(rows) if len(group) > 1]
    return [group[0] for group in sorted(several, key=lambda group: -similarity(group))]


def _surest(rows: Sequence[Row], _: str) -> list[Row]:
    known = [row for row in rows if number(row["logp_mean"]) is not None]
    return sorted(known, key=lambda row: -row["logp_mean"])


def _least_sure(rows: Sequence[Row], _: str) -> list[Row]:
    return _surest(rows, "")[::-1]


def _worst_paid(rows: Sequence[Row], _: str) -> list[Row]:
    return sorted((row for row in rows if is_scored(row)), key=_value)


def _looping(rows: Sequence[Row], _: str) -> list[Row]:
    return [row for row in rows if loops(row["completion"])]


def _empty(rows: Sequence[Row], _: str) -> list[Row]:
    return [row for row in rows if not row["completion"].strip()]


def _without_score(rows: Sequence[Row], _: str) -> list[Row]:
    return [row for row in rows if row["score"]["status"] != "ok"]


def _at_fault(rows: Sequence[Row], _: str) -> list[Row]:
    return [row for row in rows if row["score"].get("own_fault")]


def _without_answer(rows: Sequence[Row], _: str) -> list[Row]:
    return [row for row in rows if row["score"]["parts"].get("parsed") == 0.0]


def _without_signal(rows: Sequence[Row], _: str) -> list[Row]:
    flat = [group for group in groups(rows) if len({_value(row) for row in group}) == 1 and len(group) > 1]
    return [group[0] for group in sorted(flat, key=lambda group: _value(group[0]))]


ORDERS: dict[str, Order] = {
    "truth": _paid_for_nothing,
    "parts": _paid_without,
    "dominance": _paid_by,
    "judge": _liked_and_wrong,
    "length": _by_length,
    "cut off": _cut,
    "repeats within a task": _repeated_at_a_task,
    "repeats across tasks": _repeated_across,
    "likeness": _alike,
    "entropy": _surest,
    "no score": _without_score,
    "own fault": _at_fault,
    "no answer": _without_answer,
    "no signal": _without_signal,
    "lost reward": _worst_paid,
    "no entropy": _surest,
    "endless repetition": _looping,
    "empty answers": _empty,
    "noise": _least_sure,
}
