"""Curiosity: a bonus for right answers that are unlike the other right ones. It knows no model and grades nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from togi.rewards.algebra import Composable, Leaf, Surroundings, combine
from togi.rewards.verifiers import completion_text
from togi.types import Score, Task, Trajectory
from togi.unicode_words import pieces


@dataclass(frozen=True)
class novelty(Leaf):
    """How unlike an attempt is to the other attempts that ``by`` found right: 0 to 1, and 0 where ``by`` is not 1.

    Unlike is one less the share of word ``n``-grams in common (Jaccard), mean over the other right attempts; the only
    right one gets 1. Wrong attempts neither earn it nor count, so that nonsense cannot buy or spoil it. Words that add
    nothing raise it as well: keep its weight small beside the verifier's, and add a length term where answers grow.
    """

    by: Composable
    n: int = 3
    name: str = "novelty"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"novelty compares n-grams of at least 1 word; got n={self.n}")

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return (self, *self.by.leaves)

    def opened(self, at: Surroundings) -> novelty:
        return replace(self, by=self.by.opened(at))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        marks = self.by(task, trajectories)
        grams = [_grams(completion_text(trajectory), self.n) for trajectory in trajectories]
        right = [index for index, mark in enumerate(marks) if mark.status == "ok" and mark.value == 1.0]
        scores = []
        for index, mark in enumerate(marks):
            others = [_distance(grams[index], grams[other]) for other in right if other != index]
            value = 0.0 if index not in right else sum(others) / len(others) if others else 1.0
            own = Score(value=value, parts={self.name: value})
            scores.append(combine([mark, own], value, shares={self.name: value}))
        return scores


def _grams(text: str, n: int) -> frozenset[tuple[str, ...]]:
    """The n-grams of a text's words; of a text with fewer, all its words as one."""
    words = pieces(text)
    return frozenset(tuple(words[start : start + n]) for start in range(max(1, len(words) - n + 1)))


def _distance(one: frozenset[tuple[str, ...]], other: frozenset[tuple[str, ...]]) -> float:
    return 1.0 - len(one & other) / len(one | other)
