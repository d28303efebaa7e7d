"""Verifiers of texts: regular expressions, JSON schemas, and the fields of a JSON answer by verifiers of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field as dataclass_field, replace
from pathlib import Path
from typing import Any

from togi.graders import texts as grade_text
from togi.rewards.algebra import LEAST, Composable, Leaf, Surroundings, combine
from togi.rewards.blame import failed, graded
from togi.rewards.verifiers.base import Answer, Verifier, completion_text, need
from togi.sandbox.workers.pool import Pool, shared_pool
from togi.types import Score, Task, Trajectory, Turn


@dataclass(frozen=True, kw_only=True)
class _Matches(Answer):
    reads_box = False
    pattern: str = ""
    name: str = "matches"

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern)
        except re.error as error:
            raise ValueError(f"{self.name}: {self.pattern!r} is no regular expression: {error}") from error

    wants = "regular expression"

    def accepts(self, answer: Any) -> bool:
        return bool(self.pattern) or isinstance(answer, str)

    def right(self, task: Task) -> str | None:
        return super().right(task) if self.pattern else None

    @property
    def grader(self) -> str:
        return "togi.graders.texts:matches"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        return {**self.place(task), "pattern": self.pattern}


def matches(
    pattern: str = "", tag: str = "answer", marker: str = "", name: str = "matches", pool: Pool | None = None
) -> Verifier:
    """1 when the whole answer matches the regular expression ``pattern`` (Python's), or the task's answer where none
    is given. A text that makes the pattern backtrack for ever earns 0. The answer is found as by ``number``."""
    return _Matches(pattern=pattern, tag=tag, marker=marker, name=name, pool=pool or shared_pool())


@dataclass(frozen=True, kw_only=True)
class _Schema(Answer):
    reads_box = False
    column: str
    schema: str = ""  # JSON text: a dictionary could not be compared by hash
    file: Path | None = None
    name: str = "json_schema"

    def right(self, task: Task) -> str | None:
        if task.answer is None or isinstance(task.answer, str):
            return task.answer
        return json.dumps(task.answer, ensure_ascii=False)

    def control(self, task: Task) -> str:
        return super().control(task) or "{}"  # an empty completion never meets the schema

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.file,) if self.file else ()

    @property
    def library(self) -> Mapping[str, str]:
        return grade_text.SCHEMA

    @property
    def grader(self) -> str:
        return "togi.graders.texts:schema"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        wanted = json.loads(self.schema) if self.schema else task.info.get(self.column)
        return {"tag": self.tag, "marker": self.marker, "wanted": wanted}


def json_schema(
    file: str = "",
    column: str = "schema",
    tag: str = "answer",
    marker: str = "",
    name: str = "json_schema",
    base: Path = Path(),
    pool: Pool | None = None,
) -> Verifier:
    """1 when the answer is one JSON value, bare or in a code fence, that a JSON schema (draft 2020-12) allows.

    The schema stands in ``file``, relative to ``base``, or in each row's ``column``. It says what form the answer has
    and not whether it is right: ``fields`` and ``field`` look inside. Needs the extra ``togi[json]``. Raises ValueError
    for a file that cannot be read.
    """
    need("jsonschema", "json_schema()", "json")
    schema, path = "", base / file if file else None
    if path:
        try:
            schema = json.dumps(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise ValueError(f"json_schema: {path} cannot be read as JSON: {error}") from error
    pool = pool or shared_pool()
    return _Schema(schema=schema, file=path, column=column, tag=tag, marker=marker, name=name, pool=pool)


@dataclass(frozen=True)
class field(Leaf):
    """What the verifier ``by`` says of one field of a JSON answer, against the same field of the task's answer.

    The answer is one JSON object, bare or in a code fence; a string is handed on as it is, any other value as JSON. 0
    where the field is missing. Fields may be nested: ``field("address", field("city", exact()))``.
    """

    key: str
    by: Composable
    name: str = ""
    tag: str = dataclass_field(default="answer", kw_only=True)
    marker: str = dataclass_field(default="", kw_only=True)
    pool: Pool = dataclass_field(default_factory=shared_pool, kw_only=True, compare=False, repr=False)

    def __post_init__(self) -> None:
        if not self.name:
            object.__setattr__(self, "name", f"field/{self.key}")

    def opened(self, at: Surroundings) -> field:
        return replace(self, by=self.by.opened(at))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        if not isinstance(task.answer, Mapping) or self.key not in task.answer:
            why = f'{self.name}: the answer {task.answer!r} is no object with a field "{self.key}"'
            return [Score(value=float("nan"), status="unparseable", note=why)] * len(trajectories)
        place = {"tag": self.tag, "marker": self.marker, "key": self.key}
        calls = [{"text": completion_text(trajectory), **place} for trajectory in trajectories]
        controls = [{"text": "{}", **place}] * len(calls)
        reader = "togi.graders.texts:object_fields"
        read = graded(self.pool, reader, calls, controls, gives=lambda value: isinstance(value, dict))
        found = [each.verdict.value["field"] if each.verdict.status == "ok" else None for each in read]
        inner = replace(task, answer=task.answer[self.key])
        texts = [_said(text) for text in found if text is not None]
        marks = iter(self.by(inner, texts) if texts else [])
        scores = []
        for each, text in zip(read, found, strict=True):
            if each.verdict.status != "ok":
                scores.append(failed(self.name, each, LEAST))
            else:
                scores.append(self._score(next(marks) if text is not None else None))
        return scores

    def _score(self, mark: Score | None) -> Score:
        if mark is None:
            return Score(value=0.0, parts={self.name: 0.0, "correct": 0.0, "parsed": 0.0})
        if mark.status != "ok":
            return replace(mark, note=f"{self.name}: {mark.note}", parts={})
        parts = {self.name: mark.value, "correct": mark.parts.get("correct", mark.value)}
        parts["parsed"] = mark.parts.get("parsed", 1.0)
        return Score(value=mark.value, parts=parts, own_fault=mark.own_fault, note=mark.note)


@dataclass(frozen=True)
class Fields(Leaf):
    """See ``fields``."""

    checks: tuple[Composable, ...]
    partial: bool = False
    name: str = "fields"

    def opened(self, at: Surroundings) -> Fields:
        return replace(self, checks=tuple(check.opened(at) for check in self.checks))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        columns = [check(task, trajectories) for check in self.checks]
        return [self._score(row) for row in zip(*columns, strict=True)]

    def _score(self, row: Sequence[Score]) -> Score:
        lost = next((score for score in row if score.status != "ok"), None)
        if lost is not None:
            return lost
        right = [score.parts["correct"] == 1.0 for score in row]
        parts = {name: part for score in row for name, part in score.parts.items()}
        parts |= {"correct": float(all(right)), "parsed": min(score.parts["parsed"] for score in row)}
        value = sum(right) / len(right) if self.partial else float(all(right))
        return replace(combine(row, value, shares={}), parts={**parts, self.name: value})


def fields(*checks: field, partial: bool = False, name: str = "fields") -> Fields:
    """1 when every ``field(...)`` of a JSON answer is right; with ``partial`` the share of them that is. Each field is
    a part of its own, ``field/KEY``. Raises ValueError for two checks of one name."""
    names = [check.name for check in checks]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"fields: wants field(...) once for each field; got {', '.join(names) or 'none'}")
    return Fields(tuple(checks), partial, name)


def _said(text: str) -> Trajectory:
    """A field's text as an attempt of its own."""
    return Trajectory(turns=(Turn(prompt=(), completion=(), text=text, stop="eos"),), stop="eos")
