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
from pathlib import Path
from typing import Any

from togi.function import absolute
from togi.rewards import grade_gym, grade_math
from togi.rewards.algebra import Leaf
from togi.sandbox.pool import Pool, Verdict, shared_pool
from togi.types import Message, Score, Task, Trajectory


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
class number(Verifier):
    """1 when the only number of the answer equals the task's, within ``tolerance`` (absolute).

    The answer is what stands in ``<tag>``, else after ``</think>``, else everything; ``marker`` narrows it to what
    follows the marker's last occurrence ("####"). Reads commas, signs, decimals, fractions and percent exactly;
    "41 or 42" and "2 + 40 = 42" are no answer.
    """

    tag: str = "answer"
    marker: str = ""
    tolerance: float = 0.0
    name: str = "number"

    def __post_init__(self) -> None:
        if not 0 <= self.tolerance < mathematics.inf:
            raise ValueError(f"number: tolerance is a number of at least 0; got {self.tolerance}")

    @property
    def grader(self) -> str:
        return "togi.rewards.grade:number"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"gold": task.answer, "tag": self.tag, "marker": self.marker, "tolerance": self.tolerance}


@dataclass(frozen=True, kw_only=True)
class choice(Verifier):
    """1 when the answer chooses the task's letter: "B", "(B)", "B. Paris", "The answer is B". The answer is found as
    by ``number``; two letters are no answer."""

    tag: str = "answer"
    marker: str = ""
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
class exact(Verifier):
    """1 when the answer is the task's, up to white space, and up to case unless ``case``. A list of answers accepts
    any of them. The answer is found as by ``number``."""

    tag: str = "answer"
    marker: str = ""
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

    @property
    def grader(self) -> str:
        return "togi.rewards.grade:form"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {"think": self.think, "answer": self.answer, "min_think": self.min_think}


@dataclass(frozen=True, kw_only=True)
class scorer(Verifier):
    """reasoning-gym's own scorer of the task's data set. The answer is found as by ``number``.

    Only full marks pay, since several scorers give crumbs for garbage; ``partial`` pays what they say. Needs the
    extra ``togi[tasks]``.
    """

    tag: str = "answer"
    marker: str = ""
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


@dataclass(frozen=True)
class python(Leaf):
    """A function of the user's own, "file.py:function" or "module:function", called in a worker.

    Togi's signature is ``(task, completion) -> float``, called once a completion; TRL's is
    ``(completions, **columns) -> list of float``, called once a group with ``prompts``, ``completions``, ``answer``
    and the data's further columns. True and False are 1 and 0, None abstains; text, nan, infinities and a wrong count
    are errors that name the function. ``base`` is the folder a file is relative to.
    """

    function: str
    name: str = ""
    base: Path = field(default_factory=Path, kw_only=True, compare=False, repr=False)
    pool: Pool = field(default_factory=shared_pool, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "function", absolute(self.function, self.base))
        if not self.name:
            object.__setattr__(self, "name", self.function.rpartition(":")[2])

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        given = {"function": self.function}
        kind = self.pool.call("togi.rewards.grade_user:signature", {}, given)
        if kind.status != "ok":
            return [unscored(self.name, kind)] * len(trajectories)
        texts = [completion_text(trajectory) for trajectory in trajectories]
        if kind.value == "togi":
            plain = {
                "id": task.id,
                "prompt": [_plain(message) for message in task.prompt],
                "answer": task.answer,
                "info": dict(task.info),
            }
            calls = [{"task": plain, "completion": text} for text in texts]
            return [self._score(v) for v in self.pool.call_many("togi.rewards.grade_user:one", calls, given)]
        verdict = self.pool.call("togi.rewards.grade_user:many", _trl_arguments(task, texts), given)
        if verdict.status != "ok":
            return [unscored(self.name, verdict)] * len(trajectories)
        return [self._score(Verdict(value=value)) for value in verdict.value]

    def _score(self, verdict: Verdict) -> Score:
        if verdict.status != "ok":
            return unscored(self.name, verdict)
        if verdict.value is None:
            return Score(value=mathematics.nan, status="abstain", note=f"{self.name}: abstained")
        return Score(value=verdict.value, parts={self.name: verdict.value})


def _trl_arguments(task: Task, texts: Sequence[str]) -> Mapping[str, Any]:
    """TRL's shapes: strings for raw text, lists of messages for chats."""
    columns = {**task.info, "answer": task.answer}
    if all(message.role == "text" for message in task.prompt):
        prompt: Any = "".join(message.content for message in task.prompt)
        return {"prompt": prompt, "completions": list(texts), "columns": columns}
    prompt = [_plain(message) for message in task.prompt]
    completions = [[{"role": "assistant", "content": text}] for text in texts]
    return {"prompt": prompt, "completions": completions, "columns": columns}


def _need(module: str, message: str) -> None:
    if find_spec(module) is None:
        raise ValueError(message)


def _plain(message: Message) -> Mapping[str, str]:
    return {"role": message.role, "content": message.content}
