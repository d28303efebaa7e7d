"""One number a task from several attempts: of every one, or of a choice among as many as an arm can pay for."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest

from togi.evidence.after.evaluation_file import AttemptRecord, EvaluationRecord, TaskRecord
from togi.experiment.design import Taken
from togi.experiment.held_out_numbers import Reading, majority_worth, measured
from togi.rewards.verifiers import number


def record(*tasks: list[tuple[str, float | None]], tokens: int = 10) -> EvaluationRecord:
    """Tasks of (answer, score) each, None where an attempt has no score."""

    def attempt(completion: str, value: float | None) -> AttemptRecord:
        status = "error" if value is None else "ok"
        score = {"value": value, "parts": {}, "status": status, "note": ""}
        return cast(AttemptRecord, {"completion": completion, "tokens": tokens, "stop": "eos", "score": score})

    made = [
        TaskRecord(id=f"t{place}", prompt="?", answer="7", attempts=[attempt(*each) for each in task])
        for place, task in enumerate(tasks)
    ]
    attempts = max(map(len, tasks))
    return EvaluationRecord(
        model="base", step=0, attempts=attempts, pass_mark=1.0, sampling={}, tasks=made, seconds=0.0, tokens=0
    )


HALF = [("7", 1.0), ("7", 1.0), ("3", 0.0), ("4", 0.0)]
WRONG = [("3", 0.0), ("3", 0.0), ("7", 1.0), ("x", 0.0)]
UNSCORED = [("7", 1.0), ("3", None), ("3", 0.0), ("4", None)]

# What is taken, tokens of an arm beside ten of an attempt, how many attempts that is, and the number of the task.
CHOICES: list[tuple[Taken, float, float, list[tuple[str, float | None]], float]] = [
    ("best", 10.0, 1.0, HALF, 0.5),  # the untrained model itself
    ("best", 5.0, 1.0, HALF, 0.5),  # none can spend less than one attempt
    ("best", 20.0, 2.0, HALF, 5 / 6),
    ("best", 15.0, 1.5, HALF, (0.5 + 5 / 6) / 2),  # one or two, by chance
    ("best", 90.0, 4.0, HALF, 1.0),  # all there are
    ("best", 40.0, 4.0, UNSCORED, 1.0),
    ("majority", 10.0, 1.0, HALF, 0.5),
    ("majority", 40.0, 4.0, HALF, 1.0),
    ("majority", 40.0, 4.0, WRONG, 0.0),
    ("majority", 30.0, 3.0, HALF, 2 / 4 * 1 + 2 / 4 * 1 / 3),  # two of three agree, or all three differ
]


@pytest.mark.parametrize(("taken", "tokens", "attempts", "task", "worth"), CHOICES)
def test_a_choice_costs_as_much_as_an_arm(
    taken: Taken, tokens: float, attempts: float, task: list[tuple[str, float | None]], worth: float
) -> None:
    reading = Reading(folder=Path(), measure="pass@1", tokens=tokens, verifiers={"choice": number()})
    found = measured(reading, "choice", record(task), taken)
    assert (found.attempts, found.most, found.tokens) == (attempts, 4, 10 * attempts)
    assert found.numbers == pytest.approx({"t0": worth})
    assert (
        found.with_all
        == measured(
            Reading(folder=Path(), measure="pass@1", tokens=1e9, verifiers={"choice": number()}),
            "choice",
            record(task),
            taken,
        ).numbers
    )


def test_scores_between_are_chosen_by_how_good_they_are() -> None:
    reading = Reading(folder=Path(), measure="score", tokens=20.0)
    graded = [("a", 0.2), ("b", 0.6), ("c", 0.4)]
    assert measured(reading, "choice", record(graded), "best").numbers["t0"] == pytest.approx((0.6 + 0.6 + 0.4) / 3)


def test_an_answer_that_is_paid_by_its_form_is_worth_its_mean() -> None:
    assert majority_worth([0, 0, 1], [1.0, 0.0, 1.0], 3) == pytest.approx(0.5)
    assert majority_worth([None, None], [0.0, 0.0], 2) == 0.0


@pytest.mark.parametrize(("measure", "tokens"), [("score", 10.0), ("pass@1", 10.0), ("pass@2", 20.0)])
def test_every_attempt_of_the_measure_costs(measure: str, tokens: float) -> None:
    found = measured(Reading(folder=Path(), measure=measure), "arm", record(HALF, WRONG), "every")
    assert (found.tokens, found.attempts) == (tokens, None)
    assert found.numbers == pytest.approx({"t0": 5 / 6, "t1": 0.5} if measure == "pass@2" else {"t0": 0.5, "t1": 0.25})


def test_without_an_arm_nobody_knows_how_many_attempts_there_may_be() -> None:
    with pytest.raises(ValueError, match="no arm has been measured yet"):
        measured(Reading(folder=Path(), measure="pass@1"), "choice", record(HALF), "best")
