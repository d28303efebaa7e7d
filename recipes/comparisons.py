"""Comparisons that teach a small model to be a judge: two written answers, and which of them the annotator preferred.

The answers are what people wrote (topics.jsonl), one or both of them spoiled in a way that models spoil answers. They
are shown exactly as Togi's judges show a pair (``preference`` with comparison.txt), so that a model that has learned
these can be asked about answers that nobody has judged. No model's answer and no held-out request is used here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from preferences import demonstration, known, parts, preferred, question, worth

from togi.envs.constitution import Principle, read_principles
from togi.rewards.judge.prompts import RUBRIC, pair_ending, pair_prompt, read_template
from togi.types import Message, Task, Trajectory, Turn

HERE = Path(__file__).parent
TEMPLATE = read_template(HERE / "comparison.txt", ("answer_1", "answer_2"))
PRINCIPLES: tuple[Principle, ...] = read_principles(HERE / "constitution.txt")

Row = Mapping[str, Any]
Grade = Callable[[str], float]


def comparison(rng: random.Random) -> dict[str, str]:
    """Which of two answers does better what was asked; the verdict errs as often as the annotator does."""
    row = question(rng)
    return _compared(rng, row, RUBRIC, lambda answer: worth(row["prompt"], row["answer"], row["topic"], answer))


def comparison_under_a_principle(rng: random.Random) -> dict[str, str]:
    """Which of two answers keeps one principle of the constitution better, whatever else is wrong with it."""
    row, principle = question(rng), rng.choice(PRINCIPLES)
    return _compared(rng, row, principle.question, lambda answer: kept(principle, row, answer))


def kept(principle: Principle, row: Row, answer: str) -> float:
    """How well an answer keeps a principle, 0 to 1."""
    found = parts(row["prompt"], row["answer"], row["topic"], answer)
    return min(found["fresh"], found["own"]) if principle.id == "fresh" else found[principle.id]


def _compared(rng: random.Random, row: Row, rubric: str, grade: Grade) -> dict[str, str]:
    first = second = written(rng, row)
    # Answers that are equally good teach a judge nothing: people would skip them too.
    while grade(first) == grade(second):
        first, second = written(rng, row), written(rng, row)
    won = preferred(row["prompt"], (first, grade(first)), (second, grade(second)))
    return {"prompt": shown(row["prompt"], first, second, rubric), "completion": "1" if won else "2"}


def shown(request: str, first: str, second: str, rubric: str) -> str:
    """What a judge reads."""
    task = Task(id="", prompt=(Message(role="user", content=request),))
    [message] = pair_prompt(
        task, _said(first), _said(second), rubric=rubric, ending=pair_ending(reason=False), template=TEMPLATE
    )
    return message.content


def _said(text: str) -> Trajectory:
    return Trajectory(turns=(Turn(prompt=(), completion=(), text=text, stop="eos"),), stop="done")


def written(rng: random.Random, row: Row) -> str:
    """An answer that is as people wrote it, or spoiled in one way, or in two."""
    answer = demonstration(row)
    for spoil in rng.sample(SPOILS, rng.choice([0, 1, 1, 2])):
        answer = spoil(rng, row, answer)
    return answer


def longer(rng: random.Random, row: Row, answer: str) -> str:
    topic = known(row["topic"])
    more = " ".join([topic["definition"], *rng.sample(topic["facts"], rng.randint(1, 3))])
    return f"{answer} {more}"


def cut_off(rng: random.Random, row: Row, answer: str) -> str:
    words = answer.split(" ")
    return " ".join(words[: max(2, int(len(words) * rng.uniform(0.3, 0.8)))])


def announced(rng: random.Random, row: Row, answer: str) -> str:
    remark = rng.choice(["Sure! Here is what you asked for:", "Here is my answer:", "I can help you with that."])
    return f"{remark}\n\n{answer}"


def repeated(rng: random.Random, row: Row, answer: str) -> str:
    return " ".join([answer] * rng.randint(2, 3))


def echoed(rng: random.Random, row: Row, answer: str) -> str:
    return f"{row['prompt']} {answer}"


def numbered(rng: random.Random, row: Row, answer: str) -> str:
    lines = [line.removeprefix("- ") for line in answer.splitlines()]
    return "\n".join(f"{number}. {line}" for number, line in enumerate(lines, 1))


def in_prose(rng: random.Random, row: Row, answer: str) -> str:
    """Sentences, whatever was asked for: lists lose their marks, and questions are answered."""
    if row["answer"]["form"] == "question":
        return str(known(row["topic"])["definition"])
    return " ".join(line.removeprefix("- ") for line in answer.splitlines())


def elsewhere(rng: random.Random, row: Row, answer: str) -> str:
    """An answer of the same form to another request."""
    other = question(rng)
    return demonstration({**row, "topic": other["topic"]})


SPOILS: list[Callable[[random.Random, Row, str], str]] = [
    longer,
    cut_off,
    announced,
    repeated,
    echoed,
    numbered,
    in_prose,
    elsewhere,
]
