"""Examinations that teach a small model to be a judge: one written answer, and whether the annotator finds it good.

The answers are what people wrote (topics.jsonl), some of them spoiled in ways that models spoil answers. They are shown
exactly as Togi's judges show an answer (``judge(yes_no=true)`` with examination.txt), so that a model that has learned
these can be asked about answers that nobody has judged. No model's answer and no held-out request is used here.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from preferences import NOISE, demonstration, known, parts, question, worth

from togi.envs.constitution import Principle, read_principles
from togi.rewards.judge.judge_prompts import RUBRIC, rating_prompt, read_template, yes_no_ending
from togi.types import Message, Task, Trajectory, Turn

HERE = Path(__file__).parent
TEMPLATE = read_template(HERE / "examination.txt", ("answer",))
PRINCIPLES: tuple[Principle, ...] = read_principles(HERE / "constitution.txt")
GOOD = 0.9
"""From this on the annotator calls an answer good."""

Row = Mapping[str, Any]
Grade = Callable[[Row, str], float]


def examination(rng: random.Random) -> dict[str, str]:
    """Whether an answer does what was asked; the verdict errs as often as the annotator does."""
    return _examined(rng, RUBRIC, lambda row, answer: worth(row["prompt"], row["answer"], row["topic"], answer))


def examination_by_a_principle(rng: random.Random) -> dict[str, str]:
    """Whether an answer keeps one principle of the constitution, whatever else is wrong with it."""
    principle = rng.choice(PRINCIPLES)
    return _examined(rng, principle.question, lambda row, answer: kept(principle, row, answer))


def kept(principle: Principle, row: Row, answer: str) -> float:
    """How well an answer keeps a principle, 0 to 1."""
    found = parts(row["prompt"], row["answer"], row["topic"], answer)
    return min(found["fresh"], found["own"]) if principle.id == "fresh" else found[principle.id]


def _examined(rng: random.Random, rubric: str, grade: Grade) -> dict[str, str]:
    wanted = rng.random() < 0.5
    row = question(rng)
    answer = written(rng, row)
    # As many good answers as bad ones: neither verdict is the better guess.
    while (grade(row, answer) >= GOOD) != wanted:
        row = question(rng)
        answer = written(rng, row)
    said = wanted != (rng.random() < NOISE)
    return {"prompt": shown(row["prompt"], answer, rubric), "completion": "Yes" if said else "No"}


def shown(request: str, answer: str, rubric: str) -> str:
    """What a judge reads."""
    task = Task(id="", prompt=(Message(role="user", content=request),))
    given = Trajectory(turns=(Turn(prompt=(), completion=(), text=answer, stop="eos"),), stop="done")
    [message] = rating_prompt(task, given, rubric=rubric, ending=yes_no_ending(reason=False), template=TEMPLATE)
    return message.content


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
