"""Judges that can be asked: answers become questions, all at once, and verdicts become scores. It loads nothing.

A verdict that is missing makes its score missing, never 0; how many may be missing is outage.py's to say.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from togi.protocols import Asked
from togi.rewards.algebra import Leaf
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.outage import Losses
from togi.rewards.judge.verdict import (
    Asker,
    Question,
    Verdict,
    centred,
    clamped,
    debiased,
    expected_rating,
    flipped,
    read,
)
from togi.types import Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.judge.judge_rewards import Judge, judge, preference

YES_NO = ("Yes", "No")
FIRST_SECOND = ("1", "2")
CRITIQUE = 2000
"""Characters of a judge's reasons that are kept beside a score."""


class Opened(Leaf):
    """What all judges share: one call of the asker for everything, and the count of what is missing."""

    def __init__(self, spec: Judge, asker: Asker) -> None:
        self.asker = asker
        self._spec = spec
        self._losses = Losses(spec.name)

    @property
    def name(self) -> str:
        return self._spec.name

    @property
    def files(self) -> tuple[Path, ...]:
        return self._spec.files

    def __repr__(self) -> str:
        return repr(self._spec)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Opened) and self._spec == other._spec

    def __hash__(self) -> int:
        return hash(self._spec)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """Raises JudgeOutage when too many verdicts are missing."""
        questions = [list(self._questions(*each)) for each in asked]
        flat = [question for each in questions for question in each]
        replies = self.asker.ask(flat) if flat else []
        verdicts = [read(question, reply) for question, reply in zip(flat, replies, strict=True)]
        self._losses.add(verdicts)
        following = iter(verdicts)
        return [
            self._scores(*each, list(islice(following, len(put)))) for each, put in zip(asked, questions, strict=True)
        ]

    @abstractmethod
    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Question]: ...

    @abstractmethod
    def _scores(self, task: Task, trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]) -> list[Score]: ...

    def _missing(self, verdicts: Sequence[Verdict]) -> Score:
        first = next(verdict for verdict in verdicts if verdict.status != "ok")
        return Score(value=math.nan, status=first.status, note=f"{self.name}: {first.note}")


def drawn(criteria: tuple[str, ...], count: int, task: Task, trajectories: Sequence[Trajectory]) -> tuple[str, ...]:
    """A group's criteria: ``count`` of them, or all (0). What is drawn depends on the group alone, so that a resumed
    run draws the same."""
    if not 0 < count < len(criteria):
        return criteria
    key = "\x1f".join([task.id, *sorted(prompts.answer_text(trajectory) for trajectory in trajectories)])
    order = sorted(criteria, key=lambda criterion: hashlib.sha256(f"{key}\x1e{criterion}".encode()).digest())
    return tuple(order[:count])


def critique(verdicts: Sequence[Verdict]) -> str:
    """The first reasons that were given, cut to a readable length."""
    reasons = next((verdict.reasons for verdict in verdicts if verdict.reasons), "")
    return reasons if len(reasons) <= CRITIQUE else reasons[: CRITIQUE - 1] + "…"


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

    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Question]:
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


class OpenPreference(Opened):
    """Every pair of answers is shown in both orders, once a criterion; equal answers are even, unasked."""

    def __init__(self, spec: preference, asker: Asker, criteria: tuple[str, ...], template: str) -> None:
        super().__init__(spec, asker)
        self._criteria, self._draws, self._template = criteria, spec.draws, template
        self._opponents, self._clamp = spec.opponents, spec.clamp
        self._ending = prompts.pair_ending(reason=spec.reason)

    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Question]:
        criteria = drawn(self._criteria, self._draws, task, trajectories)
        for a, b in self._asked(trajectories):
            for criterion in criteria:
                for first, second in ((a, b), (b, a)):
                    prompt = prompts.pair_prompt(
                        task,
                        trajectories[first],
                        trajectories[second],
                        rubric=criterion,
                        ending=self._ending,
                        template=self._template,
                    )
                    yield self._spec.question(prompt, FIRST_SECOND)

    def _pairs(self, trajectories: Sequence[Trajectory]) -> list[tuple[int, int]]:
        """Each pair once; with ``opponents`` only neighbours on the ring of attempts."""
        n = len(trajectories)
        reach = min(self._opponents or n, n // 2)
        ring = [(a, (a + step) % n) for step in range(1, reach + 1) for a in range(n)]
        return list(dict.fromkeys((min(pair), max(pair)) for pair in ring))

    def _asked(self, trajectories: Sequence[Trajectory]) -> list[tuple[int, int]]:
        texts = [prompts.answer_text(trajectory) for trajectory in trajectories]
        return [(a, b) for a, b in self._pairs(trajectories) if texts[a] != texts[b]]

    def _scores(self, task: Task, trajectories: Sequence[Trajectory], verdicts: Sequence[Verdict]) -> list[Score]:
        asked = self._asked(trajectories)
        each = len(verdicts) // max(1, len(asked))
        given = {pair: verdicts[i * each : (i + 1) * each] for i, pair in enumerate(asked)}
        wins: list[list[float]] = [[] for _ in trajectories]
        flips: list[list[float]] = [[] for _ in trajectories]
        lost: list[list[Verdict]] = [[] for _ in trajectories]
        said = ["" for _ in trajectories]
        for a, b in self._pairs(trajectories):
            labels = [_label(one, other) for one, other in _couples(given.get((a, b), ()))]
            sound = [label for label in labels if label is not None]
            if (a, b) in given and not sound:
                lost[a] += given[a, b]
                lost[b] += given[a, b]
                continue
            p = clamped(math.fsum(p for p, _ in sound) / len(sound), self._clamp) if sound else 0.5
            for place, who in enumerate((a, b), 1):
                reasons = critique(given.get((a, b), ()))
                said[who] = said[who] or (f"as answer {place} of 2: {reasons}" if reasons else "")
            wins[a].append(p)
            wins[b].append(1 - p)
            for who in (a, b):
                flips[who] += [float(flip) for _, flip in sound]
        return [self._score(*each) for each in zip(wins, flips, lost, said, strict=True)]

    def _score(self, wins: Sequence[float], flips: Sequence[float], lost: Sequence[Verdict], said: str) -> Score:
        if not wins and lost:
            return self._missing(lost)
        if not wins:
            note = f"{self.name}: there is no other attempt to compare with"
            return Score(value=math.nan, status="abstain", note=note)
        value = math.fsum(wins) / len(wins)
        parts = {self.name: value}
        if flips:
            parts[f"{self.name}_flipped"] = math.fsum(flips) / len(flips)
        return Score(value=value, parts=parts, note=said)


def _couples(verdicts: Sequence[Verdict]) -> Iterator[tuple[Verdict, Verdict]]:
    return zip(verdicts[::2], verdicts[1::2], strict=True)


def _label(one: Verdict, other: Verdict) -> tuple[float, bool] | None:
    """The first answer's win probability over both orders, and whether the order decided; None when one is missing."""
    if one.status != "ok" or other.status != "ok":
        return None
    shown_first, shown_second = one.probability["1"], other.probability["2"]
    return debiased(shown_first, shown_second), flipped(shown_first, shown_second)
