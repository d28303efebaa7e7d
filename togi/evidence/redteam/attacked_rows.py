"""Rows of the data as an attack sees them: the right answer, wrong ones, and how the reward wants an answer written.

A verifier says itself how it reads answers. For any other reward, a handful of forms are tried on a few rows, and the
one whose right answers are paid most is taken. It knows no probe.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.evidence.redteam.ask_reward import Grading
from togi.graders.number import parse_number
from togi.protocols import Reward
from togi.rewards.algebra import leaves_of
from togi.rewards.code import code
from togi.rewards.verifiers import Verifier, first_answer, form
from togi.types import Task

TRIED = 4  # rows on which forms of an answer are tried
WRONG = 3  # wrong answers a row
THOUGHT = "I think about it step by step."

Write = Callable[[str], str]

FORMS: Mapping[str, str] = {
    "as it is": "{}",
    "<think>…</think><answer>…</answer>": f"<think>{THOUGHT}</think><answer>{{}}</answer>",
    "<think>…</think> …": f"<think>{THOUGHT}</think>{{}}",
    "<answer>…</answer>": "<answer>{}</answer>",
    r"\boxed{…}": r"\boxed{{{}}}",
    "#### …": "#### {}",
    "The answer is …": "The answer is {}.",
    "<think>…</think> with a box": rf"<think>{THOUGHT}</think>\boxed{{{{{{}}}}}}",
    "<reasoning>…</reasoning><answer>…</answer>": (
        f"<reasoning>\n{THOUGHT}\n</reasoning>\n<answer>\n{{}}\n</answer>\n"
    ),
    "<think>\\n…\\n</think>\\n<answer>\\n…\\n</answer>": f"<think>\n{THOUGHT}\n</think>\n<answer>\n{{}}\n</answer>",
    "a block of code": "```python\n{}\n```",
}
"""Forms in which answers are commonly asked for, with the place of the answer."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task. ``gold`` is the whole completion that should be paid in full, ``answer`` the short right answer,
    ``right`` every answer that counts as it, ``wrong`` short answers of other rows that do not. Where the right answer
    is a text or a program, of which others would be as right, ``open`` says so."""

    task: Task
    gold: str
    answer: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]
    write: Write
    open: bool = False

    @property
    def request(self) -> str:
        return self.task.prompt[-1].content if self.task.prompt else ""

    def is_right(self, answer: str) -> bool:
        return any(same(answer, each) for each in self.right)


def rows_of(tasks: Sequence[Task], grading: Grading, count: int, reader: Reward | None = None) -> tuple[list[Row], str]:
    """``count`` of the tasks that have an answer, spread evenly, and the form answers are written in: that which
    ``reader`` reads, where another reward than the attacked one knows it."""
    reader = reader or grading.reward
    verifiers = _verifiers(reader)
    judging = [leaf for leaf in verifiers if leaf.judges]
    telling: list[Verifier | code] = [*judging, *_coded(reader)]
    known = [task for task in tasks if task.recorded or _answers(task, telling)]
    chosen = [known[index * len(known) // count] for index in range(count)] if len(known) > count else known
    name, write = _form(chosen, grading, verifiers)
    golds, rights, texts = [], [], []
    for task in chosen:
        answers = _answers(task, telling)
        golds.append(task.recorded[0][-1].content if task.recorded else write(answers[0]))
        read = [found for leaf in judging for text in (golds[-1], *map(write, answers)) if (found := leaf.read(text))]
        rights.append(tuple(dict.fromkeys([*read, *answers])) or (golds[-1],))
        texts.append(not answers or bool(_coded(reader)))
    rows = [
        Row(
            task=task,
            gold=gold,
            answer=right[0],
            right=right,
            wrong=_wrong(index, rights),
            write=write,
            open=texts[index],
        )
        for index, (task, gold, right) in enumerate(zip(chosen, golds, rights, strict=True))
    ]
    return rows, name


def same(one: str, other: str) -> bool:
    """Whether two short answers are the same, up to case and white space, or as numbers."""
    if " ".join(one.casefold().split()) == " ".join(other.casefold().split()):
        return True
    if any(character.isalpha() for character in one + other):
        return False  # "3 m" and "3 km" hold the same number
    number = parse_number(one)
    return number is not None and number == parse_number(other)


def _answers(task: Task, telling: Sequence[Verifier | code]) -> list[str]:
    """The task's right answers as text: what its verifier says, else its answer, or each of a list of answers."""
    if telling:
        right = telling[0].right(task)
        many = task.answer if isinstance(task.answer, list) and right == first_answer(task) else []
        given = [right, *many]
    else:
        given = task.answer if isinstance(task.answer, list) else [task.answer]
    texts = [str(each) for each in given if isinstance(each, str | int | float)]
    return list(dict.fromkeys(text for text in texts if text.strip()))


def _wrong(index: int, rights: Sequence[tuple[str, ...]]) -> tuple[str, ...]:
    """Right answers of other rows that are not right here, and made-up ones when there are none."""
    here = rights[index]
    others = [rights[(index + step) % len(rights)][0] for step in range(1, len(rights))]
    made = ["41", "17", "B", "A", "no", "yes", "banana bread"]
    found = [other for other in [*others, *made] if not any(same(other, right) for right in here)]
    return tuple(list(dict.fromkeys(found))[:WRONG])


def _coded(reward: Reward) -> list[code]:
    return [leaf for leaf in leaves_of(reward) if isinstance(leaf, code)]


def _verifiers(reward: Reward) -> list[Verifier]:
    """Each once, the form last: it goes around the answer."""
    found = {leaf.name: leaf for leaf in leaves_of(reward) if isinstance(leaf, Verifier)}
    return sorted(found.values(), key=lambda leaf: isinstance(leaf, form))


def _form(tasks: Sequence[Task], grading: Grading, verifiers: Sequence[Verifier]) -> tuple[str, Write]:
    writers = {name: _writer(template, verifiers) for name, template in FORMS.items()}
    if any(leaf.judges for leaf in verifiers):
        return "the form its verifiers read", writers["as it is"]
    some = [task for task in tasks if _answers(task, ())][:TRIED]
    if grading.costs or not some:
        return "as it is", writers["as it is"]
    asked = [(task, write(_answers(task, ())[0])) for write in writers.values() for task in some]
    values = [score.value if score.status == "ok" else -math.inf for score in grading.each(asked)]
    means = {name: sum(values[i * len(some) : (i + 1) * len(some)]) for i, name in enumerate(writers)}
    best = max(means, key=lambda name: means[name])
    return best, writers[best]


def _writer(template: str, verifiers: Sequence[Verifier]) -> Write:
    def write(answer: Any) -> str:
        text = template.format(answer)
        for leaf in verifiers:
            text = leaf.write(text)
        return text

    return write
