"""What ten times the tasks would take and bring, from what was measured on the way. It knows no page.

The gain of a stage is read over the tasks that it has asked: at each measurement on the way, and at its end. How such
forecasts do is seen in the same runs: their first half is asked for their end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.experiment.gain_forecast import FEWEST, Forecast, forecast, forecast_sentence, in_hindsight
from togi.evidence.read_run import RunData, planned_stages
from togi.experiment.held_out_numbers import Reading, measured
from togi.experiment.outcome import Cell, Outcome, scale_of
from togi.run import BASE
from togi.short_values import duration
from togi.statistics import Interval, over_seeds
from togi.statistics.intervals import Array

TIMES = 10


@dataclass(frozen=True, kw_only=True)
class Course:
    """One arm's gains over the untrained model [seeds, amounts] by the tasks that its last stage had asked, the seconds
    of each seed's run, and those of them that grow with the tasks; ``room`` is the most that can be gained, or None."""

    amounts: tuple[float, ...]
    gains: Array
    seconds: Array
    growing: Array
    room: float | None


class Uncharted(ValueError):
    """Why nothing says what more tasks would bring."""


def more_tasks(outcome: Outcome) -> dict[str, str]:
    """By arm that is no control: a forecast in words, or why there is none. Nothing of arms that train nothing, or are
    one of many in a grid."""
    courses: dict[str, Course] = {}
    said: dict[str, str] = {}
    for name, arm in outcome.plan["arms"].items():
        cells = outcome.of_arm(name)
        if arm.get("levels") or all(cell.data is None or len(cell.data.evaluations) < 2 for cell in cells):
            continue
        try:
            courses[name] = _course(outcome, cells)
        except Uncharted as why:
            said[name] = f"What more tasks would bring is not known: {why}."
    level = outcome.plan["level"]
    earlier = [in_hindsight(c.amounts, c.gains, level=level) for c in courses.values() if len(c.amounts) > FEWEST]
    said |= {name: _told(course, earlier, outcome) for name, course in courses.items()}
    return {name: said[name] for name in said if not outcome.plan["arms"][name]["control"]}


def _told(course: Course, earlier: Sequence[Forecast], outcome: Outcome) -> str:
    level, at = outcome.plan["level"], TIMES * course.amounts[-1]
    made = forecast(course.amounts, course.gains, at=at, level=level)
    takes = over_seeds((course.seconds + (TIMES - 1) * course.growing)[:, None], level=level)
    sentence = forecast_sentence(made, earlier, what="tasks", scale=scale_of(outcome), room=course.room)
    return f"{TIMES} times the tasks would take {_time(takes)} a run. {sentence}"


def _time(takes: Interval) -> str:
    if not np.isfinite(takes.low):
        return duration(takes.point)
    low = "at most" if takes.low <= 0 else f"{duration(takes.low)} to"
    return f"{duration(takes.point)} ({low} {duration(takes.high)})"


def _course(outcome: Outcome, cells: Sequence[Cell]) -> Course:
    runs = [cell.data for cell in cells if cell.data is not None]
    if len(runs) < len(cells):
        raise Uncharted("a seed is missing")
    reading = Reading(folder=outcome.folder, measure=outcome.plan["measure"])
    by_seed = [dict(_gains(reading, run)) for run in runs]
    amounts = sorted(by_seed[0])
    if any(sorted(gains) != amounts for gains in by_seed):
        raise Uncharted("seeds were measured after different numbers of tasks")
    if len(amounts) < FEWEST:
        raise Uncharted(
            f"it was measured after {len(amounts)} different number{'s' if len(amounts) != 1 else ''} of tasks, and a "
            f"line needs {FEWEST}: set evaluation.every"
        )
    bounds = scale_of(outcome).bounds
    base = float(np.mean([_mean(reading, _base(run)) for run in runs]))
    return Course(
        amounts=tuple(amounts),
        gains=np.array([[gains[amount] for amount in amounts] for gains in by_seed]),
        seconds=np.array([_seconds(run, None) for run in runs]),
        growing=np.array([_seconds(run, _last(run)["model"]) for run in runs]),
        room=None if bounds is None else bounds[1] - base,
    )


def _gains(reading: Reading, run: RunData) -> Iterator[tuple[float, float]]:
    """After how many tasks of the last stage it gained what over the untrained model, task by task."""
    last, base = _last(run), _base(run)
    stage = next((each for each in planned_stages(run.recipe) if each.get("name") == last["model"]), {})
    if "tasks_per_step" not in stage:
        raise Uncharted("the run's recipe cannot be read")
    before = last["step"] - sum(row["stage"] == last["model"] for row in run.metrics)
    looks = [one for one in run.on_the_way if one["model"] == last["model"] and one["step"] < last["step"]]
    if any({task["id"] for task in one["tasks"]} != {task["id"] for task in base["tasks"]} for one in looks):
        raise Uncharted("on the way other tasks were asked, and the untrained model was not")
    kept = (run.recipe or {}).get("evaluation", {}).get("best")
    for one in [*looks, *([] if kept else [last])]:
        yield (one["step"] - before) * float(stage["tasks_per_step"]), _mean(reading, one) - _mean(reading, base)


def _mean(reading: Reading, record: EvaluationRecord) -> float:
    numbers = list(measured(reading, "", record, "every").numbers.values())
    if not numbers:
        raise Uncharted(f"on the way too few attempts were made for {reading.measure}: raise evaluation.every_attempts")
    return float(np.mean(numbers))


def _last(run: RunData) -> EvaluationRecord:
    return run.evaluations[-1]


def _base(run: RunData) -> EvaluationRecord:
    found = [one for one in run.evaluations if one["model"] == BASE]
    if not found:
        raise Uncharted("the untrained model was not measured")
    return found[0]


def _seconds(run: RunData, stage: str | None) -> float:
    """Of a stage's steps and the measurements on its way, or of the whole run."""
    rows = [row for row in run.timings if stage in (None, row["stage"])]
    looks = [one["seconds"] for one in run.on_the_way if stage in (None, one["model"])]
    ends = [one["seconds"] for one in run.evaluations] if stage is None else []
    return float(sum(sum(row["seconds"].values()) for row in rows) + sum(looks) + sum(ends))
