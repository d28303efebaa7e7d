"""Pairs of an attempt and an opponent's: who is sampled in Nash learning. Knows no token and no gradient."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from togi.protocols import Play, Sampler
from togi.samplers.group import draw
from togi.types import Ability, Group, Opponent, Question, Score, Task


@dataclass(frozen=True)
class Against(Sampler):
    """``n`` pairs a task, each a group of its own: first the policy's attempt, then its opponent's.

    The opponent draws each token from the policy^(1 - ``reference_share``) reference^``reference_share``, normalised
    (Nash-MD's beta, https://arxiv.org/abs/2312.00886). The reward compares the two, so that the first score is how
    probably the policy's attempt is preferred; an attempt whose opponent has no score is left unscored as well. Left in
    ``play.counts``: ``nash/win_rate``, the mean of that probability, which is near one half in a game with itself.
    """

    n: int = 1
    reference_share: float = 0.125

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"attempts must be at least 1, got {self.n}")
        if not 0 <= self.reference_share <= 1:
            raise ValueError(f"reference_share must be between 0 and 1, got {self.reference_share}")

    @property
    def asks(self) -> frozenset[Ability]:
        return frozenset({"mixture"})

    def __call__(self, tasks: Iterator[Task], want: int, play: Play) -> list[Group]:
        pairs = [task for task in draw(tasks, want) for _ in range(self.n)]
        opponent = Opponent(reference_share=self.reference_share)
        own = play.attempts([Question(task=task) for task in pairs])
        theirs = play.attempts([Question(task=task, by=opponent) for task in pairs])
        both = [(task, (*a, *b)) for task, a, b in zip(pairs, own, theirs, strict=True)]
        groups = [_both_or_none(group) for group in play.scored(both)]
        play.counts.update(_counts(groups))
        return groups


def _both_or_none(group: Group) -> Group:
    own, theirs = group.scores
    if own.status == "ok" and theirs.status != "ok":
        own = Score(value=math.nan, status="abstain", note=f"its opponent's attempt has no score: {theirs.note}")
    return replace(group, scores=(own, theirs))


def _counts(groups: Sequence[Group]) -> dict[str, float]:
    won = [group.scores[0].value for group in groups if group.scores[0].status == "ok"]
    return {"nash/win_rate": fmean(won)} if won else {}
