"""Attempts whose beginnings are worth what becomes of them when the policy goes on from each: a critic without a model
(VinePPO, SPO). Knows no credit, and no way to cut a text other than asking the Play.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from togi.branch_credit import segment_ends
from togi.protocols import Play, Sampler
from togi.samplers.group import ask, draw
from togi.samplers.tree import ROOT, only_turn
from togi.types import Ability, Group, Ids, Question, Task, Trajectory, Turn

_Place = tuple[str, Ids]
"""A task and the beginning of an answer."""


@dataclass(frozen=True)
class Valued(Sampler):
    """``n`` attempts at each task, each cut into steps. The prompt, and the beginning up to the end of each step but
    the last, are gone on from ``continuations`` times, and worth the mean reward of that. Equal beginnings are valued
    once. Continuations are not learned from; where none of a beginning's has a score, the two steps beside it are one.

    Left in ``play.counts``: ``values/steps`` (an attempt) and ``values/tokens`` (drawn to value them, an attempt).
    """

    n: int = 8
    continuations: int = 9

    def __post_init__(self) -> None:
        if self.n < 1 or self.continuations < 1:
            raise ValueError(
                f"attempts and continuations must be at least 1, got {self.n} and {self.continuations} of each step"
            )

    @property
    def apart(self) -> bool:
        return True

    @property
    def asks(self) -> frozenset[Ability]:
        return frozenset({"begin"})

    @abstractmethod
    def cuts(self, turn: Turn, task: Task, play: Play) -> Sequence[int]:
        """Which of a turn's tokens are the last of a step; the turn's own last one need not be among them."""

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        drawn = draw(tasks, want)
        with play.keeping():
            attempts = list(zip(drawn, play.attempts(ask(drawn, self.n)), strict=True))
            ends = [[self._ends(task, each, play) for each in own] for task, own in attempts]
            places = self._places(attempts, ends)
            asked = [
                Question(task=task, attempts=self.continuations, beginning=ids) for (_, ids), task in places.items()
            ]
            further = play.attempts(asked)
        groups = play.scored(attempts)
        found = play.scored([(question.task, own) for question, own in zip(asked, further, strict=True)])
        worth = {
            place: value for place, group in zip(places, found, strict=True) if (value := _mean(group)) is not None
        }
        play.counts.update(_counts([len(each) for own in ends for each in own], asked, further))
        return [_valued(group, own, worth) for group, own in zip(groups, ends, strict=True)]

    def _ends(self, task: Task, attempt: Trajectory, play: Play) -> list[int]:
        """The last token of each step; of the last step it is the attempt's."""
        turn = only_turn(task, attempt)
        if turn is None or not turn.completion:
            return []
        last = len(turn.completion) - 1
        return [*(end for end in self.cuts(turn, task, play) if end < last), last]

    def _places(
        self, attempts: Sequence[tuple[Task, Sequence[Trajectory]]], ends: Sequence[Sequence[Sequence[int]]]
    ) -> dict[_Place, Task]:
        places: dict[_Place, Task] = {}
        for (task, own), own_ends in zip(attempts, ends, strict=True):
            places[task.id, ROOT] = task
            for each, cuts in zip(own, own_ends, strict=True):
                places |= {(task.id, each.turns[0].completion[: end + 1]): task for end in cuts[:-1]}
        return places


@dataclass(frozen=True)
class ValuedSteps(Valued):
    """VinePPO's (https://arxiv.org/abs/2410.01679, section 4): a step is text up to a ``separator``."""

    separator: str = "\n"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.separator:
            raise ValueError(r'steps are cut at a separator that is not empty, such as "\n"')

    def cuts(self, turn: Turn, task: Task, play: Play) -> Sequence[int]:
        return play.chat.of(task).step_ends(turn.completion, self.separator)


@dataclass(frozen=True)
class ValuedSegments(Valued):
    """SPO's chain (https://arxiv.org/abs/2505.23564, section 4.1): a segment ends with every ``cutpoints``-th token
    that was drawn with a probability below ``unsure``, since there the answer could have gone another way."""

    cutpoints: int = 5
    unsure: float = 0.9

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cutpoints < 1:
            raise ValueError(f"a segment has at least 1 cutpoint, got {self.cutpoints}")
        if not 0 < self.unsure <= 1:
            raise ValueError(f"unsure is a probability above 0, got {self.unsure}; below it a token is a cutpoint")

    def cuts(self, turn: Turn, task: Task, play: Play) -> Sequence[int]:
        return segment_ends(turn.logp, cutpoints=self.cutpoints, unsure=self.unsure)


def _counts(
    steps: Sequence[int], asked: Sequence[Question], further: Sequence[Sequence[Trajectory]]
) -> dict[str, float]:
    tokens = sum(
        len(turn.completion) - len(question.beginning)
        for question, own in zip(asked, further, strict=True)
        for each in own
        for turn in each.turns
    )
    return {"values/steps": fmean(steps), "values/tokens": tokens / len(steps)}


def _mean(group: Group) -> float | None:
    known = [score.value for score in group.scores if score.status == "ok"]
    return fmean(known) if known else None


def _valued(group: Group, ends: Sequence[Sequence[int]], worth: Mapping[_Place, float]) -> Group:
    """The group with what each step led to, in the last place the attempt's own reward."""
    scores = []
    for attempt, score, own in zip(group.trajectories, group.scores, ends, strict=True):
        if score.status == "ok" and own:
            completion = attempt.turns[0].completion
            places = {end: (group.task.id, completion[: end + 1]) for end in own[:-1]}
            known = {end: worth[place] for end, place in places.items() if place in worth} | {own[-1]: score.value}
            score = replace(score, steps=tuple(known.values()), step_ends=tuple(known))
        scores.append(score)
    return replace(group, scores=tuple(scores), baseline=worth.get((group.task.id, ROOT)))
