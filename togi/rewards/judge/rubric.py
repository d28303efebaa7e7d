"""``rubric``: several named criteria of different weight, each graded 0, 1 or 2 by a model; a part for each criterion.

Coarse grades leave a model less room to drift than ten levels do. Criteria stand in a file, the same for every task,
or in a column of the data, since what makes an answer good may differ from row to row.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from togi.askers.asker import Asker, Request
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.base import Judge, Opened, critique
from togi.rewards.judge.verdict import Verdict
from togi.types import Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.algebra import Surroundings


@dataclass(frozen=True, kw_only=True)
class Criterion:
    """What counts, what its part is called, and how much of the whole it is."""

    name: str
    text: str
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class rubric(Judge):
    """The weighted mean of the criteria's grades, 0 (nothing is met) to 1 (all are).

    Criteria stand in ``file`` (TOML: ``NAME = "text"``, or a table with ``criterion`` and ``weight``) or in the data's
    ``column``, in the same form or as a list of texts. ``levels`` 3 grades 0, 1 or 2, and 2 only 0 or 1. The part
    ``rubric/NAME`` is the grade of a criterion, 0 to 1. When one has no verdict, the answer has no score.
    """

    file: str = field(default="", kw_only=False)
    column: str = ""
    levels: int = 3
    name: str = "rubric"

    def __post_init__(self) -> None:
        super().__post_init__()
        if bool(self.file) == bool(self.column):
            raise ValueError(f'{self.name}: criteria stand in a file ("rubric.toml") or in a column (column="rubric")')
        if self.levels not in (2, 3):
            raise ValueError(f"{self.name}: levels is 2 (0 or 1) or 3 (0, 1 or 2); got {self.levels}")

    @property
    def files(self) -> tuple[Path, ...]:
        return (*super().files, *([self.base / self.file] if self.file else []))

    def opened(self, at: Surroundings) -> OpenRubric:
        template = prompts.read_template(self.base / self.template, ("answer",)) if self.template else prompts.RATE
        criteria = read_criteria(self.base / self.file) if self.file else ()
        return OpenRubric(self, self.asker(at), criteria, template)


class OpenRubric(Opened):
    """Every answer is graded by itself, once a criterion. Without ``criteria`` each task brings its own."""

    def __init__(self, spec: rubric, asker: Asker, criteria: tuple[Criterion, ...], template: str) -> None:
        super().__init__(spec, asker)
        self._criteria, self._column, self._template = criteria, spec.column, template
        self._options = tuple(map(str, range(spec.levels)))
        self._ending = prompts.criterion_ending(spec.levels, reason=spec.reason)

    def criteria(self, task: Task) -> tuple[Criterion, ...]:
        """What counts for this task. Raises ValueError for a row that does not say it."""
        if not self._column:
            return self._criteria
        if task.info.get(self._column) is None:
            raise ValueError(f'{self.name}: task {task.id} has no column "{self._column}" with its criteria')
        return criteria_of(task.info[self._column], f"{self.name}: task {task.id}, column {self._column}")

    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Request]:
        criteria = self.criteria(task)
        for trajectory in trajectories:
            for one in criteria:
                prompt = prompts.rating_prompt(
                    task, trajectory, rubric=one.text, ending=self._ending, template=self._template
                )
                yield self._spec.question(prompt, self._options)

    def _scores(self, task: Task, trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]) -> list[Score]:
        criteria = self.criteria(task)
        each = len(criteria)
        return [self._score(criteria, verdicts[i * each : (i + 1) * each]) for i in range(len(trajectories))]

    def _score(self, criteria: Sequence[Criterion], verdicts: Sequence[Verdict]) -> Score:
        if any(verdict.status != "ok" for verdict in verdicts):
            return self._missing(verdicts)
        best = len(self._options) - 1
        grades = [sum(int(o) * p for o, p in verdict.probability.items()) / best for verdict in verdicts]
        total = math.fsum(one.weight for one in criteria)
        value = math.fsum(one.weight * grade for one, grade in zip(criteria, grades, strict=True)) / total
        parts = {f"{self.name}/{one.name}": grade for one, grade in zip(criteria, grades, strict=True)}
        reasons = [(one.name, critique([verdict])) for one, verdict in zip(criteria, verdicts, strict=True)]
        note = "\n".join(f"{name}: {text}" for name, text in reasons if text)
        return Score(value=value, parts={self.name: value, **parts}, note=note)


def read_criteria(path: Path) -> tuple[Criterion, ...]:
    """The criteria of a TOML file. Raises ValueError."""
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ValueError(f"the rubric {path} cannot be read: {error}") from error
    return criteria_of(given, f"the rubric {path}")


def criteria_of(given: object, where: str) -> tuple[Criterion, ...]:
    """Criteria from plain data: a list of texts, or a mapping from names to texts or to criterion and weight.

    ``where`` begins the message of the ValueError for anything else.
    """
    if isinstance(given, list | tuple):
        given = {str(number): text for number, text in enumerate(given, 1)}
    if not isinstance(given, Mapping) or not given:
        raise ValueError(f'{where}: criteria are a list of texts, or NAME = "text"; got {given!r:.100}')
    return tuple(_criterion(str(name), value, where) for name, value in given.items())


def _criterion(name: str, value: object, where: str) -> Criterion:
    match value:
        case str(text):
            weight: float = 1.0
        case {"criterion": str(text), "weight": int() | float() as weight, **rest} if not rest:
            pass
        case {"criterion": str(text), **rest} if not rest:
            weight = 1.0
        case _:
            raise ValueError(f"{where}: {name} is a text, or has criterion and weight; got {value!r:.100}")
    if not text.strip() or isinstance(weight, bool) or not 0 < weight < math.inf:
        raise ValueError(f"{where}: {name} has a text that is not empty and a weight of more than 0")
    return Criterion(name=name, text=text.strip(), weight=weight)
