"""Verifiers: rewards that compare a completion with the task's answer, each graded in a worker of a pool.

A completion in which no answer can be found earned 0, and ``parts["parsed"]`` counts it: were it left unscored, a
model could dodge every loss by babbling. The status "unparseable" is for the task's own answer that cannot be read,
and a grader that hung, crashed or raised has the status "timeout" or "error": those are failures of ours, not the
model's, and are never trained on. Parts: the reward's name, ``correct`` (the same mark) and ``parsed``.
"""

from __future__ import annotations

import math as mathematics
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

from togi.rewards import grade_gym, grade_math
from togi.rewards.algebra import Leaf
from togi.rewards.grade import answer_text
from togi.sandbox.pool import Pool, Verdict, shared_pool
from togi.types import Score, Task, Trajectory


def completion_text(trajectory: Trajectory) -> str:
    """What a grader reads: the text of the last turn."""
    return trajectory.turns[-1].text if trajectory.turns else ""


def unscored(name: str, verdict: Verdict) -> Score:
    assert verdict.status != "ok"
    return Score(value=mathematics.nan, status=verdict.status, note=f"{name}: {verdict.note}")


@dataclass(frozen=True, kw_only=True)
class Verifier(Leaf):
    """A leaf graded by one function of text, called once a trajectory."""

    pool: Pool = field(default_factory=shared_pool, compare=False, repr=False)

    @property
    @abstractmethod
    def grader(self) -> str:
        """The function that marks, as a reference; it gives ``{"value", "parsed"}`` or ``{"bad_gold"}``."""

    @property
    def library(self) -> Mapping[str, str]:
        """Functions the grader is given, by reference: those of libraries that are slow to import."""
        return {}

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

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        arguments = self.arguments(task)
        calls = [{"text": completion_text(trajectory), **arguments} for trajectory in trajectories]
        return [self._score(verdict) for verdict in self.pool.call_many(self.grader, calls, self.library)]

    def _score(self, verdict: Verdict) -> Score:
        if verdict.status != "ok":
            return unscored(self.name, verdict)
        mark = verdict.value
        if "bad_gold" in mark:
            return Score(value=mathematics.nan, status="unparseable", note=f"{self.name}: {mark['bad_gold']}")
        value = float(mark["value"])
        parts = {self.name: value}
        if self.judges:
            parts |= {"correct": value, "parsed": float(mark["parsed"])}
        return Score(value=value, parts=parts)


@dataclass(frozen=True, kw_only=True)
class Answer(Verifier):
    """A verifier of the answer that stands in ``<tag>``, else after ``</think>``, else everywhere, and of it only what
    follows the last ``marker`` ("####") when one is given."""

    tag: str = "answer"
    marker: str = ""

    def read(self, text: str) -> str | None:
        return answer_text(text, tag=self.tag, marker=self.marker)

    def write(self, answer: str) -> str:
        return f"{self.marker} {answer}".strip()


@dataclass(frozen=True, kw_only=True)
class number(Answer):
    """1 when the only number of the answer equals the task's, within ``tolerance`` (absolute).

    The answer is what stands in ``<tag>``, else after ``</think>``, else everything; ``marker`` narrows it to what
    follows the marker's last occurrence ("####"). Reads commas, signs, decimals, fractions and percent exactly;
    "41 or 42" and "2 + 40 = 42" are no answer. Of the task's own answer only what follows "####" counts.
    """

    tolerance: float = 0.0
    name: str = "number"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < mathematics.inf:
            raise ValueError(f"number: tolerance is a number of at least 0; got {self.tolerance}")

    def write(self, answer: str) -> str:
        return super().write(answer.rpartition("####")[2].strip())

    @property
    def grader(self) -> str:
        return "togi.rewards.grade:number"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"gold": task.answer, "tag": self.tag, "marker": self.marker, "tolerance": self.tolerance}


