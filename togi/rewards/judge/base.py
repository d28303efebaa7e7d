"""What judges share: settings that stand in a recipe, and, once a stage has opened them, one call for all questions.

Whom they ask is loaded when they are opened, so that reading a recipe loads no model and no key. A verdict that is
missing makes its score missing, never 0; how many may be missing is outage.py's to say.
"""

from __future__ import annotations

import hashlib
import math
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from togi.askers.asker import Asker, Request
from togi.protocols import Asked
from togi.rewards.algebra import Leaf
from togi.rewards.judge import judge_prompts as prompts
from togi.rewards.judge.outage import Losses
from togi.rewards.judge.verdict import Verdict, read
from togi.rewards.judge.who_is_asked import WhoIsAsked
from togi.types import Message, Score, Task, Trajectory

if TYPE_CHECKING:
    from togi.rewards.algebra import Surroundings

CRITIQUE = 2000
"""Characters of a judge's reasons that are kept beside a score."""


@dataclass(frozen=True, kw_only=True)
class Judge(WhoIsAsked):
    """How a judge asks; what is asked is the subclass's.

    ``verdict`` "tokens" reads the probability of each verdict, "text" what was written. With ``reason`` the judge
    writes reasons first, of ``max_tokens`` (0: enough for what is asked); they are the score's note. ``template`` is a
    text file with the prompt, relative to ``base``.
    """

    verdict: str = "tokens"
    reason: bool = False
    max_tokens: int = 0
    template: str = ""
    base: Path = field(default_factory=Path, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.verdict not in ("tokens", "text"):
            raise ValueError(f'{self.name}: verdict is "tokens" or "text"; got "{self.verdict}"')
        if self.max_tokens < 0:
            raise ValueError(f"{self.name}: numbers of tokens and money are at least 0")
        super().__post_init__()

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.base / self.template,) if self.template else ()

    @abstractmethod
    def opened(self, at: Surroundings) -> Opened: ...

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        raise ValueError(f"{self.name}: the judge is not opened; call opened(Surroundings(...)) and use what it gives")

    def asker(self, at: Surroundings) -> Asker:
        """Whoever is asked, loaded or connected. Raises ValueError for a key that is not there, a model that is not."""
        # Workers that grade import this file, and start without the libraries of models and servers.
        from togi.rewards.judge.judging_model import open_asker

        return open_asker(self, at)

    def question(self, messages: tuple[Message, ...], options: tuple[str, ...]) -> Request:
        return Request(
            messages=messages,
            options=options,
            tokens=self.verdict == "tokens",
            reason=self.reason,
            max_tokens=self.max_tokens or (512 if self.reason else 16),
        )


@dataclass(frozen=True, kw_only=True)
class Ruled(Judge):
    """A judge of one rubric. ``principles`` is a constitution's file, relative to ``base``: for each group ``draws`` of
    them (0: all) take the rubric's place, and their verdicts are averaged."""

    principles: str = ""
    draws: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 0:
            raise ValueError(f"{self.name}: draws is a number of principles, or 0 for all; got {self.draws}")

    @property
    def files(self) -> tuple[Path, ...]:
        return (*super().files, *([self.base / self.principles] if self.principles else []))

    def criteria(self, rubric: str) -> tuple[str, ...]:
        """What counts: the questions of the constitution, or the one rubric."""
        if not self.principles:
            return (rubric or prompts.RUBRIC,)
        from togi.envs.constitution import read_principles

        return tuple(principle.question for principle in read_principles(self.base / self.principles))


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
    def _questions(self, task: Task, trajectories: Sequence[Trajectory]) -> Iterator[Request]: ...

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
