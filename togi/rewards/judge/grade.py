"""``judge``: a grade under a rubric, for every answer by itself."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from togi.askers.asker import Asker, Request
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.base import Opened, Ruled, critique, drawn
from togi.rewards.judge.verdict import YES_NO, Verdict, centred, expected_rating
from togi.types import Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.algebra import Surroundings


@dataclass(frozen=True, kw_only=True)
class judge(Ruled):
    """A grade from 1 to ``scale`` under a rubric, as a number of -1 to 1; with ``yes_no`` the probability of a Yes.

    By tokens the grade is the expected one (d-RLAIF, arXiv 2309.00267, section 2.2.2), and Yes is weighed against No
    (``genrm`` is the one for right and wrong, and can be trained).
    """

    rubric: str = field(default="", kw_only=False)
    scale: int = 10
    yes_no: bool = False
    name: str = "judge"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 2 <= self.scale <= 10:
            raise ValueError(f"{self.name}: scale is a whole number of 2 to 10; got {self.scale}")

    def opened(self, at: Surroundings) -> OpenGrade:
        template = prompts.read_template(self.base / self.template, ("answer",)) if self.template else prompts.RATE
        return OpenGrade(self, self.asker(at), self.criteria(self.rubric), template)


class OpenGrade(Opened):
    """Every answer is graded by itself, once a criterion."""

    def __init__(self, spec: judge, asker: Asker, criteria: tuple[str, ...], template: str) -> None:
        super().__init__(spec, asker)
        self._criteria, self._draws, self._template = criteria, spec.draws, template
        self._yes_no, self._scale = spec.yes_no, spec.scale
        self._options = YES_NO if spec.yes_no else tuple(str(grade) for grade in range(1, spec.scale + 1))
        reason = spec.reason
        self._ending = (
            prompts.yes_no_ending(reason=reason) if spec.yes_no else prompts.rating_ending(spec.scale, reason=reason)
        )

    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Request]:
        criteria = drawn(self._criteria, self._draws, task, trajectories)
        for trajectory in trajectories:
            for criterion in criteria:
                prompt = prompts.rating_prompt(
                    task, trajectory, rubric=criterion, ending=self._ending, template=self._template
                )
                yield self._spec.question(prompt, self._options)

    def _scores(self, task: Task, trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]) -> list[Score]:
        each = len(verdicts) // len(trajectories)
        return [self._score(verdicts[i * each : (i + 1) * each]) for i in range(len(trajectories))]

    def _score(self, verdicts: Sequence[Verdict]) -> Score:
        values = [self._value(verdict) for verdict in verdicts if verdict.status == "ok"]
        if not values:
            return self._missing(verdicts)
        value = math.fsum(values) / len(values)
        return Score(value=value, parts={self.name: value}, note=critique(verdicts))

    def _value(self, verdict: Verdict) -> float:
        p = verdict.probability
        return p["Yes"] if self._yes_no else centred(expected_rating(p), self._scale)