@dataclass(frozen=True, kw_only=True)
class choice(Answer):
    """1 when the answer chooses the task's letter: "B", "(B)", "B. Paris", "The answer is B". The answer is found as
    by ``number``; two letters are no answer."""

    options: str = "ABCDE"
    name: str = "choice"

    def __post_init__(self) -> None:
        if not (self.options.isalpha() and self.options.isupper() and len(set(self.options)) == len(self.options) > 1):
            raise ValueError(f'choice: options are different capital letters, as "ABCDE"; got "{self.options}"')

    @property
    def grader(self) -> str:
        return "togi.rewards.grade:choice"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"gold": task.answer, "tag": self.tag, "marker": self.marker, "options": self.options}


@dataclass(frozen=True, kw_only=True)
class exact(Answer):
    """1 when the answer is the task's, up to white space, and up to case unless ``case``. A list of answers accepts
    any of them. The answer is found as by ``number``."""

    case: bool = False
    name: str = "exact"

    @property
    def grader(self) -> str:
        return "togi.rewards.grade:exact"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"gold": task.answer, "tag": self.tag, "marker": self.marker, "case": self.case}


@dataclass(frozen=True, kw_only=True)
class math(Verifier):
    r"""1 when the content of ``\boxed{}`` equals the task's answer, by math-verify. Only a box after the thinking is
    read; two different boxes are wrong. Needs the extra ``togi[math]``."""

    name: str = "math"

    def __post_init__(self) -> None:
        _need("math_verify", "math() needs the math extra: pip install 'togi[math]'")

    @property
    def library(self) -> Mapping[str, str]:
        return grade_math.LIBRARY

    def read(self, text: str) -> str | None:
        return next(iter(dict.fromkeys(grade_math.boxed(text))), None)

    def write(self, answer: str) -> str:
        return answer if grade_math.boxed(answer) else rf"\boxed{{{answer}}}"

    @property
    def grader(self) -> str:
        return "togi.rewards.grade_math:mathematics"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"gold": task.answer}


@dataclass(frozen=True, kw_only=True)
class form(Verifier):
    """1 when the completion is exactly ``<think>…</think><answer>…</answer>``, white space around tags allowed.

    ``answer=""`` wants no answer tag: ``<think>…</think> 42``. Each tag once, in order, nothing outside, a non-empty
    answer, and at least ``min_think`` characters of thinking that are not white space. It says nothing about being
    right; use it in ``gate(…, by=form())``.
    """

    think: str = "think"
    answer: str = "answer"
    min_think: int = 5
    name: str = "form"

    def __post_init__(self) -> None:
        if not self.think.isidentifier() or not (self.answer.isidentifier() or not self.answer):
            raise ValueError(f'form: tags are plain names as "think"; got "{self.think}" and "{self.answer}"')
        if self.think == self.answer or self.min_think < 1:
            raise ValueError("form: the two tags differ and min_think is at least 1")

    @property
    def judges(self) -> bool:
        return False

    def read(self, text: str) -> str | None:
        return None

    def write(self, answer: str) -> str:
        thought = "…" * self.min_think
        body = f"<{self.answer}>{answer}</{self.answer}>" if self.answer else answer
        return f"<{self.think}>{thought}</{self.think}>{body}"

    @property
    def grader(self) -> str:
        return "togi.rewards.grade:form"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"think": self.think, "answer": self.answer, "min_think": self.min_think}


@dataclass(frozen=True, kw_only=True)
class scorer(Answer):
    """reasoning-gym's own scorer of the task's data set. The answer is found as by ``number``.

    Only full marks pay, since several scorers give crumbs for garbage; ``partial`` pays what they say. Needs the
    extra ``togi[tasks]``.
    """

    partial: bool = False
    name: str = "scorer"

    def __post_init__(self) -> None:
        _need("reasoning_gym", "scorer() needs the tasks extra: pip install 'togi[tasks]'")

    @property
    def library(self) -> Mapping[str, str]:
        return grade_gym.LIBRARY

    @property
    def grader(self) -> str:
        return "togi.rewards.grade_gym:score"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        if "reasoning_gym" not in task.info:
            raise ValueError(f"scorer() scores reasoning-gym tasks only; task {task.id} comes from elsewhere")
        return {
            "origin": task.info["reasoning_gym"],
            "question": task.info["question"],
            "tag": self.tag,
            "marker": self.marker,
            "partial": self.partial,
        }


def _need(module: str, message: str) -> None:
    if find_spec(module) is None:
        raise ValueError(message)
