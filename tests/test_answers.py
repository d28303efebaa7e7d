"""Every verifier against its table of answers: what is plainly right is paid, and what leaves a doubt never is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import choice_answers
import math_answers
import number_answers
import other_answers as other
import pytest
import sentence_answers
from hypothesis import given, settings, strategies as st

from togi import rewards
from togi.graders import (
    choice as grade_choice,
    mathematics as grade_math,
    number as grade_number,
    quantity as grade_quantity,
    sets as grade_sets,
    texts as grade_text,
)
from togi.graders.marks import UNPARSED, Mark
from togi.recipe import task_combinations as check
from togi.rewards import form, gate
from togi.sandbox.workers.worker_call import TooLong
from togi.types import Task

PLACE = {"tag": "answer", "marker": ""}
Grade = Callable[[str, Any], Mark]
Table = Mapping[Any, Sequence[str]]


def number(text: str, gold: Any) -> Mark:
    return grade_number.number(text=text, gold=gold, tolerance=0.0, percent="fraction", **PLACE)


def choice(text: str, gold: Any) -> Mark:
    return grade_choice.choice(text=text, gold=gold, options="ABCDE", **PLACE)


def quantity(text: str, gold: Any) -> Mark:
    registry = pytest.importorskip("pint").UnitRegistry
    return grade_quantity.quantity(text=text, gold=gold, tolerance=0.0, percent="fraction", registry=registry, **PLACE)


def math(text: str, gold: Any) -> Mark:
    library = pytest.importorskip("math_verify")
    try:
        return grade_math.mathematics(
            text=text,
            gold=gold,
            parse=library.parse,
            verify=library.verify,
            config=library.LatexExtractionConfig,
            rational=pytest.importorskip("sympy").Rational,
        )
    except TooLong:
        return UNPARSED


def interval(text: str, gold: Any) -> Mark:
    return grade_sets.interval(text=text, gold=gold, **PLACE)


def set_of(text: str, gold: Any) -> Mark:
    return grade_sets.items(text=text, gold=_listed(gold), order="set", numbers=True, **PLACE)


def exact(text: str, gold: Any) -> Mark:
    return grade_text.exact(text=text, gold=_listed(gold), case=False, **PLACE)


def _listed(gold: Any) -> Any:
    return list(gold) if isinstance(gold, tuple) else gold


def _in_all(languages: Mapping[str, Sequence[str]]) -> Table:
    """A table by language as one of answers."""
    return {"42": [text for texts in languages.values() for text in texts]}


TABLES: Mapping[str, tuple[Grade, Table, Table]] = {
    "number": (number, number_answers.RIGHT, number_answers.WRONG),
    "sentences": (number, _in_all(sentence_answers.RIGHT), _in_all(sentence_answers.WRONG)),
    "choice": (choice, choice_answers.RIGHT, choice_answers.WRONG),
    "math": (math, math_answers.RIGHT, math_answers.WRONG),
    "quantity": (quantity, other.QUANTITY_RIGHT, other.QUANTITY_WRONG),
    "interval": (interval, other.INTERVAL_RIGHT, other.INTERVAL_WRONG),
    "set_of": (set_of, other.SET_RIGHT, other.SET_WRONG),
    "exact": (exact, other.EXACT_RIGHT, other.EXACT_WRONG),
}


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "math")) for name in TABLES])
def test_what_is_plainly_right_is_paid(name: str) -> None:
    grade, right, _ = TABLES[name]
    marks = {(gold, text): grade(text, gold) for gold, texts in right.items() for text in texts}
    assert [case for case, mark in marks.items() if mark.get("value") != 1] == []


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "math")) for name in TABLES])
def test_what_leaves_a_doubt_is_never_paid(name: str) -> None:
    grade, _, wrong = TABLES[name]
    marks = {(gold, text): grade(text, gold) for gold, texts in wrong.items() for text in texts}
    assert [case for case, mark in marks.items() if mark.get("value") != 0] == []


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 + 40 = 42 #### 42", 1),
        ("2 + 40 is 42\n#### 42", 1),
        ("41\n#### 42", 1),
        ("<answer>2 + 40 = 42 #### 42</answer>", 1),
        ("#### 42 apples.", 1),
        ("#### $42", 1),
        ("#### –42", 0),
        ("not #### 42", 0),
        ("41 or #### 42", 0),
        ("#### 42 or 43", 0),
        ("#### 42 is wrong", 0),
        ("#### 42\nOr 43.", 0),
        ("#### 42 #### 43", 0),
        ("42", 0),
    ],
)
def test_a_marker_is_a_place_of_its_own(text: str, value: float) -> None:
    mark = grade_number.number(text=text, gold=42, tolerance=0.0, percent="fraction", tag="answer", marker="####")
    assert mark["value"] == value


NO_ANSWERS = (None, {}, {"a": 1}, [None], True, float("nan"), float("inf"), "", " ", "None", "null", "nan")


@pytest.mark.parametrize("name", [name for name in TABLES if name not in ("sentences", "exact")])
@pytest.mark.parametrize("gold", NO_ANSWERS, ids=repr)
def test_a_row_without_a_readable_answer_is_told_and_never_paid(name: str, gold: Any) -> None:
    grade = TABLES[name][0]
    for text in (rf"\boxed{{{gold}}}", str(gold), f"<answer>{gold}</answer>", r"\boxed{None}", ""):
        assert "bad_gold" in grade(text, gold), text


@pytest.mark.parametrize("gold", [None, {}, {"a": 1}, [], [None], ["a", {}], float("nan"), "", " "], ids=repr)
def test_a_row_without_a_text_is_told_and_never_paid(gold: Any) -> None:
    assert all("bad_gold" in exact(text, gold) for text in (str(gold), "None", ""))


def test_rows_that_cannot_be_graded_are_refused_before_training() -> None:
    rewards_of = [rewards.number(), rewards.choice(), rewards.exact(), rewards.interval(), rewards.set_of()]
    for reward in (*rewards_of, rewards.matches()):
        tasks = [Task(id=f"train:{at}", prompt=(), answer=answer) for at, answer in enumerate(["1", None, {"a": 1}])]
        (problem,) = check.answers(tasks, gate(reward, by=form()))
        assert problem.startswith(
            f"{reward.name}: 2 of 3 rows cannot be graded; the first is train:1: the answer None is"
        )
        assert not list(check.answers(tasks[:1], reward))
    assert not list(check.answers(tasks, form() + rewards.matches("a")))


# Whatever is answered, in every form of the tables --------------------------------------------------------------------

READ = [
    (name, gold, text)
    for name in ("number", "sentences", "choice")
    for gold, texts in TABLES[name][1].items()
    for text in texts
    if not set(text) & set(".,:;!?\n<。、！：；，")  # one clause, so that what is put around it is said of it
]
NEUTRAL = [
    "{}",
    " {}",
    "{}\n",
    "\n\n{}\n\n",
    "The answer is {}",
    "Answer: {}",
    "答えは {}",
    "答案是 {}",
    "La réponse est {}",
]
PROSE = [
    "If we add them all up, we get {}",
    "Let me count: {}",
    "Using the formula, x = {}",
    "Wie viele sind es? {}",
    "| Total | {} |",
    "Il y a {} pommes",
    "よって、合計は{}個です",
    "{} + 0 = {}, so the answer is {}",
]
DENIED = [
    "not {}",
    "{} is wrong",
    "{}? No.",
    "It is not {}",
    "nicht {}",
    "{} ist falsch",
    "pas {}",
    "{} est faux",
    "no es {}",
]
DENIED += [
    "{} ではない",
    "{} 不对",
    "maybe {}",
    "{} or something else",
    "{} oder nicht",
    "anything but {}",
    "❌ {}",
    "~~{}~~",
    "he said {}",
    "{}, he said",
    "suppose {}",
    "if {}",
    "e.g. {}",
    "{} 吗",
    "Laut Peter {}",
    "selon Paul {}",
    "例えば {}",
    "guess {}",
]
WHOLE = st.integers(-(10**9), 10**9)
DASHES = "-\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"


def wide(text: str) -> str:
    """The same in full width."""
    return "".join(chr(ord(each) + 0xFEE0) if "!" <= each <= "~" else each for each in text)


@given(WHOLE, st.sampled_from(NEUTRAL))
def test_neutral_text_around_an_answer_changes_nothing(answer: int, around: str) -> None:
    assert number(around.format(answer), answer)["value"] == 1
    assert number(f"<answer>{around.format(answer)}</answer>", answer)["value"] == 1
    assert number(around.format(rf"\boxed{{{answer}}}"), answer)["value"] == 1


@given(WHOLE, st.sampled_from(PROSE))
def test_prose_that_states_an_answer_gives_it(answer: int, around: str) -> None:
    assert number(around.replace("{}", str(answer)), answer)["value"] == 1
    assert number(around.replace("{}", str(answer)), answer + 1)["value"] == 0


@given(st.sampled_from(READ), st.sampled_from(DENIED))
def test_no_answer_survives_a_denial(case: tuple[str, Any, str], denial: str) -> None:
    name, gold, text = case
    assert TABLES[name][0](denial.format(text), gold)["value"] == 0


@given(
    WHOLE,
    WHOLE,
    st.sampled_from(["{}, {}", "{} {}", "{}\n{}", "{} = {}"]),
)
def test_two_numbers_are_no_answer(one: int, other: int, both: str) -> None:
    for text in (both.format(one, other), both.format(f"<answer>{one}</answer>", other)):
        assert one == other or number(text, one)["value"] == number(text, other)["value"] == 0


@given(WHOLE, st.sampled_from(DASHES))
def test_widths_and_dashes_read_alike(answer: int, dash: str) -> None:
    for text in (f"{answer}", f"{answer:,}", f"{answer}%", f"x = {answer}."):
        same = [text, wide(text), text.replace("-", dash), wide(text).replace("－", dash)]
        assert len({number(each, answer)["value"] for each in same}) == 1
    assert number(f"{dash}{abs(answer)}", abs(answer))["value"] == float(answer == 0)


@settings(max_examples=40)
@given(st.text())
def test_any_text_is_read_without_a_fault(text: str) -> None:
    for name in ("number", "choice", "interval", "set_of", "exact"):
        grade, right, _ = TABLES[name]
        gold = next(iter(right))
        for each in (text, f"<answer>{text}</answer>", rf"\boxed{{{text}}}"):
            assert grade(each, gold)["value"] in (0, 1)
