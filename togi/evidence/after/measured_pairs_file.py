"""The file form of measured pairs, ``preferences/NAME.json``: reading, writing, checking. It measures nothing.

A pair is two answers to one task of which people (or a judge) preferred one, with what somebody scored them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, TypedDict, cast

from togi.evidence.after.record_file import read_record, write_record

Scale = Literal["log_odds", "probability"]
"""What a difference in scores means: the log-odds of being preferred (a reward model), or scores that are chances
themselves (a judge)."""

SKIPS = ("alone", "tie", "identical", "unscored")


class PairRecord(TypedDict):
    """Two scored answers. ``chosen`` is the one of higher worth and ``label`` the chance that it is preferred: 1 for
    a plain choice. ``truth`` is 1 where it is truly the better one and 0 where the label errs, null where nobody
    knows. ``tokens`` count completion tokens."""

    task: str
    label: float
    chosen_score: float
    rejected_score: float
    chosen_tokens: int
    rejected_tokens: int
    truth: float | None


class PairsRecord(TypedDict):
    """``name`` says who scored, ``step`` its updates. ``skipped`` counts what is no pair: tasks with one answer
    ("alone"), and pairs of equal worth ("tie"), of the same answer ("identical") or without a score ("unscored")."""

    name: str
    step: int
    scale: Scale
    tasks: int
    pairs: list[PairRecord]
    skipped: dict[str, int]


def write_pairs(folder: Path, record: PairsRecord) -> Path:
    """Write ``folder/preferences/NAME.json`` whole or not at all, and give its path."""
    return write_record(folder / "preferences", record["name"], record)


def read_pairs(path: Path) -> PairsRecord:
    """Read and check one file of measured pairs; ``ValueError`` says what is wrong with it."""
    return cast(PairsRecord, read_record(path, "file of pairs", PairsRecord, _faults, "measure the pairs again"))


def _faults(data: Mapping[str, Any]) -> Iterator[str]:
    if data["scale"] not in ("log_odds", "probability"):
        yield f'"scale" is log_odds or probability, got {data["scale"]!r}'
    numbers = [key for key in PairRecord.__annotations__ if key not in ("task", "truth")]
    if not isinstance(data["pairs"], list):
        yield f'"pairs" is a list of pairs, got {data["pairs"]!r}'
        return
    for number, pair in enumerate(data["pairs"]):
        if not isinstance(pair, Mapping) or any(key not in pair for key in PairRecord.__annotations__):
            yield f"pair {number} needs {', '.join(PairRecord.__annotations__)}"
        elif not all(isinstance(pair[key], int | float) for key in numbers):
            yield f"pair {number} needs a number for each of {', '.join(numbers)}"
