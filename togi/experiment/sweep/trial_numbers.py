"""What the runs of a trial gave: one number by which the search is decided, and those measured on the way to it. It
knows no sampler."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from togi.evidence.after.evaluation_file import EvaluationRecord, read_evaluation
from togi.evidence.read_run import read_run
from togi.experiment.held_out_numbers import Reading, measured
from togi.experiment.ledger import NUMBERS

ON_THE_WAY = "on the way"


def value_of(reading: Reading, job: str) -> float:
    """The number of a run that is done: the mean over the tasks that choose. Raises ValueError where some have none."""
    place = reading.folder / job
    if (place / NUMBERS).exists():
        return float(json.loads((place / NUMBERS).read_bytes().decode())[reading.measure])
    evaluations = read_run(place).evaluations
    if not evaluations:
        raise ValueError("nothing was measured")
    numbers, tasks = _numbers(reading, evaluations[-1]), len(evaluations[-1]["tasks"])
    if len(numbers) < tasks:
        raise ValueError(f"{tasks - len(numbers)} of {tasks} tasks that choose have no score")
    return sum(numbers) / tasks


def way_of(reading: Reading, job: str) -> list[float]:
    """What was measured on the way so far, in order: means over the tasks that could be scored there."""
    place = reading.folder / job
    if (place / NUMBERS).exists():
        return [float(each) for each in json.loads((place / NUMBERS).read_bytes().decode()).get(ON_THE_WAY, [])]
    records = [read_evaluation(path) for path in looks(place)]
    records.sort(key=lambda record: record["step"])
    scored = [_numbers(reading, record) for record in records]
    return [sum(numbers) / len(numbers) for numbers in scored if numbers]


def looks(place: Path) -> Sequence[Path]:
    """The files of what was measured on the way."""
    return sorted(place.glob("evaluations_on_the_way/[!.]*.json"))


def _numbers(reading: Reading, record: EvaluationRecord) -> list[float]:
    """One number a task that could be scored."""
    return list(measured(reading, "", record, "every").numbers.values())
