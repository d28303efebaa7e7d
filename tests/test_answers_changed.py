"""How an arm's answers changed beside being right more often: the words, their correction, and where they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_experiment_runs import planned, run
from test_held_out_numbers import record

from togi.evidence.after.evaluation_file import EvaluationRecord
from togi.evidence.experiment.answers_changed import MAJORITY, SAID, SURPRISE, abilities_changed, answers_changed
from togi.evidence.read_run import RunData
from togi.experiment.held_out_numbers import Reading
from togi.experiment.outcome import Cell
from togi.experiment.outcome_ability import changes_of
from togi.experiment.outcome_told import changed
from togi.report.experiment_page import page
from togi.rewards.verifiers import Verifier, number
from togi.statistics.intervals import Array

rng = np.random.default_rng(0)
SAME = rng.uniform(0.3, 0.6, (3, 30))


def moved(by: float) -> tuple[Array, Array]:
    return SAME + by + rng.normal(0, 0.01, SAME.shape), SAME + rng.normal(0, 0.01, SAME.shape)


@pytest.mark.parametrize("name", SAID)
@pytest.mark.parametrize(("by", "said"), [(0.2, "more"), (-0.2, "less")])
def test_a_change_is_said_in_words(name: str, by: float, said: str) -> None:
    (found,) = answers_changed({name: moved(by)})
    assert found.said == getattr(SAID[name], said)
    assert found.found.point == pytest.approx(by, abs=0.02)
    assert found.p == found.found.p
    unit = " points" if name != SURPRISE else ""
    assert changed(found).startswith(f"{name} {'+' if by > 0 else '-'}")
    assert f"{unit}): " in changed(found)


def test_what_only_chance_explains_together_is_not_said() -> None:
    drawn = ({MAJORITY: moved(0.004)} for _ in range(1000))
    alone = next(tables for tables in drawn if 0.02 < answers_changed(tables)[0].p < 0.05)
    assert answers_changed(alone)[0].said == "is right more often"
    many = {name: moved(0.0) for name in SAID if name != MAJORITY}
    together = answers_changed(many | alone)[0]
    assert together.said == "a change by itself, but not where all that was measured is tested together"
    assert together.p > 0.05


def test_false_changes_are_as_rare_as_promised() -> None:
    names, wrong = list(SAID)[:4], 0
    for _ in range(200):
        tables = {name: (rng.normal(0, 1, (3, 12)), rng.normal(0, 1, (3, 12))) for name in names}
        wrong += any(one.p <= 0.05 for one in answers_changed(tables))
    assert wrong <= 0.05 * 200 + 3 * (0.05 * 0.95 * 200) ** 0.5


ABILITIES = [
    (0.2, 0.05, "is done better than before"),
    (-0.2, 0.05, "was forgotten in part"),
    (0.0, 0.05, "is done no worse by 5.0 points or more"),
    (0.0, 0.0005, "not shown whether anything was forgotten"),
]


@pytest.mark.parametrize(("by", "margin", "said"), ABILITIES)
def test_what_became_of_another_ability_is_said(by: float, margin: float, said: str) -> None:
    found = abilities_changed({"letters": moved(by), "sums": moved(by)}, margin=margin)
    assert [(each.name, each.said) for each in found] == [("letters", said), ("sums", said)]


RIVALS = [
    (0.2, 0.05, "is done better"),
    (-0.2, 0.05, "is done worse"),
    (0.0, 0.05, "is done no worse by 5.0 points or more"),
    (0.0, 0.0005, "not shown who does it better"),
]


@pytest.mark.parametrize(("by", "margin", "said"), RIVALS)
def test_another_ability_is_compared_with_another_arm(by: float, margin: float, said: str) -> None:
    found = abilities_changed({"letters": moved(0.2)}, {"letters": moved(by)}, rival="sft", margin=margin)
    assert [each.name for each in found] == ["letters", "letters, against sft"]
    assert [each.said for each in found] == ["is done better than before", said]


def test_scores_beyond_one_are_no_points() -> None:
    (found,) = abilities_changed({"returns": (10 * SAME, 9.9 * SAME)}, margin=0.1)
    assert "points" not in changed(found)


def answers(model: str, said: list[str], base_logp: float | None = None) -> EvaluationRecord:
    """Twelve tasks whose answer is 7, with an attempt for each text."""
    task: list[tuple[str, float | None]] = [(text, float(text == "7")) for text in said]
    found = record(*[task] * 12)
    for attempt in (attempt for task in found["tasks"] for attempt in task["attempts"]):
        if base_logp is not None:
            attempt["base_logp"] = base_logp
    return EvaluationRecord(**{**found, "model": model})


@pytest.mark.parametrize(("logp", "measured"), [(-5.0, True), (None, False)])
def test_answers_of_all_seeds_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, logp: float | None, measured: bool
) -> None:
    monkeypatch.setattr(Reading, "verifier", lambda self, arm: number())
    finished = run(tmp_path, planned())
    plan = {**finished.plan, "measure": "pass@1"}
    runs = [
        RunData(
            folder=Path(),
            evaluations=(answers("base", [*"7345"], logp and 2 * logp), answers("grpo", ["7", "7", *right], logp)),
        )
        for right in (["3", "4"], ["7", "4"], ["7", "7"])
    ]
    cells = tuple(Cell(arm="planner", seed=seed, state="done", data=data) for seed, data in enumerate(runs))
    outcome = replace(finished, plan=plan, cells=cells)
    found = {change.name: change for change in changes_of(outcome)["planner"]}
    assert found[MAJORITY].start.point == pytest.approx(0.25)
    assert found[MAJORITY].arm.point == 1.0
    assert found["duplicates"].arm.point == pytest.approx((1 / 6 + 1 / 2 + 1) / 3)
    assert (SURPRISE in found) == measured
    if measured:
        assert (found[SURPRISE].start.point, found[SURPRISE].arm.point) == (1.0, 0.5)  # ten tokens an attempt
    assert "How answers changed" in page(replace(outcome, cells=(*cells, *finished.of_arm("greedy"))))


def test_answers_that_cannot_be_compared_have_no_majority(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(self: Reading, arm: str) -> Verifier:
        raise ValueError("cannot compare two of them")

    monkeypatch.setattr(Reading, "verifier", refuses)
    finished = run(tmp_path, planned())
    data = RunData(folder=Path(), evaluations=(answers("base", [*"7345"]), answers("grpo", [*"7745"])))
    cells = tuple(Cell(arm="planner", seed=seed, state="done", data=data) for seed in range(3))
    outcome = replace(finished, plan={**finished.plan, "measure": "pass@1"}, cells=cells)
    names = [each.name for each in changes_of(outcome)["planner"]]
    assert names == ["similarity", "duplicates", "distinct-1"]
