"""Verifiers of one short answer: a number, a letter, a text, mathematics, a task's own scorer; and its form."""

from __future__ import annotations

import math as mathematics
import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from togi.graders import mathematics as grade_math, reasoning_gym_scorer as grade_gym, texts as grade_text
from togi.graders.answer_place import boxes
from togi.graders.marks import answer_text, normal
from togi.rewards.verifiers.base import Answer, Verifier, need
from togi.types import Task

PLAIN = re.compile(r"-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,18})?")
"""Numbers that can be read in one way only."""


@dataclass(frozen=True, kw_only=True)
class number(Answer):
    r"""1 when the only number of the answer equals the task's, within ``tolerance`` (absolute).

    The answer is what stands in ``<tag>``, else in ``\boxed{}``, else after ``</think>``, else everything; ``marker``
    narrows it to what follows the marker ("####"), which stands there once. Reads commas, signs, decimals, fractions,
    currencies and percent exactly; "41 or 42", "minus 42", "42 million" and "2 + 40 = 42" are no answer 42. Of the
    task's own answer only what follows "####" counts. ``percent`` says what 42% is: "fraction" 0.42, "unit" a
    percentage that equals a percentage only, "drop" 42.
    """

    wants = "number"
    tolerance: float = 0.0
    percent: str = "fraction"
    name: str = "number"

    def __post_init__(self) -> None:
        if self.percent not in ("fraction", "unit", "drop"):
            raise ValueError(f'number: percent is "fraction", "unit" or "drop"; got "{self.percent}"')
        if not 0 <= self.tolerance < mathematics.inf:
            raise ValueError(f"number: tolerance is a number of at least 0; got {self.tolerance}")

    def write(self, answer: str) -> str:
        return super().write(answer.rpartition("####")[2].strip())

    def canonical(self, answer: str) -> str | None:
        return str(Fraction(answer)) if not self.tolerance and PLAIN.fullmatch(answer) else None

    @property
    def grader(self) -> str:
        return "togi.graders.number:number"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {**self.place(task), "tolerance": self.tolerance, "percent": self.percent}


@dataclass(frozen=True, kw_only=True)
class choice(Answer):
    """1 when the answer chooses the task's letter: "B", "(B)", "B. Paris", "B is correct". The answer is found as by
    ``number``; two letters are no answer."""

    wants = "letter"
    options: str = "ABCDE"
    name: str = "choice"

    def __post_init__(self) -> None:
        if not (self.options.isalpha() and self.options.isupper() and len(set(self.options)) == len(self.options) > 1):
            raise ValueError(f'choice: options are different capital letters, as "ABCDE"; got "{self.options}"')

    def canonical(self, answer: str) -> str | None:
        return answer if answer in set(self.options) else None

    @property
    def grader(self) -> str:
        return "togi.graders.choice:choice"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {**self.place(task), "options": self.options}


@dataclass(frozen=True, kw_only=True)
class exact(Answer):
    """1 when the answer is the task's, up to white space, and up to case unless ``case``. A list of answers accepts
    any of them. The answer is found as by ``number``, but for boxes: they are text here."""

    wants = "text, nor a list of texts"
    reads_box = False
    case: bool = False
    name: str = "exact"

    def accepts(self, answer: Any) -> bool:
        return grade_text.texts(answer) is not None

    def canonical(self, answer: str) -> str | None:
        return normal(answer, self.case) or None

    @property
    def grader(self) -> str:
        return "togi.graders.texts:exact"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {**self.place(task), "case": self.case}


@dataclass(frozen=True, kw_only=True)
class math(Verifier):
    r"""1 when the content of ``\boxed{}`` equals the task's answer, by math-verify. Only a box after the thinking is
    read; two different boxes are wrong, and so are another unit, a tuple for a set, and 42% for 42.

    ``strict=False`` reads everything after the thinking as math-verify does by default. It finds answers in models
    that were never taught the box, and pays for hedges and slips: for evaluation, never for training. Needs the extra
    ``togi[math]``.
    """

    wants = "formula"
    strict: bool = True
    name: str = "math"

    def __post_init__(self) -> None:
        need("math_verify", "math()", "math")

    @property
    def library(self) -> Mapping[str, str]:
        return grade_math.LIBRARY if self.strict else grade_math.PERMISSIVE

    def read(self, text: str) -> str | None:
        if not self.strict:
            return answer_text(text, tag="")
        return grade_math.boxed(text)

    def write(self, answer: str) -> str:
        return answer if boxes(answer) else rf"\boxed{{{answer}}}"

    @property
    def grader(self) -> str:
        return f"togi.graders.mathematics:{'mathematics' if self.strict else 'permissive'}"

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
        return "togi.graders.marks:form"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"think": self.think, "answer": self.answer, "min_think": self.min_think}


@dataclass(frozen=True, kw_only=True)
class scorer(Answer):
    """reasoning-gym's own scorer of the task's data set. The answer is found as by ``number``.

    Only full marks pay, since several scorers give crumbs for garbage; ``partial`` pays what they say. Needs the
    extra ``togi[tasks]``.
    """

    reads_box = False
    partial: bool = False
    name: str = "scorer"

    def __post_init__(self) -> None:
        need("reasoning_gym", "scorer()", "tasks")

    @property
    def library(self) -> Mapping[str, str]:
        return grade_gym.LIBRARY

    @property
    def grader(self) -> str:
        return "togi.graders.reasoning_gym_scorer:score"

    @property
    def runs_answers(self) -> bool:
        return True

    def arguments(self, task: Task) -> Mapping[str, Any]:
        if "reasoning_gym" not in task.info:
            raise ValueError(f"scorer() scores reasoning-gym tasks only; task {task.id} comes from elsewhere")
        name = task.info["reasoning_gym"]["name"]
        if name in grade_gym.EXECUTING:
            self.pool.refuse_foreign_code(f"reasoning-gym's scorer of {name}")
        return {
            "origin": task.info["reasoning_gym"],
            "question": task.info["question"],
            "tag": self.tag,
            "marker": self.marker,
            "partial": self.partial,
        }
