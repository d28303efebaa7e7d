"""Rewards compose by arithmetic, ``gate`` and ``clip``; this file knows no grader and never reads a completion.

A composed reward keeps the parts of everything inside it, by name. A part that could not be scored makes the whole
not scored; but a user's function that says None, "does not apply", adds nothing to a sum in which another part applies.
``parts["correct"]`` is what samplers decide on: composition multiplies it by gates and takes the least of several
verifiers, and shaping terms never touch it. ``shares`` say what each leaf added to the value, and sum to it.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from togi.protocols import Asked, Engine, Reward
from togi.types import Score, Task, Trajectory

if TYPE_CHECKING:  # workers that grade import this module, and start without the libraries that texts need
    import torch

    from togi.tokenization import Chat

LEAST = ("correct", "parsed")  # parts that several leaves may give; the least one stands for all


@dataclass(frozen=True, kw_only=True, eq=False)
class Surroundings:
    """What a reward may need of the stage it serves: the policy's engine, chat, arithmetic and device, and the run's
    folder."""

    engine: Engine
    chat: Chat
    folder: Path
    dtype: torch.dtype
    device: str = "cpu"


class NotTrainedYet(ValueError):
    """A reward asks a model that an earlier stage of the run is still to train."""


class Composable(ABC):
    """A reward with ``+ - *``. ``names`` are the parts it scores; equal leaves may share a name, others may not."""

    @property
    @abstractmethod
    def leaves(self) -> tuple[Leaf, ...]: ...

    @abstractmethod
    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]: ...

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        """The scores of many tasks' attempts; rewards that ask a model or a server do better than one by one."""
        return [self(task, trajectories) for task, trajectories in asked]

    @property
    def may_not_apply(self) -> bool:
        """Whether it abstains of tasks that it is not meant for, so that a sum goes on without it."""
        return False

    @abstractmethod
    def opened(self, at: Surroundings) -> Composable:
        """The same reward, ready to score: with the models it asks loaded. Raises NotTrainedYet."""

    def __add__(self, other: Composable | float) -> Composable:
        return _sum([(1.0, self), (1.0, other)])

    def __radd__(self, other: float) -> Composable:
        return self + other

    def __sub__(self, other: Composable | float) -> Composable:
        return _sum([(1.0, self), (-1.0, other)])

    def __rsub__(self, other: float) -> Composable:
        return _sum([(1.0, other), (-1.0, self)])

    def __neg__(self) -> Composable:
        return _sum([(-1.0, self)])

    def __mul__(self, other: float) -> Composable:
        if isinstance(other, Composable):
            raise ValueError("rewards are not multiplied with each other: write gate(reward, by=other)")
        return _sum([(other, self)])

    def __rmul__(self, other: float) -> Composable:
        return self * other


class Leaf(Composable):
    """A reward that is not composed of others. ``name`` is its part in ``Score.parts``."""

    @property
    @abstractmethod
    def name(self) -> str: ...

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return (self,)

    def opened(self, at: Surroundings) -> Leaf:
        return self

    def fault(self, task: Task) -> str:
        """What is wrong with a task's row, which cannot be scored so; empty when nothing is."""
        return ""

    @property
    def blind(self) -> bool:
        """Whether it never looks at a task's own answer, so that wrong answers are paid by its very nature."""
        return False

    @property
    def asks_here(self) -> bool:
        """Whether it asks a model that is computed in this process, the policy or another one."""
        return False

    @property
    def only_dense(self) -> bool:
        """Whether it pays single tokens and no attempt as a whole, so that few algorithms see it."""
        return False

    @property
    def files(self) -> tuple[Path, ...]:
        """The files of the user's own that say what it pays for, other than the data; imported ones as well."""
        return ()

    @property
    def punishes(self) -> bool:
        """Whether its values are negative by definition, so that it is added and subtracting it would pay for it."""
        return False


@dataclass(frozen=True)
class Sum(Composable):
    """``constant + Σ weight · term``."""

    terms: tuple[tuple[float, Composable], ...]
    constant: float = 0.0

    def __post_init__(self) -> None:
        _check_names(self.leaves)
        if not all(math.isfinite(number) for number in (self.constant, *(weight for weight, _ in self.terms))):
            raise ValueError("weights of a reward are finite numbers")
        for weight, term in self.terms:
            if weight < 0 and isinstance(term, Leaf) and term.punishes:
                raise ValueError(f"{term.name} is negative already: add it (+ {-weight:g} * {term.name}), or it pays")

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return tuple(leaf for _, term in self.terms for leaf in term.leaves)

    def opened(self, at: Surroundings) -> Sum:
        return replace(self, terms=tuple((weight, term.opened(at)) for weight, term in self.terms))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        columns = [term.many(asked) for _, term in self.terms]
        return [[self._add(row) for row in zip(*scores, strict=True)] for scores in zip(*columns, strict=True)]

    @property
    def may_not_apply(self) -> bool:
        return all(term.may_not_apply for _, term in self.terms)

    def _add(self, given: Sequence[Score]) -> Score:
        pairs = list(zip(self.terms, given, strict=True))
        applying = [pair for pair in pairs if not (pair[0][1].may_not_apply and pair[1].status == "abstain")] or pairs
        weights, scores = [weight for (weight, _), _ in applying], [score for _, score in applying]
        value = self.constant + sum(weight * score.value for weight, score in zip(weights, scores, strict=True))
        dense = _add_dense(weights, [score.dense for score in scores])
        shares = {"constant": self.constant} if self.constant else {}
        for (weight, term), score in applying:
            for name, share in _shares(term, score).items():
                shares[name] = shares.get(name, 0.0) + weight * share
        return combine(scores, value, shares=shares, dense=dense)


