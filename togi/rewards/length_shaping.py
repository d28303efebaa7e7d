"""Rewards of length, in completion tokens, and of repetition; they know no answer, and stand beside a verifier."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from togi.rewards.algebra import Composable, Leaf, Surroundings, combine
from togi.types import Score, Task, Trajectory
from togi.unicode_words import pieces


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
class _Marked(Leaf):
    """A reward of length that asks a verifier, ``by``, which attempts are right."""

    by: Composable

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return (self, *self.by.leaves)

    def opened(self, at: Surroundings) -> Self:
        return replace(self, by=self.by.opened(at))


@dataclass(frozen=True)
class brevity(_Marked):
    """Kimi k1.5's length reward (arXiv 2501.12599, section 2.3.3) within the attempts at one task.

    ``λ = 0.5 - (len - min) / (max - min)``: λ where ``by`` is 1, min(0, λ) elsewhere; 0 when all lengths are equal.
    """

    name: str = "brevity"

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        lengths = [completion_tokens(trajectory) for trajectory in trajectories]
        shortest, spread = min(lengths), max(lengths) - min(lengths)
        scores = []
        for length, by in zip(lengths, self.by(task, trajectories), strict=True):
            slack = 0.5 - (length - shortest) / spread if spread else 0.0
            value = slack if by.value == 1.0 else min(0.0, slack)
            scores.append(combine([by, _score(self.name, value)], value, shares={self.name: value}))
        return scores


@dataclass(frozen=True)
class cosine(_Marked):
    """A verifier's mark that length bends along a cosine (arXiv 2502.03373, section 4.2): a whole reward by itself.

    From no token to ``max_length`` it goes from ``right_short`` to ``right_long`` where ``by`` is 1, and from
    ``wrong_short`` to ``wrong_long`` elsewhere: right answers are to be short, wrong ones to think longer. From
    ``max_length`` on it is ``exceeded``. Defaults are the paper's.
    """

    max_length: int
    right_short: float = 2.0
    right_long: float = 1.0
    wrong_short: float = -10.0
    wrong_long: float = 0.0
    exceeded: float = -10.0
    name: str = "cosine"

    def __post_init__(self) -> None:
        if self.max_length < 1:
            raise ValueError(f"cosine needs max_length of at least 1 token; got {self.max_length}")
        if not min(self.right_short, self.right_long) > max(self.wrong_short, self.wrong_long, self.exceeded):
            raise ValueError("cosine: every right answer is worth more than any wrong one, or wrong ones are learnt")

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        marks = self.by(task, trajectories)
        return [
            _beside(self.name, mark, self._value(completion_tokens(trajectory), mark.value == 1.0))
            for trajectory, mark in zip(trajectories, marks, strict=True)
        ]

    def _value(self, length: int, right: bool) -> float:
        if length >= self.max_length:
            return self.exceeded
        short, long = (self.right_short, self.right_long) if right else (self.wrong_short, self.wrong_long)
        return long + 0.5 * (short - long) * (1.0 + math.cos(math.pi * length / self.max_length))


@dataclass(frozen=True)
class adaptive_length(_Marked):
    """ALP's length penalty (arXiv 2506.05256): ``-beta * tokens * max(solve rate, 1 / attempts)``: add it.

    The solve rate is the share of the group's attempts for which ``by`` is 1, so tokens cost where a task is easy.
    Goes with a baseline that does not divide by the group's spread: divided, the penalty of tasks that are always
    solved would grow to full size.
    """

    beta: float
    name: str = "adaptive_length"

    def __post_init__(self) -> None:
        if not 0 < self.beta < math.inf:
            raise ValueError(f"adaptive_length: beta is the cost of a token, above 0; got {self.beta}")

    @property
    def punishes(self) -> bool:
        return True

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        marks = self.by(task, trajectories)
        scored = [mark.value == 1.0 for mark in marks if mark.status == "ok"]
        cost = self.beta * max(sum(scored), 1) / max(len(scored), 1)
        return [
            _beside(self.name, mark, -cost * completion_tokens(trajectory))
            for trajectory, mark in zip(trajectories, marks, strict=True)
        ]


@dataclass(frozen=True)
class length_budget(_Marked):
    """L1's reward for keeping to the budget that the prompt states (arXiv 2503.04697): a whole reward by itself.

    Exactly (eq. 1): ``mark - cost * |budget - tokens|``. With ``at_most`` (eq. 2):
    ``mark * clip(cost * (budget - tokens) + slack, 0, 1)``, so that fewer tokens than allowed pay up to 1. The mark is
    1 where ``by`` is 1, else 0. The budget is the task's column "budget". ``cost`` is that of a token; the paper's is
    for budgets of thousands. The part ``budget_missed`` says by which share of its budget an attempt missed it.
    """

    cost: float = 3e-4
    at_most: bool = False
    slack: float = 0.5
    name: str = "length_budget"

    def __post_init__(self) -> None:
        if not 0 < self.cost < math.inf:
            raise ValueError(f"length_budget: cost is what a token beside the budget costs, above 0; got {self.cost}")
        if not 0 < self.slack <= 1:
            raise ValueError(f"length_budget: slack is what keeping to the budget pays, up to 1; got {self.slack}")

    def fault(self, task: Task) -> str:
        budget = task.info.get("budget")
        if isinstance(budget, int) and not isinstance(budget, bool) and budget >= 1:
            return ""
        return 'it has no budget: state one in [prompt] (budget = [FEWEST, MOST]), or give rows a column "budget"'

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        if fault := self.fault(task):
            return [Score(value=math.nan, status="error", note=f"{self.name}: {fault}") for _ in trajectories]
        budget, marks = task.info["budget"], self.by(task, trajectories)
        return [
            self._score(mark, budget, completion_tokens(trajectory))
            for trajectory, mark in zip(trajectories, marks, strict=True)
        ]

    def _score(self, mark: Score, budget: int, length: int) -> Score:
        right = float(mark.value == 1.0)
        if self.at_most:
            value = right * min(1.0, max(0.0, self.cost * (budget - length) + self.slack))
            missed = max(0, length - budget)
        else:
            value = right - self.cost * abs(budget - length)
            missed = abs(budget - length)
        scored = _beside(self.name, mark, value)
        return replace(scored, parts={**scored.parts, "budget_missed": missed / budget})


@dataclass(frozen=True)
class repetition(Leaf):
    """``distinct / all - 1`` of the text's word ``n``-grams (arXiv 2502.03373, section 4.3), between 0 and -1: add it.
    0 for a text of fewer than ``n`` words. Each punctuation mark counts as a word, and in scripts without spaces each
    letter."""

    n: int = 3
    name: str = "repetition"

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError(f"repetition counts n-grams of at least 1 word; got n={self.n}")

    @property
    def punishes(self) -> bool:
        return True

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return [_score(self.name, self._value(" ".join(turn.text for turn in t.turns))) for t in trajectories]

    def _value(self, text: str) -> float:
        words = pieces(text)
        grams = [tuple(words[start : start + self.n]) for start in range(len(words) - self.n + 1)]
        return len(set(grams)) / len(grams) - 1.0 if grams else 0.0


def _beside(name: str, mark: Score, value: float) -> Score:
    """A value made from a mark, with the mark's parts beside it; what the mark itself would pay is not paid."""
    return combine([mark, _score(name, value)], value, shares={name: value})


def _score(name: str, value: float) -> Score:
    return Score(value=value, parts={name: value})
