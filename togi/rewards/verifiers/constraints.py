"""The verifier of instructions that a program can check: length, keywords, form and script, as each row asks."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.graders.constraints import CHECKS
from togi.graders.marks import answer_text
from togi.rewards.verifiers.base import Verifier
from togi.types import Task
from togi.unicode_words import SCRIPTS, script

CHOICES = {"form": ("upper", "lower", "title")}


@dataclass(frozen=True, kw_only=True)
class follows(Verifier):
    """1 when the completion keeps every constraint of its row, ``partial`` the share of them that it keeps.

    The row's ``column`` is a list of objects, each with a ``kind`` and that kind's keys (docs/verifiers.md has the
    table): ``[{"kind": "words", "max": 50}, {"kind": "exclude", "words": ["very"]}]``. Each kind is a part,
    ``follows/KIND``. What follows ``</think>`` is checked; a blank answer keeps nothing. Raises ValueError for
    constraints that are none, naming the task.
    """

    column: str = "constraints"
    partial: bool = False
    name: str = "follows"

    def read(self, text: str) -> str | None:
        return answer_text(text, tag="")

    def write(self, answer: str) -> str:
        return answer

    def right(self, task: Task) -> str | None:
        """None: only a recorded answer shows how the constraints are kept."""
        return None

    @property
    def grader(self) -> str:
        return "togi.graders.constraints:follows"

    def arguments(self, task: Task) -> Mapping[str, Any]:
        constraints = task.info.get(self.column)
        if not isinstance(constraints, list) or not constraints:
            raise ValueError(
                f'{self.name}: task {task.id} has no constraints in its column "{self.column}"; got {constraints!r}, '
                'wanted a list such as [{"kind": "words", "max": 50}]'
            )
        for constraint in constraints:
            problem = _problem(constraint)
            if problem:
                raise ValueError(f"{self.name}: task {task.id}: constraint {constraint!r}: {problem}")
        return {"constraints": constraints, "partial": self.partial}


def _problem(constraint: Any) -> str:
    """What is wrong with a constraint; empty when nothing is."""
    if not isinstance(constraint, Mapping) or constraint.get("kind") not in CHECKS:
        kind = str(constraint.get("kind", "")) if isinstance(constraint, Mapping) else ""
        close = difflib.get_close_matches(kind, CHECKS, n=1)
        return f'did you mean "{close[0]}"?' if close else f"its kind is one of {', '.join(CHECKS)}"
    _, *parameters = inspect.signature(CHECKS[constraint["kind"]], eval_str=True).parameters.values()
    wanted = {parameter.name.rstrip("_"): parameter for parameter in parameters}
    for key, value in constraint.items():
        if key != "kind" and key not in wanted:
            return f'there is no key "{key}"; its keys are {", ".join(wanted) or "none"}'
        if key != "kind" and not _fits(value, wanted[key].annotation):
            hint = "texts in a list" if key == "words" else wanted[key].annotation.__name__
            return f'"{key}" is {value!r}; wanted {hint}'
        if key in CHOICES and value not in CHOICES[key]:
            return f'"{key}" is one of {", ".join(CHOICES[key])}'
        if constraint["kind"] == "script" and key == "name" and script(value) is None:
            close = difflib.get_close_matches(value.casefold(), SCRIPTS, n=1)
            return f'did you mean "{close[0]}"?' if close else f'"name" is a script of Unicode, as {", ".join(SCRIPTS)}'
    lacking = [key for key, each in wanted.items() if each.default is each.empty and key not in constraint]
    if lacking:
        return f"it lacks {', '.join(lacking)}"
    return ""


def _fits(value: Any, hint: Any) -> bool:
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if hint is str:
        return isinstance(value, str) and bool(value)
    assert hint == Sequence[str]
    return isinstance(value, list) and bool(value) and all(isinstance(each, str) and each for each in value)
