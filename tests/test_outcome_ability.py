"""What an arm can do more than the model that its last stage began with, and than another arm on other tasks."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from test_answers_changed import answers
from test_experiment_runs import planned, run

from togi.evidence.read_run import RunData
from togi.experiment.job_cost import JobCost
from togi.experiment.outcome import Cell, Elsewhere
from togi.experiment.outcome_ability import Covered, ability_of, forgotten
from togi.report.experiment_page import page

# The stages of a recipe, the models that were measured, and which of them the last one was trained from.
GROWN: list[tuple[list[dict[str, Any]], list[str], str]] = [
    ([{"name": "cold"}, {"name": "grpo"}], ["base", "cold", "grpo"], "cold"),
    ([{"name": "cold"}, {"name": "grpo"}], ["base", "grpo"], "base"),  # the cold start was not measured
    ([{"name": "cold"}, {"name": "grpo", "start": "base"}], ["base", "cold", "grpo"], "base"),
    ([{"name": "form"}, {"name": "prm"}, {"name": "rloo", "start": "form"}], ["base", "form", "rloo"], "form"),
    ([{"name": "form"}, {"name": "labels"}, {"name": "ppo"}], ["base", "form", "ppo"], "form"),
    ([{"name": "a_1"}, {"name": "l_1", "start": "cold"}], ["base", "a_1", "l_1"], "base"),  # no such stage
    ([], ["base", "grpo"], "base"),
]


@pytest.mark.parametrize(("stages", "measured", "start"), GROWN)
def test_what_a_model_was_trained_from(stages: list[dict[str, Any]], measured: list[str], start: str) -> None:
    evaluations = tuple(answers(name, ["7"]) for name in measured)
    data = RunData(folder=Path(), recipe={"stage": stages}, evaluations=evaluations)
    origin, last = data.grown[-1]
    assert (origin["model"], last["model"]) == (start, measured[-1])


def test_nothing_grew_where_one_model_was_measured() -> None:
    assert RunData(folder=Path(), evaluations=(answers("base", ["7"]),)).grown == []


def test_an_arm_is_compared_with_the_model_it_was_trained_from(tmp_path: Path) -> None:
    finished = run(tmp_path, planned())
    cells = tuple(
        Cell(
            arm="planner",
            seed=seed,
            state="done",
            tallies={"a": (8, 8), "b": (0, 8), "c": (seed, 8), "d": (2, 8)},
            start="cold_start",
            start_tallies={"a": (0, 8), "b": (1, 8), "c": (1, 8), "d": (2, 8)},
        )
        for seed in range(3)
    )
    outcome = replace(finished, plan={**finished.plan, "measure": "pass@1"}, cells=cells)
    grown = ability_of(outcome)["planner"]
    assert grown.start == "cold_start"
    assert grown.covered == (
        Covered(asked="a", before=(0, 24), after=(24, 24), gained=3, lost=0, surely=3),
        Covered(asked="b", before=(3, 24), after=(0, 24), gained=0, lost=3, surely=0),
        Covered(asked="c", before=(3, 24), after=(3, 24), gained=0, lost=1, surely=0),
    )
    shown = page(replace(outcome, cells=(*cells, *finished.of_arm("greedy"))))
    assert "planner after cold_start" in shown
    for told in ("0 of 24", "gained in 3 of 3", "lost in 1 of 3"):
        assert told in shown


def test_nothing_is_said_of_what_was_trained_from_nothing_measured(tmp_path: Path) -> None:
    finished = run(tmp_path, planned())
    cells = tuple(Cell(arm="planner", seed=seed, state="done", tallies={"a": (8, 8)}) for seed in range(3))
    outcome = replace(finished, plan={**finished.plan, "measure": "pass@1"}, cells=cells)
    assert ability_of(outcome) == {}


# Against which arm an experiment compares, and what the planner is compared with on other tasks.
RIVALS = [("base", ["long"]), ("greedy", ["long", "long, against greedy"]), ("planner", ["long"])]


@pytest.mark.parametrize(("against", "rows"), RIVALS)
def test_other_tasks_are_compared_with_the_untrained_model_and_the_arm(
    tmp_path: Path, against: str, rows: list[str]
) -> None:
    finished = run(tmp_path, planned())
    elsewhere = tuple(
        Elsewhere(
            other="long",
            arm=arm,
            seed=seed,
            numbers={f"t{task}": worth + task / 100 + seed / 1000 for task in range(20)},
            cost=JobCost(),
        )
        for arm, worth in (("base", 0.1), ("greedy", 0.3), ("planner", 0.2))
        for seed in finished.plan["seeds"]
    )
    plan = {**finished.plan, "others": {"long": {}}, "against": against}
    found = forgotten(replace(finished, plan=plan, elsewhere=elsewhere))["planner"]
    assert [each.name for each in found] == rows
    assert [each.found.point for each in found] == pytest.approx([0.1, -0.1][: len(rows)])
