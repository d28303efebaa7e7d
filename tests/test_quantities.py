"""Quantities, intervals, sets and lists: what is equal, what is not, and what is no answer."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import pytest

from togi.graders.quantity import parse_quantity
from togi.graders.sets import parse_intervals, parse_items
from togi.rewards import bag_of, interval, list_of, number, quantity, set_of
from togi.rewards.verifiers import Verifier
from togi.sandbox.workers.pool import Pool
from togi.types import Message, Score, Task, Trajectory, Turn


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    with Pool(workers=2, seconds=5.0) as pool:
        yield pool


def grade(reward: Verifier, gold: Any, *texts: str) -> list[Score]:
    task = Task(id="train:1", prompt=(Message(role="user", content="?"),), answer=gold)
    turns = [Turn(prompt=(1,), completion=(2,), text=text, stop="eos") for text in texts]
    return reward(task, [Trajectory(turns=(turn,), stop="eos") for turn in turns])


def marks(reward: Verifier, gold: Any, *texts: str) -> list[float | None]:
    """1 right, 0 wrong, None no answer."""
    scores = grade(reward, gold, *texts)
    assert all(score.status == "ok" for score in scores), scores
    assert all(score.parts["correct"] == score.value for score in scores)
    return [score.value if score.parts["parsed"] else None for score in scores]


# Quantities ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("3 m", 3, "m"),
        ("3m", 3, "m"),
        ("**3 km**", 3, "km"),
        ("The distance is 1,500 km/h.", 1500, "km/h"),
        ("9.8 m/s^2", Fraction("9.8"), "m/s**2"),
        ("5 cm²", 5, "cm**2"),
        ("20 °C", 20, "degC"),
        ("42%", 42, "percent"),
        ("-1/2 m", Fraction(-1, 2), "m"),
        ("7", 7, ""),
    ],
)
def test_a_quantity_is_a_number_and_a_unit(text: str, value: Any, unit: str) -> None:
    assert parse_quantity(text) == (value, unit)


@pytest.mark.parametrize(
    "text",
    ["", "m", "3 m or 4 m", "3 m 4 m", "3 m + 2 m", "not 3 m", "x3 m", "3-4 m", "2*3 m", "3 m = 300 cm", "3 m " * 20],
)
def test_a_doubtful_quantity_is_no_answer(text: str) -> None:
    assert parse_quantity(text) is None


def test_units_are_converted_and_never_dropped(pool: Pool) -> None:
    pytest.importorskip("pint")
    right = ["3 m", "300 cm", "0.003 km", "It is 3 meters.", "3000 millimeter", "<think>4 m</think> 3 m"]
    wrong = ["3 km", "3", "3 s", "3 m^2", "30 cm", "3%"]
    assert marks(quantity(pool=pool), "3 m", *right) == [1] * len(right)
    assert marks(quantity(pool=pool), "3 m", *wrong) == [0] * len(wrong)
    assert marks(quantity(pool=pool), "3 m", "3 bananas", "three m", "3 m or 3 km", "") == [None] * 4
    assert marks(quantity(pool=pool), "72 km/h", "20 m/s", "20 m/s^2", "72 km / h", "72 km per hour") == [1, 0, 1, 1]
    assert marks(quantity(pool=pool), "#### 5 kWh", "18 MJ", "5 kW") == [1, 0]
    assert marks(quantity(pool=pool), "20 °C", "293.15 K", "20 degC", "20 °F") == [1, 1, 0]
    assert marks(quantity(pool=pool), "7", "7", "7 m") == [1, 0]


def test_a_tolerance_of_quantities_is_relative(pool: Pool) -> None:
    pytest.importorskip("pint")
    assert marks(quantity(tolerance=0.01, pool=pool), "1000 m", "1.009 km", "990 m", "1011 m") == [1, 1, 0]
    with pytest.raises(ValueError, match="tolerance"):
        quantity(tolerance=-1)
    with pytest.raises(ValueError, match="percent"):
        quantity(percent="drop")


def test_what_percent_means_is_declared(pool: Pool) -> None:
    pytest.importorskip("pint")
    assert marks(quantity(pool=pool), "42%", "0.42", "42 percent", "42") == [1, 1, 0]
    assert marks(quantity(percent="unit", pool=pool), "42%", "42%", "0.42", "42") == [1, 0, 0]
    assert marks(number(pool=pool), "42%", "0.42", "42%", "42") == [1, 1, 0]
    assert marks(number(percent="unit", pool=pool), "42%", "0.42", "42%", "42") == [0, 1, 0]
    assert marks(number(percent="unit", pool=pool), "42", "42%", "42") == [0, 1]
    assert marks(number(percent="drop", pool=pool), "42", "42%", "42", "0.42") == [1, 1, 0]
    with pytest.raises(ValueError, match="percent"):
        number(percent="yes")


@pytest.mark.parametrize("gold", ["three m", "3 bananas", None, "3 m or 4 m"])
def test_a_gold_that_is_no_quantity_is_unparseable(pool: Pool, gold: Any) -> None:
    pytest.importorskip("pint")
    assert grade(quantity(pool=pool), gold, "3 m")[0].status == "unparseable"


# Intervals -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "same",
    [
        ["(0, 1]", "(0,1]", r"$\left(0, 1\right]$", "0 < x <= 1", "0<x≤1", "(0,1/2] ∪ (0.5,1]", "(0,1) U {1}"],
        ["[2, inf)", r"[2, \infty)", "[2,+∞)", "x >= 2", r"x \geq 2", "2 <= x"],
        ["(-inf, 0) ∪ (3, 5)", "(3, 5) ∪ (-inf, 0)", r"(-\infty,0)\cup(3,5)"],
        ["∅", "{}", r"\emptyset"],
        ["{1, 2}", "{2,1}", "[1,1] ∪ [2,2]"],
        ["(0,2)", "(0,1) ∪ [1,2)", "(0,1.5) ∪ (1,2)"],
        ["(-inf, inf)", "(-∞,∞)"],
        ["x < 2", "(-inf, 2)"],
    ],
)
def test_an_interval_may_be_written_in_many_ways(same: list[str]) -> None:
    first = parse_intervals(same[0])
    assert first is not None
    assert [parse_intervals(text) for text in same] == [first] * len(same)


@pytest.mark.parametrize(
    ("text", "other"), [("(0,1)", "[0,1)"), ("(0,1) ∪ (1,2)", "(0,2)"), ("[0,1]", "{0,1}"), ("x < 2", "x <= 2")]
)
def test_ends_and_holes_count(text: str, other: str) -> None:
    assert parse_intervals(text) != parse_intervals(other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0, 1",
        "(1,0)",
        "[0,inf]",
        "(0,1",
        "]0,1[",
        "(0,1) or (2,3)",
        "(1,000)",
        "(0,1,2)",
        "(a,b)",
        "x",
        "not (0,1)",
    ],
)
def test_a_doubtful_interval_is_no_answer(text: str) -> None:
    assert parse_intervals(text) is None


def test_interval_pays(pool: Pool) -> None:
    assert marks(interval(pool=pool), "(0, 1]", "<answer>(0,1]</answer>", "[0,1]", "between 0 and 1") == [1, 0, None]
    assert grade(interval(pool=pool), "0 to 1", "(0,1)")[0].status == "unparseable"


# Sets and lists ------------------------------------------------------------------------------------------------------


def test_order_and_duplicates_are_decided_by_name(pool: Pool) -> None:
    answers = ("1, 1, 2", "1, 2, 1", "2, 1", "1, 2, 3")
    assert marks(list_of(pool=pool), [1, 1, 2], *answers) == [1, 0, 0, 0]
    assert marks(bag_of(pool=pool), [1, 1, 2], *answers) == [1, 1, 0, 0]
    assert marks(set_of(pool=pool), [1, 1, 2], *answers) == [1, 1, 1, 0]


def test_brackets_say_what_it_is(pool: Pool) -> None:
    assert marks(set_of(pool=pool), [1, 2], "{2, 1}", r"$\{1,2\}$", "(1, 2)", "[1, 2]") == [1, 1, None, None]
    assert marks(list_of(pool=pool), "(1, 2)", "[1, 2]", "1; 2", "{1, 2}") == [1, 1, None]


def test_items_are_numbers_or_texts(pool: Pool) -> None:
    assert marks(set_of(pool=pool), ["1/2", 3], "0.5, 3.0", "0.5, three") == [1, None]
    assert marks(set_of(items="texts", pool=pool), ["Red", "blue"], "blue,  red", "red", "red or blue") == [1, 0, None]
    assert grade(set_of(pool=pool), ["red"], "red")[0].status == "unparseable"
    assert marks(set_of(pool=pool), [], "{}", "1", "") == [1, 0, None]
    with pytest.raises(ValueError, match="items"):
        set_of(items="number")


@pytest.mark.parametrize("text", ["", "1,,2", "{1, 2", "1, 2}", "{1, {2}}", "1,000", "1 or 2", "1, not 2", "1, 2, ..."])
def test_doubtful_items_are_no_answer(text: str) -> None:
    assert parse_items(text, "set", True) is None


def test_gold_is_written_so_that_it_gets_full_marks(pool: Pool) -> None:
    for reward in (set_of(pool=pool), list_of(pool=pool), bag_of(pool=pool), interval(pool=pool), number(pool=pool)):
        answer = "[1, 2]" if isinstance(reward, interval) else 3 if isinstance(reward, number) else [2, 1, 1]
        task = Task(id="a", prompt=(), answer=answer)
        text = reward.right(task)
        assert text is not None
        assert marks(reward, answer, reward.write(text)) == [1], reward
