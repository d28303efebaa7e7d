"""Which task comes next: each in turn, or those oftener that the policy can learn from. Knows no token and no model.

An order draws from what it was told of earlier steps alone, so that it can be taken up again from its counts.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from togi.advantages import informative
from togi.data import Tasks, TaskStream
from togi.samplers.beta_counts import BetaCounts
from togi.samplers.dynamic import correctness
from togi.types import Group, Task

Array = NDArray[np.float64]
By = Literal["turn", "priority", "learnability", "curriculum"]
SOURCE = "source"  # the level of a task of a mixture that is not said by a column
MOST_LEVELS = 100


class Stream(Iterator[Task], Protocol):
    """Tasks without end. ``saw`` is told after a step of all groups that were played, and gives metrics of the order;
    ``state`` is plain data, and ``restore`` goes on from it."""

    def saw(self, groups: Sequence[Group]) -> Mapping[str, float]: ...

    def state(self) -> Mapping[str, Any]: ...

    def restore(self, state: Mapping[str, Any]) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Order:
    """In what order a stage's tasks are drawn.

    ``turn``: every task once, in a chance order, then again. ``priority`` draws the harder the oftener: in proportion
    to 1 - p, p being how likely an attempt is right (Kimi k1.5, https://arxiv.org/abs/2501.12599). ``learnability``
    draws in proportion to p (1 - p), the variance of right and wrong. ``curriculum`` chooses a level first, by how
    often its groups are mixed (Thompson sampling), and then the next of its tasks in turn; the level is the task's
    column ``level``, or "source": the part of a mixture that it is from.

    ``explore`` is the share of draws by chance alone. ``memory`` is the share of what was counted before that stays
    whenever a task (a level) is looked at again.
    """

    by: By = "turn"
    explore: float = 0.1
    memory: float = 0.8
    level: str = "difficulty"

    def __post_init__(self) -> None:
        if not 0 <= self.explore <= 1:
            raise ValueError(f"explore is the share of draws by chance, from 0 to 1, got {self.explore}")
        BetaCounts(self.memory)

    def opened(self, tasks: Sequence[Task], seed: int, rates: BetaCounts) -> Stream:
        """Tasks in this order; ``rates`` knows how often attempts at a task are right, by its id. Raises ValueError for
        tasks without levels where levels are chosen."""
        match self.by:
            case "turn":
                return InTurn(tasks, seed)
            case "priority":
                return Weighted(tasks, seed, rates, priority, self.explore)
            case "learnability":
                return Weighted(tasks, seed, rates, learnability, self.explore)
            case "curriculum":
                return Curriculum(levels(tasks, self.level), seed, explore=self.explore, memory=self.memory)


IN_TURN = Order()


def priority(rate_N: Array) -> Array:
    """Chances in proportion to 1 - p."""
    return _shares(1 - rate_N)


def learnability(rate_N: Array) -> Array:
    """Chances in proportion to p (1 - p)."""
    return _shares(rate_N * (1 - rate_N))


def _shares(weight_N: Array) -> Array:
    total = weight_N.sum()
    if not total > 0:
        raise ValueError("weights of tasks sum to nothing: every task is solved for sure (or none can be): take others")
    shares: Array = weight_N / total
    return shares


def count_attempts(rates: BetaCounts, groups: Sequence[Group]) -> None:
    """Have the rates look at groups. Graded correctness counts as a part of a right attempt, held in [0, 1]."""
    for group in groups:
        if right := within_bounds(group):
            rates.look(group.task.id, sum(right), len(right) - sum(right))


def within_bounds(group: Group) -> list[float]:
    return [min(max(value, 0.0), 1.0) for value in correctness(group)]


class InTurn(TaskStream):
    """Each task once an epoch, whatever becomes of it."""

    def saw(self, groups: Sequence[Group]) -> Mapping[str, float]:
        return {}


class Weighted(Stream):
    """Every step draws anew by ``weigh`` of the rates, no task twice before all were drawn.

    Efraimidis and Spirakis (2006): tasks in the order of E / chance, E exponential, are a draw without replacement.
    """

    def __init__(
        self, tasks: Sequence[Task], seed: int, rates: BetaCounts, weigh: Callable[[Array], Array], explore: float
    ) -> None:
        self._tasks, self._seed, self._rates, self._weigh, self._explore = tasks, seed, rates, weigh, explore
        self._base_N = _base(tasks)
        self._deal = self._position = 0
        self._order: NDArray[np.int64] | None = None

    def __next__(self) -> Task:
        if self._position == len(self._tasks):
            self._next_deal()
        if self._order is None:
            wait_N = np.random.default_rng([self._seed, self._deal]).exponential(size=len(self._tasks))
            with np.errstate(divide="ignore"):
                self._order = np.argsort(wait_N / self.chances(), kind="stable")
        task = self._tasks[int(self._order[self._position])]
        self._position += 1
        return task

    def chances(self) -> Array:
        """How likely each task is the next one [N]; of a mixture in proportion to the weight of its source, too."""
        rate_N = np.array([self._rates.mean(task.id) for task in self._tasks])
        told_N = self._base_N * self._weigh(rate_N)
        chances: Array = self._explore * self._base_N + (1 - self._explore) * told_N / told_N.sum()
        return chances

    def _next_deal(self) -> None:
        self._deal, self._position, self._order = self._deal + 1, 0, None

    def saw(self, groups: Sequence[Group]) -> Mapping[str, float]:
        """To be called before the rates are told. ``order/known``: share of groups whose task was asked in an earlier
        step; ``order/expected``: how likely their attempts were thought to be right; ``order/surprise``: how far from
        that they were; means over groups."""
        self._next_deal()
        told = [(group, right) for group in groups if (right := within_bounds(group))]
        if not told:
            return {}
        return {
            "order/known": fmean(self._rates.knows(group.task.id) for group, _ in told),
            "order/expected": fmean(self._rates.mean(group.task.id) for group, _ in told),
            "order/surprise": fmean(abs(self._rates.mean(group.task.id) - fmean(right)) for group, right in told),
        }

    def state(self) -> Mapping[str, Any]:
        return {"deal": self._deal, "position": self._position}

    def restore(self, state: Mapping[str, Any]) -> None:
        """To be called when the rates are restored."""
        self._deal, self._position, self._order = state["deal"], state["position"], None


def _base(tasks: Sequence[Task]) -> Array:
    """Chances where nothing is known [N]: all alike, or by the weights of a mixture's sources."""
    if not isinstance(tasks, Tasks) or not tasks.weights:
        return np.full(len(tasks), 1 / len(tasks))
    source_N = np.array(tasks.sources)
    weight_N = (np.array(tasks.weights) / np.maximum(np.bincount(source_N, minlength=len(tasks.weights)), 1))[source_N]
    return _shares(weight_N)


class Curriculum(Stream):
    """A bandit over levels, whose arms pay 1 for a mixed group. Draws an arm by Thompson sampling: each as often as it
    is probably the best."""

    def __init__(self, tasks: Mapping[str, Sequence[Task]], seed: int, *, explore: float, memory: float) -> None:
        self._names = tuple(tasks)
        self._level = {task.id: name for name, own in tasks.items() for task in own}
        self._streams = {name: TaskStream(own, seed + number) for number, (name, own) in enumerate(tasks.items())}
        self._mixed = BetaCounts(memory)
        self._seed, self._explore, self._drawn = seed, explore, 0

    def __next__(self) -> Task:
        dice = random.Random(f"{self._seed}/{self._drawn}")
        self._drawn += 1
        chance, luck = dice.random(), {name: dice.betavariate(*self._mixed.of(name)) for name in self._names}
        name = dice.choice(self._names) if chance < self._explore else max(luck, key=luck.__getitem__)
        return next(self._streams[name])

    def saw(self, groups: Sequence[Group]) -> Mapping[str, float]:
        """``curriculum/{level}/drawn``: the level's share of the groups; ``curriculum/{level}/mixed``: how likely a
        group of it is thought to be mixed by now."""
        mixed: dict[str, list[bool]] = {name: [] for name in self._names}
        for group in groups:
            if (name := self._level.get(group.task.id)) is not None and len(right := correctness(group)) > 1:
                mixed[name].append(informative(right))
        told: dict[str, float] = {}
        for name, own in mixed.items():
            if own:
                self._mixed.look(name, sum(own), len(own) - sum(own))
            told[f"curriculum/{name}/drawn"] = len(own) / max(1, sum(map(len, mixed.values())))
            told[f"curriculum/{name}/mixed"] = self._mixed.mean(name)
        return told

    def state(self) -> Mapping[str, Any]:
        streams = {name: stream.state() for name, stream in self._streams.items()}
        return {"drawn": self._drawn, "mixed": self._mixed.state(), "streams": streams}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._drawn = state["drawn"]
        self._mixed.restore(state["mixed"])
        for name, own in state["streams"].items():
            self._streams[name].restore(own)


def levels(tasks: Sequence[Task], column: str) -> dict[str, list[Task]]:
    """The tasks by level, in the order of its values. Raises ValueError where there are no two levels."""
    if column == SOURCE and isinstance(tasks, Tasks) and tasks.weights:
        values: list[Any] = [number + 1 for number in tasks.sources]
    else:
        values = [_value(task, column) for task in tasks]
    named: dict[Any, list[Task]] = {}
    for value, task in zip(values, tasks, strict=True):
        named.setdefault(value, []).append(task)
    if not 2 <= len(named) <= MOST_LEVELS:
        got = f"all {len(tasks)} tasks have {column} {values[0]}" if len(named) == 1 else f"{column} has {len(named)}"
        raise ValueError(f"a curriculum chooses between 2 to {MOST_LEVELS} levels, and {got}")
    numbers = all(isinstance(value, int | float) for value in named)
    return {str(value): named[value] for value in sorted(named, key=None if numbers else str)}


def _value(task: Task, column: str) -> Any:
    value = task.info.get(column)
    if not isinstance(value, int | float | str):
        known = ", ".join(sorted(task.info)) or "no further column"
        got = f"{type(value).__name__} there" if column in task.info else f"not that column ({known})"
        raise ValueError(
            f'a curriculum reads a level from the column "{column}" of every row, and task {task.id} has {got}: name '
            f'another column with level = "…", level = "{SOURCE}" for the parts of a mixture, or make rows with '
            "difficulty = [1, 2, 3] of a generator"
        )
    return value
