"""The task of the preference recipes: its truth cannot be cheated, and its annotator errs as often as it says."""

from __future__ import annotations

import importlib.util
import math
import random
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

RECIPES = Path(__file__).parent.parent / "recipes"


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, RECIPES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


task = load("preferences")


def rows(count: int = 400) -> list[dict[str, Any]]:
    rng = random.Random(3)
    return [task.question(rng) for _ in range(count)]


def worth(row: dict[str, Any], answer: str) -> float:
    parts: dict[str, float] = task.parts(row["prompt"], row["answer"], row["topic"], answer)
    return math.prod(parts.values())


def mean(values: list[float]) -> float:
    return sum(values) / len(values)


def test_there_are_many_different_requests_about_many_things() -> None:
    assert len({row["prompt"] for row in rows(3000)}) > 2000
    assert len(task.TOPICS) >= 60
    assert len({topic["topic"] for topic in task.TOPICS}) == len(task.TOPICS)


def test_what_people_wrote_is_worth_everything() -> None:
    wrong = [(row["prompt"], text) for row in rows(2000) if worth(row, text := task.demonstration(row)) < 1]
    assert wrong == []


@pytest.mark.parametrize(
    ("answer", "most"),
    [
        ("", 0.0),
        (" \n", 0.0),
        ("...", 0.0),
        ("I am sorry, but I cannot help you with that.", 0.0),
        ("Rain is water that falls from clouds in small drops.", 0.02),
        ("- Rain is water that falls from clouds.\n- Most plants need rain to grow.", 0.02),
        ("Why does it rain?", 0.02),
    ],
)
def test_an_answer_that_is_always_the_same_earns_next_to_nothing(answer: str, most: float) -> None:
    assert mean([worth(row, answer) for row in rows()]) <= most


def test_the_request_and_another_things_answer_earn_next_to_nothing() -> None:
    given = rows()
    assert mean([worth(row, row["prompt"]) for row in given]) == 0
    others = [task.demonstration(other) for other in given[1:]]
    assert mean([worth(row, answer) for row, answer in zip(given[1:], others[::-1], strict=True)]) < 0.05


def test_a_name_repeated_and_a_heap_of_words_earn_nothing() -> None:
    heap = "red blue green stone iron glass."
    for row in rows():
        assert worth(row, " ".join([row["topic"]] * 6) + ".") == 0
        assert worth(row, f"{row['topic'].split()[-1]} {heap}") == 0


SENTENCE = {"form": "sentence", "count": 1, "most": 12}
LIST = {"form": "list", "count": 2, "most": 16}


@pytest.mark.parametrize(
    ("asked", "answer", "part", "value"),
    [
        (SENTENCE, "Tea is a drink that many people like.", "form", 1.0),
        (SENTENCE, "Tea is a drink. Many people like it.", "form", 0.5),
        (SENTENCE, "Tea is a drink that many people", "form", 0.5),
        (SENTENCE, "- Tea is a drink that many people like.", "form", 0.0),
        (SENTENCE, "Tea is a drink that many people like, and it is made from the leaves of", "length", 2 - 16 / 12),
        (SENTENCE, "Tea is nice.", "length", 0.5),
        (SENTENCE, "It is a drink.", "topic", 0.0),
        (SENTENCE, "Teak is a kind of wood.", "topic", 0.0),
        (LIST, "- Tea is a drink.\n- It is hot.", "form", 1.0),
        (LIST, "Here you are:\n- Tea is a drink.\n- It is hot.", "form", 2 / 3),
        (LIST, "- Tea is a drink.\n- It is hot.\n- It is old.\n- It is good.", "form", 0.5),
        (LIST, "1. Tea is a drink.\n2. It is hot.", "form", 0.5),
        (LIST, "Tea is a drink. It is hot.", "form", 0.0),
        ({"form": "question", "count": 1, "most": 12}, "How hot is tea?", "form", 1.0),
        ({"form": "question", "count": 1, "most": 12}, "How hot is tea? And who drinks it?", "form", 0.5),
        ({"form": "question", "count": 1, "most": 12}, "Tea is hot.", "form", 0.0),
        ({"form": "words", "count": 1, "most": 12}, "Tea is a drink. It is hot.", "form", 1.0),
    ],
)
def test_parts_by_hand(asked: dict[str, Any], answer: str, part: str, value: float) -> None:
    assert task.parts("Say it.", asked, "tea", answer)[part] == pytest.approx(value)


def judged(row: dict[str, Any], answers: list[str]) -> list[float]:
    chat = [[{"role": "assistant", "content": answer}] for answer in answers]
    prompt = [{"role": "user", "content": row["prompt"]}]
    count = len(answers)
    won: list[float] = task.annotator([prompt] * count, chat, [row["answer"]] * count, [row["topic"]] * count)
    return won


def test_the_annotator_errs_as_often_as_it_says() -> None:
    given = rows(4000)
    right = [judged(row, [task.demonstration(row), "No."]) for row in given]
    assert {tuple(each) for each in right} == {(1.0, 0.0), (0.0, 1.0)}
    wrong = mean([float(each == [0.0, 1.0]) for each in right])
    assert abs(wrong - task.NOISE) < 4 * math.sqrt(task.NOISE * (1 - task.NOISE) / len(given))


def test_a_tie_is_a_fair_coin_and_twins_share() -> None:
    ties = [judged(row, ["No.", "Never."])[0] for row in rows(2000)]
    assert abs(mean(ties) - 0.5) < 0.05
    assert judged(rows(1)[0], ["No.", "No."]) == [0.5, 0.5]


def test_the_annotator_judges_the_same_pair_alike_whatever_the_order() -> None:
    for row in rows(200):
        answers = [task.demonstration(row), "No.", f"{row['topic']} is a thing that everybody knows."]
        there, back = judged(row, answers), judged(row, answers[::-1])
        assert there == back[::-1]
        assert sum(there) == pytest.approx(len(answers) / 2)


def test_nobody_is_judged_alone() -> None:
    assert judged(rows(1)[0], ["An answer."]) == [None]
