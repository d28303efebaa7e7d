"""Measuring a process reward model on answers that were held out of its stage: does it find the first error?

It knows steps, labels and chances; it trains nothing and does not know who labelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, cast

import numpy as np

from togi.evidence.after.record_file import read_record, write_record
from togi.statistics import wilson
from togi.types import Sample

if TYPE_CHECKING:
    from togi.models.scalar_heads import ScalarModel


class AnswerRecord(TypedDict):
    """One answer: the label of each step that has one, and the chance that the step is right, as the model says."""

    task: str
    labels: list[float]
    chances: list[float]


class StepsRecord(TypedDict):
    """``accuracy`` is the share of labelled steps called as labelled, ``first_error`` the share of answers with a known
    first error whose first step below one half is that one; both with Wilson's 95% interval, None where there is
    nothing to count. ``constant`` is what ``first_error`` is for whoever always names the step in which first errors
    are most frequent."""

    name: str
    step: int
    accuracy: dict[str, float] | None
    first_error: dict[str, float] | None
    constant: float | None
    answers: list[AnswerRecord]


def measure_steps(model: ScalarModel, answers: Sequence[Sample], *, name: str, step: int) -> StepsRecord:
    """The model's word on every step of answers whose ``steps`` are labelled. What follows the first step of worth 0 is
    no part of the accuracy, as it is none of the training."""
    records: list[AnswerRecord] = []
    for sample, after_T in zip(answers, model.after(answers), strict=True):
        if sample.steps is None:
            continue
        at = np.flatnonzero(~np.isnan(sample.steps))
        chances = 1 / (1 + np.exp(-after_T[at]))
        records.append({"task": sample.task, "labels": sample.steps[at].tolist(), "chances": chances.tolist()})
    return _summed(records, name, step)


def _summed(records: list[AnswerRecord], name: str, step: int) -> StepsRecord:
    calls: list[bool] = []
    found: list[bool] = []
    places: Counter[int] = Counter()
    for record in records:
        labels, chances = record["labels"], record["chances"]
        error = next((k for k, label in enumerate(labels) if label == 0), None)
        learned = len(labels) if error is None else error + 1
        pairs = zip(labels[:learned], chances[:learned], strict=True)
        calls += [(chance > 0.5) == (label > 0.5) for label, chance in pairs if label != 0.5]
        if error is not None:
            found.append(next((k for k, chance in enumerate(chances) if chance < 0.5), None) == error)
            places[error] += 1
    return {
        "name": name,
        "step": step,
        "accuracy": _share(calls),
        "first_error": _share(found),
        "constant": max(places.values()) / places.total() if places else None,
        "answers": records,
    }


def _share(found: Sequence[bool]) -> dict[str, float] | None:
    return asdict(wilson(sum(found), len(found))) | {"n": len(found)} if found else None


def write_steps(folder: Path, record: StepsRecord) -> Path:
    """Write ``folder/steps/NAME.json`` whole or not at all, and give its path."""
    return write_record(folder / "steps", record["name"], record)


def read_steps(path: Path) -> StepsRecord:
    """Read and check one file; ``ValueError`` says what is wrong with it."""
    return cast(StepsRecord, read_record(path, "measurement of steps", StepsRecord, _faults, "run the stage again"))


def _faults(data: Mapping[str, Any]) -> Iterator[str]:
    for number, answer in enumerate(data["answers"] if isinstance(data["answers"], list) else [None]):
        if not isinstance(answer, Mapping) or any(key not in answer for key in AnswerRecord.__annotations__):
            yield f"answer {number} needs {', '.join(AnswerRecord.__annotations__)}"
    for key in ("accuracy", "first_error"):
        if data[key] is not None and not {"point", "low", "high", "n"} <= dict(data[key]).keys():
            yield f'"{key}" needs point, low, high, n'


def said(record: StepsRecord) -> str:
    """The record in a sentence."""
    found = record["first_error"]
    if found is None:
        return f"{record['name']}: no answer that was held out has a known first error"
    assert record["constant"] is not None
    verdict = (
        f"{record['name']} finds the first error in {found['point']:.0%} of {found['n']} answers that were held out "
        f"(95% {found['low']:.0%} to {found['high']:.0%}); always naming the same step finds {record['constant']:.0%}"
    )
    return verdict if found["low"] > record["constant"] else f"{verdict}, so there is no evidence that it reads steps"
