"""Verifiers: rewards that compare a completion with the task's answer, each graded in a worker of a pool.

A completion in which no answer can be found earned 0, and ``parts["parsed"]`` counts it: were it left unscored, a
model could dodge every loss by babbling. So did a completion that alone made its grader hang, crash or raise
(``blame.py``); ``Score.own_fault`` says so. The status "unparseable" is for the task's own answer that cannot be read,
"timeout" and "error" for a grader that fails at right answers too: those are failures of ours, not the model's, and are
never trained on. Parts: the reward's name, ``correct`` (the same mark) and ``parsed``.
"""

from __future__ import annotations

import json
import math as mathematics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, ClassVar

from togi.extras import lacking
from togi.graders.answer_place import place_of
from togi.graders.marks import gold_text, is_mark
from togi.protocols import Asked
from togi.rewards.algebra import LEAST, Leaf
from togi.rewards.blame import Graded, failed, graded
from togi.sandbox.workers.pool import Pool, shared_pool
from togi.sandbox.workers.worker_call import TooLong
from togi.types import Score, Task, Trajectory

HARMLESS = "1"  # an answer that comes from no model and does nothing where it is run


def completion_text(trajectory: Trajectory) -> str:
    """What a grader reads: the text of the last turn."""
    return trajectory.turns[-1].text if trajectory.turns else ""


def first_answer(task: Task) -> str | None:
    """The task's answer as text, the first of a list of answers, an object as JSON; None where there is none."""
    answer = task.answer[0] if isinstance(task.answer, list) and task.answer else task.answer
    if isinstance(answer, dict):
        return json.dumps(answer, ensure_ascii=False)
    return None if answer is None else str(answer)


@dataclass(frozen=True, kw_only=True)
class Verifier(Leaf):
    """A leaf graded by one function of text, called once a trajectory."""

    wants: ClassVar[str] = ""  # what a task's own answer has to be; empty for what is not compared with one
    pool: Pool = field(default_factory=shared_pool, compare=False, repr=False)

    def fault(self, task: Task) -> str:
        """What is wrong with a task's own answer, as far as its type tells; empty when nothing is."""
        if not self.wants or self.accepts(task.answer):
            return ""
        return f"the answer {task.answer!r} is no {self.wants}"

    def accepts(self, answer: Any) -> bool:
        """Whether a task's own answer is of a type that can be compared."""
        return gold_text(answer) is not None

    @property
    @abstractmethod
    def grader(self) -> str:
        """The function that marks, as a reference; it gives ``{"value", "parsed"}``, with ``{"parts"}`` where it
        looked at several things, or ``{"bad_gold"}``."""

    @property
    def library(self) -> Mapping[str, str]:
        """Functions the grader is given, by reference: those of libraries that are slow to import."""
        return {}

    @property
    def runs_answers(self) -> bool:
        """Whether the grader may run the answer as code, so that each call needs a fresh process, after one for an
        answer that does nothing."""
        return False

    @abstractmethod
    def arguments(self, task: Task) -> Mapping[str, Any]:
        """What the grader gets beside ``text``."""

    @property
    def judges(self) -> bool:
        """Whether the mark says that the answer is right, so that it stands in ``parts["correct"]``."""
        return True

    @abstractmethod
    def read(self, text: str) -> str | None:
        """What of a completion it takes for the answer; None when it finds none."""

    @abstractmethod
    def write(self, answer: str) -> str:
        """The answer in the form it reads."""

    def canonical(self, answer: str) -> str | None:
        """The one way of writing that all answers equal to this one share; None where only the grader can say which
        are equal."""
        return None

    def right(self, task: Task) -> str | None:
        """The task's answer as text; None when no answer that gets full marks can be told from the task."""
        return first_answer(task)

    def control(self, task: Task) -> str:
        """A completion that no sound grader fails at: the task's own answer as it is read, or nothing."""
        right = self.right(task)
        return "" if right is None else self.write(right)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """All attempts at all tasks in one go, so that every worker has something to do."""
        calls, controls, warm = [], [], []
        for task, played in asked:
            arguments = self.arguments(task)
            calls += [{"text": completion_text(each), **arguments} for each in played]
            controls += [{"text": self.control(task), **arguments}] * len(played)
            warm += [{"text": self.write(HARMLESS), **arguments}] * (len(played) * self.runs_answers)
        marks = iter(graded(self.pool, self.grader, calls, controls, self.library, warm, gives=is_mark))
        return [[self._score(next(marks)) for _ in played] for _, played in asked]

    def _score(self, each: Graded) -> Score:
        said = each.verdict if each.verdict.status == "ok" else each.control
        if said is not None and said.status == "ok" and "bad_gold" in said.value:
            note = f"{self.name}: {said.value['bad_gold']}"
            return Score(value=mathematics.nan, status="unparseable", note=note)
        if each.verdict.status != "ok":
            return failed(self.name, each, LEAST if self.judges else ())
        mark = each.verdict.value
        value = float(mark["value"])
        parts = {self.name: value} | {f"{self.name}/{part}": float(x) for part, x in mark.get("parts", {}).items()}
        if self.judges:
            parts |= {"correct": value, "parsed": float(mark["parsed"])}
        return Score(value=value, parts=parts)


@dataclass(frozen=True, kw_only=True)
class Answer(Verifier):
    """A verifier of the answer that stands in ``<tag>``, else in a box, else after ``</think>``, else everywhere,
    and of it only what follows ``marker`` ("####"), written once, when one is given."""

    reads_box: ClassVar[bool] = True  # whether what stands in a box is the answer
    tag: str = "answer"
    marker: str = ""

    def read(self, text: str) -> str | None:
        with suppress(TooLong):
            place = place_of(text, tag=self.tag, marker=self.marker, box=self.reads_box)
            return place.text if place else None
        return None

    def write(self, answer: str) -> str:
        return f"{self.marker} {answer}".strip()

    def place(self, task: Task) -> Mapping[str, Any]:
        """The task's answer, and where a completion's stands."""
        return {"gold": task.answer, "tag": self.tag, "marker": self.marker}


def need(module: str, what: str, extra: str) -> None:
    """Refuse ``what`` where the library of an extra is not installed."""
    if find_spec(module) is None:
        raise ValueError(lacking(what, extra))
