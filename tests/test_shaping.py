"""Length terms against published numbers, curiosity, and names of parts whatever way a reward is written."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations

import pytest

from togi.rewards import adaptive_length, clip, concise, cosine, gate, length_budget, novelty, overlong, repetition
from togi.rewards.algebra import Composable, Leaf
from togi.types import Message, Score, Task, Trajectory, Turn

TASK = Task(id="train:1", prompt=(Message(role="user", content="?"),), answer="yes")


@dataclass(frozen=True)
class Yes(Leaf):
    """1 for a text that says yes; a text that says "lost" gets no score."""

    name: str = "yes"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [self._score(trajectory.turns[-1].text) for trajectory in trajectories]

    def _score(self, text: str) -> Score:
        if "lost" in text:
            return Score(value=math.nan, status="timeout", note="lost")
        value = float("yes" in text)
        return Score(value=value, parts={self.name: value, "correct": value})


def attempt(text: str, tokens: int = 5) -> Trajectory:
    turn = Turn(prompt=(1,), completion=(0,) * tokens, text=text, stop="eos")
    return Trajectory(turns=(turn,), stop="eos")


def values(reward: Composable, *attempts: Trajectory, task: Task = TASK) -> list[float]:
    return [score.value for score in reward(task, attempts)]


def test_cosine_is_the_paper_s() -> None:
    lengths = [attempt(text, count) for text in ("yes", "no") for count in (0, 25, 50, 99, 100, 150)]
    right, wrong = [2, 1.85355, 1.5, 1.00025, -10, -10], [-10, -8.53553, -5, -0.00247, -10, -10]
    assert values(cosine(Yes(), 100), *lengths) == pytest.approx(right + wrong, abs=1e-5)
    gentle = cosine(Yes(), 100, right_short=1, right_long=0.5, wrong_short=-1, wrong_long=-0.5, exceeded=-1)
    assert values(gentle, lengths[1], lengths[7]) == pytest.approx([0.926777, -0.926777], abs=1e-6)
    with pytest.raises(ValueError, match="worth more than any wrong one"):
        cosine(Yes(), 100, right_long=-11)


def test_a_value_beside_a_mark_keeps_its_parts_and_its_status() -> None:
    first, lost = cosine(Yes(), 100)(TASK, [attempt("yes", 50), attempt("lost")])
    assert dict(first.parts) == {"yes": 1, "correct": 1, "cosine": pytest.approx(1.5)}
    assert dict(first.shares) == {"cosine": pytest.approx(1.5)}
    assert lost.status == "timeout"


def test_adaptive_length_charges_for_tokens_where_tasks_are_easy() -> None:
    reward = Yes() + adaptive_length(Yes(), 1e-5)
    easy, hard = [attempt("yes", 4000)] * 8, [attempt("no", 4000)] * 8
    assert values(reward, *easy)[0] == pytest.approx(0.96)
    assert values(reward, *hard)[0] == pytest.approx(-0.005)
    assert values(reward, *easy[:4], *hard[:4])[0] == pytest.approx(0.98)
    assert values(adaptive_length(Yes(), 1e-5), attempt("lost"), *easy)[1] == pytest.approx(-0.04)
    with pytest.raises(ValueError, match="negative already"):
        Yes() - adaptive_length(Yes(), 1e-5)


def on_budget(tokens: object) -> Task:
    return replace(TASK, info={"budget": tokens})


@pytest.mark.parametrize(
    ("reward", "budget", "text", "length", "expected"),
    [
        (length_budget(Yes()), 1000, "yes", 1500, 0.85),
        (length_budget(Yes()), 1000, "yes", 500, 0.85),
        (length_budget(Yes()), 1000, "yes", 1000, 1.0),
        (length_budget(Yes()), 1000, "no", 1500, -0.15),
        (length_budget(Yes(), at_most=True), 2000, "yes", 1000, 0.8),
        (length_budget(Yes(), at_most=True), 2000, "yes", 2500, 0.35),
        (length_budget(Yes(), at_most=True), 2000, "yes", 4000, 0.0),
        (length_budget(Yes(), at_most=True), 4000, "yes", 1, 1.0),
        (length_budget(Yes(), at_most=True), 2000, "no", 1000, 0.0),
        # The authors' code for the maximum, (clip(3e-4 * (n_gold - n), -1, 1) + 1) / 2, has half the paper's slope.
        (length_budget(Yes(), 1.5e-4, at_most=True), 2000, "yes", 1000, 0.65),
        (length_budget(Yes(), 1.5e-4, at_most=True), 2000, "yes", 2500, 0.425),
    ],
)
def test_length_budget_is_l1_s(reward: length_budget, budget: int, text: str, length: int, expected: float) -> None:
    assert values(reward, attempt(text, length), task=on_budget(budget)) == pytest.approx([expected])


def test_a_missed_budget_is_told_beside_the_mark_and_its_status_kept() -> None:
    over, under, lost = (attempt("yes", 15), attempt("no", 5), attempt("lost"))
    exact, most = length_budget(Yes(), 0.01), length_budget(Yes(), 0.01, at_most=True)
    parts = [dict(score.parts) for score in exact(on_budget(10), [over, under])]
    assert parts == [
        {"yes": 1, "correct": 1, "length_budget": pytest.approx(0.95), "budget_missed": 0.5},
        {"yes": 0, "correct": 0, "length_budget": pytest.approx(-0.05), "budget_missed": 0.5},
    ]
    assert [score.parts["budget_missed"] for score in most(on_budget(10), [over, under])] == [0.5, 0]
    assert exact(on_budget(10), [lost])[0].status == "timeout"


@pytest.mark.parametrize("budget", [None, 0, -5, "40", 2.5, True])
def test_without_a_budget_nothing_is_scored(budget: object) -> None:
    (score,) = length_budget(Yes())(on_budget(budget), [attempt("yes")])
    assert (score.status, "budget = [FEWEST, MOST]" in score.note) == ("error", True)
    assert "no budget" in length_budget(Yes()).fault(TASK)


@pytest.mark.parametrize("settings", [{"cost": 0}, {"cost": math.inf}, {"slack": 0}, {"slack": 1.5}])
def test_a_budget_that_costs_nothing_is_refused(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="length_budget: "):
        length_budget(Yes(), **settings)  # type: ignore[arg-type]


def test_repetition_is_the_share_of_n_grams_that_were_there_before() -> None:
    texts = ["a A a a a", "one two three", "one", "", "go on go on"]
    assert values(repetition(2), *map(attempt, texts)) == pytest.approx([-0.75, 0, 0, 0, -1 / 3])
    with pytest.raises(ValueError, match="at least 1"):
        repetition(0)


def test_novelty_pays_right_answers_that_are_unlike_the_other_right_ones() -> None:
    same, other = "two and two so yes", "by counting fingers up to four yes"
    got = values(novelty(Yes()), *map(attempt, [same, same, other, "any nonsense at all here", ""]))
    assert got == [0.5, 0.5, 1.0, 0, 0]
    assert values(novelty(Yes()), attempt(same), attempt("no no no no"), attempt("lost"))[:2] == [1, 0]
    assert values(novelty(Yes(), n=1), attempt("a yes"), attempt("b yes")) == pytest.approx([2 / 3, 2 / 3])


def test_novelty_pays_nothing_without_a_right_answer() -> None:
    reward = Yes() + 0.5 * novelty(Yes())
    wrong = [attempt(" ".join(order)) for order in permutations(("no", "never", "nay"))]
    assert values(reward, *wrong) == [0] * 6
    score = reward(TASK, [attempt("yes"), *wrong])[0]
    assert (score.value, dict(score.shares)) == (1.5, {"yes": 1, "novelty": 0.5})
    assert score.parts["correct"] == 1


def test_parts_have_the_same_names_and_values_however_a_reward_is_written() -> None:
    def terms(a: float, b: float, c: float) -> list[Composable]:
        return [gate(Yes(), by=Yes("also")) * a, b * concise(100), c * overlong(64, 16), clip(novelty(Yes()), 0, 1)]

    attempts = [attempt("yes", 60), attempt("no", 10)]
    seen = []
    for weights in ((1.0, 0.1, 0.2), (-3.0, 7.0, 0.0)):
        for first, second, third, fourth in permutations(terms(*weights)):
            for reward in (first + second + third + fourth, (fourth + third) * 2 + (second + first)):
                seen.append([dict(sorted(score.parts.items())) for score in reward(TASK, attempts)])
    assert all(each == seen[0] for each in seen)
    assert list(seen[0][0]) == ["also", "concise", "correct", "novelty", "overlong", "yes"]
