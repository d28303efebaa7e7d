"""Rewards of length, in completion tokens; they know no answer and are meant to be added to a verifier's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from togi.rewards.algebra import Composable, Leaf, combine
from togi.types import Score, Task, Trajectory


def completion_tokens(trajectory: Trajectory) -> int:
    """Tokens the model wrote, over all turns."""
    return sum(len(turn.completion) for turn in trajectory.turns)


@dataclass(frozen=True)
class overlong(Leaf):
    """DAPO's soft overlong punishment (arXiv 2503.14476, eq. 13), between 0 and -1: added, with a weight of +1.

    0 up to ``max_length - cache`` tokens, then linear to -1 at ``max_length``, and -1 beyond.
    """

    max_length: int
    cache: int
    name: str = "overlong"

    def __post_init__(self) -> None:
        if not 0 < self.cache <= self.max_length:
            raise ValueError(
                f"overlong needs 0 < cache <= max_length tokens; got max_length={self.max_length}, cache={self.cache}"
            )

    @property
    def punishes(self) -> bool:
        return True

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [_score(self.name, self._value(completion_tokens(trajectory))) for trajectory in trajectories]

    def _value(self, length: int) -> float:
        return min(0.0, max(-1.0, (self.max_length - self.cache - length) / self.cache))


@dataclass(frozen=True)
class concise(Leaf):
    """``1 - tokens / max_length``, at least 0. Gate it by a verifier: by itself it pays for saying nothing."""

    max_length: int
    name: str = "concise"

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"concise needs max_length of at least 1 token; got {self.max_length}")

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        lengths = [completion_tokens(trajectory) for trajectory in trajectories]
        return [_score(self.name, max(0.0, 1.0 - length / self.max_length)) for length in lengths]


@dataclass(frozen=True)
class brevity(Leaf):
    """Kimi k1.5's length reward (arXiv 2501.12599, section 2.3.3) within the attempts at one task.

    ``λ = 0.5 - (len - min) / (max - min)``: λ where ``by`` is 1, min(0, λ) elsewhere; 0 when all lengths are equal.
    """

    by: Composable
    name: str = "brevity"

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return (self, *self.by.leaves)

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        lengths = [completion_tokens(trajectory) for trajectory in trajectories]
        shortest, spread = min(lengths), max(lengths) - min(lengths)
        scores = []
        for length, by in zip(lengths, self.by(task, trajectories), strict=True):
            slack = 0.5 - (length - shortest) / spread if spread else 0.0
            value = slack if by.value == 1.0 else min(0.0, slack)
            scores.append(combine([by, _score(self.name, value)], value, shares={self.name: value}))
        return scores


def _score(name: str, value: float) -> Score:
    return Score(value=value, parts={name: value})
