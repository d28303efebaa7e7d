"""Ten times the tasks, from made-up runs that were measured on the way: what is forecast, and why nothing is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_experiment_runs import planned, run
from test_held_out_numbers import record

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.read_run import RunData
from togi.experiment.more_tasks import more_tasks
from togi.experiment.outcome import Cell, Outcome


def look(step: int, right: int, model: str = "hone", asked: int = 2) -> EvaluationRecord:
    """Tasks with ten attempts, so many of them right."""
    task: list[tuple[str, float | None]] = [("7", float(number < right)) for number in range(10)]
    return EvaluationRecord(**{**record(*[task] * asked), "model": model, "step": step})


def a_run(right: Mapping[int, int], *, seconds: float = 2.0, asked: int = 2, **evaluation: Any) -> RunData:
    """Three steps of another stage, and then the steps of ``right``, of four tasks each."""
    last = 3 + max(right)
    stages = [{"name": "first", "tasks_per_step": 9}, {"name": "hone", "tasks_per_step": 4}]
    steps = [*["first"] * 3, *["hone"] * max(right)]
    return RunData(
        folder=Path(),
        recipe={"stage": stages, "evaluation": evaluation},
        metrics=tuple({"stage": stage} for stage in steps),
        timings=tuple({"stage": stage, "seconds": {"learn": seconds}, "tokens": 1} for stage in steps),
        evaluations=(look(0, 1, "base"), look(last, right[max(right)])),
        on_the_way=tuple(look(3 + step, count, asked=asked) for step, count in right.items() if step < max(right)),
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    return run(tmp_path_factory.mktemp("experiment"), planned())


def said(finished: Outcome, *runs: RunData | None) -> str:
    plan = {**finished.plan, "measure": "pass@1", "arms": {"hone": {"control": False, "taken": "every"}}}
    cells = tuple(Cell(arm="hone", seed=seed, state="done", data=data) for seed, data in enumerate(runs))
    return more_tasks(replace(finished, plan=plan, cells=cells))["hone"]


LINE = {1: 2, 2: 3, 4: 4, 8: 5}  # a tenth more whenever the tasks are doubled


def test_a_line_is_drawn_on_with_its_time_and_how_it_did(finished: Outcome) -> None:
    above = {step: right + 1 for step, right in LINE.items()}
    told = said(finished, a_run(LINE, seconds=1.9), a_run(above), a_run(LINE, seconds=2.1))
    # 11 steps take 22 s, and 9 times 8 more of them 144 s. At 320 tasks the lines are at 0.73, 0.83 and 0.73 of a gain.
    assert told.startswith("10 times the tasks would take 2 min 46 s (2 min 25 s to 3 min 07 s) a run. At 320 tasks")
    assert "a gain of +62.2 to +90.0 points is expected, if it goes on as before." in told
    assert told.endswith("Of 1 earlier such forecast, 1 held; they were off by 0.0 points on average.")


def test_a_line_that_leads_beyond_what_can_be_gained_is_told(finished: Outcome) -> None:
    steep = [{1: 2, 2: 5, 4: 8, 8: 10}, {1: 2, 2: 5, 4: 8, 8: 9}, {1: 1, 2: 5, 4: 8, 8: 10}]
    told = said(finished, *map(a_run, steep))
    assert "the line leads beyond the +90.0 points that can be gained, so it will bend" in told


WHY = [
    ([a_run({1: 2, 8: 5})] * 2, "it was measured after 2 different numbers of tasks, and a line needs 3: set"),
    ([a_run({8: 5})] * 2, "it was measured after 1 different number of tasks, and a line needs 3"),
    ([a_run(LINE), a_run({1: 2, 2: 3, 8: 5})], "seeds were measured after different numbers of tasks"),
    ([a_run(LINE), None], "a seed is missing"),
    ([a_run(LINE, asked=1)] * 2, "on the way other tasks were asked, and the untrained model was not"),
    (
        [replace(a_run(LINE), evaluations=(look(4, 3, "first"), look(11, 5)))] * 2,
        "the untrained model was not measured",
    ),
    ([replace(a_run(LINE), recipe=None)] * 2, "the run's recipe cannot be read"),
    ([a_run({1: 2, 2: 3, 8: 5}, best="pass@1")] * 2, "it was measured after 2 different numbers of tasks"),
]


@pytest.mark.parametrize(("runs", "why"), WHY)
def test_why_nothing_is_forecast_is_told(finished: Outcome, runs: list[RunData | None], why: str) -> None:
    assert said(finished, *runs).startswith(f"What more tasks would bring is not known: {why}")


def test_nothing_is_said_of_what_trains_nothing(finished: Outcome) -> None:
    assert more_tasks(finished) == {}
