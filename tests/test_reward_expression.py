"""Rewards written as text, and the arithmetic that joins them."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from togi.rewards import REWARDS, clip, concise, form, gate, number, overlong, parse_reward, part_names
from togi.rewards.algebra import Composable, Leaf, combine
from togi.rewards.expression import usage
from togi.types import Message, Score, Status, Task, Trajectory, Turn

TASK = Task(id="train:1", prompt=(Message(role="user", content="3+4"),), answer="7")
BASE = Path()


def attempt(text: str, tokens: int = 5) -> Trajectory:
    turn = Turn(prompt=(1,), completion=(0,) * tokens, text=text, stop="eos")
    return Trajectory(turns=(turn,), stop="eos")


@dataclass(frozen=True)
class Fixed(Leaf):
    """A reward of given values."""

    values: tuple[float, ...]
    name: str = "fixed"
    status: Status = "ok"
    correct: bool = False
    dense: tuple[float, ...] = ()

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [self._score(value) for value in self.values]

    def _score(self, value: float) -> Score:
        parts = {self.name: value} | ({"correct": value} if self.correct else {})
        if self.status != "ok":
            return Score(value=math.nan, status=self.status, note=f"{self.name}: why")
        return Score(value=value, parts=parts, dense=self.dense)


A = Fixed((1.0, 2.0), "a")
B = Fixed((10.0, 0.5), "b")
BOTH = [attempt(""), attempt("")]


@pytest.mark.parametrize(
    ("reward", "expected"),
    [
        (A + B, [11, 2.5]),
        (A - B, [-9, 1.5]),
        (2 * A + B * 0.5 - 1, [6, 3.25]),
        (1 - A, [0, -1]),
        (-(A + 1) * 2, [-4, -6]),
        (3 + A, [4, 5]),
        (gate(B, by=A), [10, 0]),
        (gate(A, by=Fixed((0.999, 1.0), "c")), [0, 2]),
        (clip(A + B, 0, 5), [5, 2.5]),
        (clip(-1 * B, -1, 0), [-1, -0.5]),
    ],
)
def test_arithmetic(reward: Leaf, expected: list[float]) -> None:
    assert [score.value for score in reward(TASK, BOTH)] == pytest.approx(expected)


def test_parts_are_the_values_before_weighting() -> None:
    first, second = (0.5 * A - 2 * gate(B, by=Fixed((1.0, 0.0), "c")))(TASK, BOTH)
    assert dict(first.parts) == {"a": 1, "b": 10, "c": 1}
    assert dict(second.parts) == {"a": 2, "b": 0.5, "c": 0}


@pytest.mark.parametrize("status", ["timeout", "error", "unparseable", "abstain"])
def test_a_part_without_a_score_leaves_the_whole_without_one(status: Status) -> None:
    lost = Fixed((0.0, 0.0), "lost", status)
    for reward in (A + lost, gate(A, by=lost), gate(lost, by=A), clip(lost, 0, 1), 0 * lost):
        for score in reward(TASK, BOTH):
            assert (score.status, score.note) == (status, "lost: why")
            assert math.isnan(score.value)
    assert dict((A + lost)(TASK, BOTH)[0].parts) == {"a": 1}


def test_correctness_is_gated_and_not_shaped() -> None:
    right = Fixed((1.0, 1.0), "right", correct=True)
    shut = Fixed((0.0, 1.0), "shut")
    scores = (gate(right, by=shut) + A)(TASK, BOTH)
    assert [score.parts["correct"] for score in scores] == [0, 1]
    assert [score.parts["right"] for score in scores] == [1, 1]
    both = right + Fixed((0.0, 1.0), "other", correct=True)
    assert [score.parts["correct"] for score in both(TASK, BOTH)] == [0, 1]


def test_dense_rewards_are_weighted_and_added() -> None:
    dense = Fixed((1.0, 1.0), "dense", dense=(1.0, 2.0))
    assert (2 * dense + A)(TASK, BOTH)[0].dense == (2.0, 4.0)
    assert [score.dense for score in gate(dense, by=Fixed((0.0, 1.0), "c"))(TASK, BOTH)] == [(0.0, 0.0), (1.0, 2.0)]


def test_mistakes_in_arithmetic_are_refused() -> None:
    with pytest.raises(ValueError, match=r"gate\(reward, by=other\)"):
        A * B
    with pytest.raises(ValueError, match="got str"):
        A + "1"
    with pytest.raises(ValueError, match="finite"):
        A * math.nan
    with pytest.raises(ValueError, match="low <= high"):
        clip(A, 1, 0)
    with pytest.raises(ValueError, match='two different rewards are named "a"'):
        A + Fixed((0.0, 0.0), "a")
    with pytest.raises(ValueError, match='"correct" cannot name'):
        A + Fixed((0.0, 0.0), "correct")
    with pytest.raises(ValueError, match="negative already: add it"):
        A - 0.1 * overlong(64, 16)
    assert part_names(A + 0.1 * A + B) == ("a", "b")


# Expressions ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "reward"),
    [
        ("number()", number()),
        ("gate(number(), by=form())", gate(number(), form())),
        (
            "gate(number(tag='a'), by=form(answer='')) + 0.1 * overlong(64, 16)",
            gate(number(tag="a"), form(answer="")) + 0.1 * overlong(64, 16),
        ),
        ("  2 * concise(100) - 1 ", 2 * concise(100) - 1),
        ("-number(name='n')", -number(name="n")),
        ("clip(number() + 1, -1, 0.5)", clip(number() + 1, -1, 0.5)),
        ("number(tolerance=1)", number(tolerance=1)),
    ],
)
def test_text_gives_the_reward_that_python_gives(expression: str, reward: Leaf) -> None:
    assert parse_reward(expression, BASE) == reward


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "cannot be read"),
        ("number(", "cannot be read"),
        ("numbr()", 'did you mean "number"'),
        ("number", "called with brackets: number"),
        ("1 + 2", "a constant"),
        ("'number'", "a constant"),
        ("number() * form()", "gate"),
        ("number() / 2", "not allowed"),
        ("number() + true", "neither a reward nor a number"),
        ("number().pool", "not allowed"),
        ("__import__('os').system('x')", "not allowed"),
        ("open('x')", 'no reward "open"'),
        ("(lambda: number())()", "not allowed"),
        ("[number()][0]", "not allowed"),
        ("number(**{})", "takes no"),
        ("number(*[])", "takes no"),
        ("number(tga='a')", 'did you mean "tag"'),
        ("number(pool=1)", 'no parameter "pool"'),
        ("number(tolerance='a')", "\"tolerance\" is of type float; got 'a'"),
        ("number(tolerance=true)", "of type float"),
        ("overlong(64)", r"missing a required argument: 'cache'; its parameters: overlong\(max_length, cache"),
        ("overlong(64, 1.5)", "of type int"),
        ("overlong(64, 65)", "cache <= max_length"),
        ("gate(1, by=form())", '"reward" is a reward; got 1'),
        ("gate(number(), form(), 1)", "too many positional"),
        ("exact(case=1)", "of type bool"),
        ("python('absent.py:f')", "there is no file"),
        ("python('absent')", "names no function"),
        ("number() - 0.1 * overlong(64, 16)", "negative already"),
        ("-" * 1500 + "number()", "."),
        ("number()" + "+ 1" * 1000, "write it in Python"),
    ],
)
def test_bad_expressions_are_refused_with_a_reason(expression: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_reward(expression, BASE)
    assert str(caught.value).startswith(("reward = ", "a reward of "))


def test_a_user_s_function_is_found_beside_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def length(task, completion):\n    return len(completion)\n")
    reward = parse_reward("0.5 * python('mine.py:length') + number()", tmp_path)
    (score,) = reward(TASK, [attempt("7")])
    assert (score.value, dict(score.parts)) == (1.5, {"length": 1, "number": 1, "correct": 1, "parsed": 1})


def test_every_reward_has_a_usage_line_and_a_docstring() -> None:
    assert usage("overlong") == "overlong(max_length, cache, name='overlong')"
    for name, reward in REWARDS.items():
        assert usage(name).startswith(f"{name}(")
        assert reward.__doc__
        assert "pool" not in usage(name)


# What each leaf added --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reward", "shares"),
    [
        (lambda a, b: a, {}),  # a leaf's value is all its own
        (lambda a, b: 2 * a - b + 0.5, {"a": 2.0, "b": -3.0, "constant": 0.5}),
        (lambda a, b: a + (a + b), {"a": 2.0, "b": 3.0}),
        (lambda a, b: gate(2 * b, by=a), {"b": 6.0}),
        (lambda a, b: gate(2 * a + 1, by=b), {"a": 0.0, "constant": 0.0}),
        (lambda a, b: clip(a + b, 0, 1), {"a": 1.0, "b": 3.0, "clip": -3.0}),
        (lambda a, b: clip(a, 0, 1), {"a": 1.0}),
        (lambda a, b: 0.5 * clip(b, 0, 1) + a, {"b": 1.5, "clip": -1.0, "a": 1.0}),
    ],
)
def test_shares_sum_to_the_value(reward: Callable[[Leaf, Leaf], Composable], shares: dict[str, float]) -> None:
    (score,) = reward(Fixed((1.0,), "a"), Fixed((3.0,), "b"))(TASK, [attempt("")])
    assert dict(score.shares) == shares
    assert not shares or sum(score.shares.values()) == score.value


def test_notes_are_kept_together() -> None:
    """Critiques of two judges stand below each other, the same one once."""
    said = [
        Score(value=1.0, note="short"),
        Score(value=2.0),
        Score(value=3.0, note="kind"),
        Score(value=0.0, note="short"),
    ]
    assert combine(said, 6.0, shares={}).note == "short\nkind"
