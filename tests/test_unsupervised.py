"""Rewards without a label: hand-computed values, and that they never see the task's answer."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from togi.advantages import group_mean_std
from togi.rewards import choice, exact, form, majority, math, parse_reward
from togi.types import Score, Task, Trajectory, Turn

TASK = Task(id="t", prompt=(), answer="not a number at all")


def said(*texts: str) -> list[Trajectory]:
    return [
        Trajectory(turns=(Turn(prompt=(1,), completion=(2,), text=text, stop="eos"),), stop="eos") for text in texts
    ]


def answers(*values: object) -> list[Trajectory]:
    return said(*(f"<think>x</think><answer>{value}</answer>" for value in values))


def marks(scores: list[Score]) -> list[float]:
    return [score.value for score in scores]


def test_majority_pays_the_plurality() -> None:
    scores = majority()(TASK, answers(7, 7, 3, 7, 3, 5))
    assert marks(scores) == [1, 1, 0, 1, 0, 0]
    assert [score.parts["majority_share"] for score in scores] == [0.5] * 6
    advantage = group_mean_std(marks(scores), [0] * 6, eps=1e-6)
    np.testing.assert_allclose(advantage, np.array([1, 1, -1, 1, -1, -1]) * 0.912869, atol=2e-6)


def test_answers_that_cannot_be_read_have_no_vote_and_earn_nothing() -> None:
    texts = [f"<answer>{value}</answer>" for value in ("4 or 5", "7", "none", "4 or 5", "none", "7", "4 or 5")]
    scores = majority()(TASK, said(*texts, "<think>endless"))
    assert marks(scores) == [0, 1, 0, 0, 0, 1, 0, 0]
    assert scores[0].parts["majority_share"] == 0.25
    assert marks(majority()(TASK, said("<think>a", "<think>b"))) == [0, 0]


def test_the_same_answer_in_other_words_is_one_vote_more() -> None:
    assert marks(majority()(TASK, answers("1,000", "5", "1000.0", "2000/2", "5"))) == [1, 0, 1, 1, 0]
    assert marks(majority(choice())(TASK, answers("B", "(B)", "A"))) == [1, 1, 0]
    assert marks(majority(exact())(TASK, answers("North  East", "north east", "west"))) == [1, 1, 0]


def test_a_tie_pays_what_drawing_lots_would_pay_on_average_in_any_order() -> None:
    tied = [7, 7, 3, 3, 5]
    for order in permutations(range(5)):
        scores = marks(majority()(TASK, answers(*(tied[i] for i in order))))
        assert scores == [0.0 if tied[i] == 5 else 0.5 for i in order]
    assert marks(majority()(TASK, answers(1, 2, 3, 4))) == [0.25] * 4


def test_the_tasks_own_answer_changes_nothing() -> None:
    attempts = answers(7, 7, 3)
    for answer in ("3", "7", None, ["a"]):
        assert marks(majority()(Task(id="t", prompt=(), answer=answer), attempts)) == [1, 1, 0]


def test_what_does_not_compare_answers_is_refused() -> None:
    with pytest.raises(ValueError, match="does not compare two answers"):
        majority(form())


def test_majority_in_an_expression(tmp_path) -> None:
    reward = parse_reward("majority(choice()) + 0.1 * form()", tmp_path)
    [score, *_] = reward(TASK, answers("A", "A", "B"))
    assert score.parts["majority_share"] == pytest.approx(2 / 3)


def test_boxed_answers_vote_by_what_they_mean() -> None:
    pytest.importorskip("math_verify")
    assert marks(majority(math())(TASK, said(r"\boxed{\frac12}", r"\boxed{0.5}", r"\boxed{2}"))) == [1, 1, 0]