@dataclass(frozen=True)
class gate(Composable):
    """``reward`` where ``by`` is 1, and 0 elsewhere: a form that gates can never pay by itself."""

    reward: Composable
    by: Composable

    def __post_init__(self) -> None:
        _check_names(self.leaves)

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return (*self.reward.leaves, *self.by.leaves)

    @property
    def may_not_apply(self) -> bool:
        return self.reward.may_not_apply

    def opened(self, at: Surroundings) -> gate:
        return replace(self, reward=self.reward.opened(at), by=self.by.opened(at))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        both = zip(self.reward.many(asked), self.by.many(asked), strict=True)
        return [[self._gate(score, by) for score, by in zip(*pair, strict=True)] for pair in both]

    def _gate(self, score: Score, by: Score) -> Score:
        is_open, shares = by.value == 1.0, _shares(self.reward, score)
        combined = combine(
            [score, by],
            score.value if is_open else 0.0,
            shares=shares if is_open else dict.fromkeys(shares, 0.0),
            dense=score.dense if is_open else (0.0,) * len(score.dense),
        )
        if is_open or "correct" not in combined.parts:
            return combined
        return replace(combined, parts={**combined.parts, "correct": 0.0})


@dataclass(frozen=True)
class clip(Composable):
    """``reward`` kept within ``low`` and ``high``; its parts stay as they are."""

    reward: Composable
    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"clip needs low <= high; got low={self.low}, high={self.high}")

    @property
    def leaves(self) -> tuple[Leaf, ...]:
        return self.reward.leaves

    @property
    def may_not_apply(self) -> bool:
        return self.reward.may_not_apply

    def opened(self, at: Surroundings) -> clip:
        return replace(self, reward=self.reward.opened(at))

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        return self.many([(task, trajectories)])[0]

    def many(self, asked: Sequence[Asked]) -> list[list[Score]]:
        return [[self._clip(score) for score in scores] for scores in self.reward.many(asked)]

    def _clip(self, score: Score) -> Score:
        value = min(max(score.value, self.low), self.high)
        shares = dict(_shares(self.reward, score))
        if value != score.value:
            shares["clip"] = shares.get("clip", 0.0) + value - score.value
        return combine([score], value, shares=shares, dense=score.dense)


def combine(
    scores: Sequence[Score], value: float, *, shares: Mapping[str, float], dense: tuple[float, ...] = ()
) -> Score:
    """One score with all parts and all notes, the steps of the first that has any, and the first own fault; the first
    status that is not ok wins and makes the value nan."""
    parts: dict[str, float] = {}
    for score in scores:
        for name, part in score.parts.items():
            parts[name] = min(part, parts.get(name, math.inf)) if name in LEAST else part
    for score in scores:
        if score.status != "ok":
            return Score(value=math.nan, parts=parts, status=score.status, note=score.note)
    note = "\n".join(dict.fromkeys(score.note for score in scores if score.note))
    stepwise = next((score for score in scores if score.steps), Score(value=value))
    fault = next((score.own_fault for score in scores if score.own_fault), None)
    return replace(stepwise, value=value, parts=parts, shares=shares, dense=dense, own_fault=fault, note=note)


def _shares(term: Composable, score: Score) -> Mapping[str, float]:
    """What each leaf of a term added to its score; a leaf added all of it."""
    return {term.name: score.value} if isinstance(term, Leaf) else score.shares


def part_names(reward: Reward) -> tuple[str, ...]:
    """The names of a composed reward's leaves, each once; none for a reward that is not built with this algebra."""
    return tuple(dict.fromkeys(leaf.name for leaf in leaves_of(reward)))


def leaves_of(reward: Reward) -> tuple[Leaf, ...]:
    """The leaves of a composed reward; none of a reward that is not built with this algebra."""
    return reward.leaves if isinstance(reward, Composable) else ()


def asks_models_here(reward: Reward) -> bool:
    """Whether any part of a reward asks a model that is computed in this process."""
    return any(leaf.asks_here for leaf in leaves_of(reward))


def _sum(terms: Sequence[tuple[float, Composable | float]]) -> Composable:
    flat: list[tuple[float, Composable]] = []
    constant = 0.0
    for weight, term in terms:
        for number in (weight, term):
            if not isinstance(number, Composable) and (isinstance(number, bool) or not isinstance(number, int | float)):
                raise ValueError(f"rewards are added to rewards and numbers; got {type(number).__name__}")
        if isinstance(term, Sum):
            flat += [(weight * inner, each) for inner, each in term.terms]
            constant += weight * term.constant
        elif isinstance(term, Composable):
            flat.append((weight, term))
        else:
            constant += weight * term
    return Sum(tuple(flat), constant)


def _add_dense(weights: Sequence[float], rows: Sequence[tuple[float, ...]]) -> tuple[float, ...]:
    given = [(weight, row) for weight, row in zip(weights, rows, strict=True) if row]
    if not given:
        return ()
    return tuple(
        sum(weight * value for (weight, _), value in zip(given, column, strict=True))
        for column in zip(*(row for _, row in given), strict=True)
    )


def _check_names(leaves: Sequence[Leaf]) -> None:
    seen: Mapping[str, Leaf] = {}
    for leaf in leaves:
        if leaf.name in LEAST:
            raise ValueError(f'"{leaf.name}" cannot name a reward: every verifier gives a part of that name')
        if leaf.name in seen and seen[leaf.name] != leaf:
            raise ValueError(f'two different rewards are named "{leaf.name}"; give one another name=')
        seen = {**seen, leaf.name: leaf}
