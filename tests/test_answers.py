"""Every verifier against its table of answers: what is plainly right is paid, and what leaves a doubt never is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import choice_answers
import number_answers
import pytest

from togi.rewards import grade_choice, grade_number
from togi.rewards.grade import Mark

PLACE = {"tag": "answer", "marker": ""}


def number(text: str, gold: Any) -> Mark:
    return grade_number.number(text=text, gold=gold, tolerance=0.0, percent="fraction", **PLACE)


def choice(text: str, gold: Any) -> Mark:
    return grade_choice.choice(text=text, gold=gold, options="ABCDE", **PLACE)


Grade = Callable[[str, Any], Mark]
Table = Mapping[str, Sequence[str]]
TABLES: Mapping[str, tuple[Grade, Table, Table]] = {
    "number": (number, number_answers.RIGHT, number_answers.WRONG),
    "choice": (choice, choice_answers.RIGHT, choice_answers.WRONG),
}


@pytest.mark.parametrize("name", TABLES)
def test_what_is_plainly_right_is_paid(name: str) -> None:
    grade, right, _ = TABLES[name]
    marks = {(gold, text): grade(text, gold) for gold, texts in right.items() for text in texts}
    assert [case for case, mark in marks.items() if mark.get("value") != 1] == []


@pytest.mark.parametrize("name", TABLES)
def test_what_leaves_a_doubt_is_never_paid(name: str) -> None:
    grade, _, wrong = TABLES[name]
    marks = {(gold, text): grade(text, gold) for gold, texts in wrong.items() for text in texts}
    assert [case for case, mark in marks.items() if mark.get("value") != 0] == []
