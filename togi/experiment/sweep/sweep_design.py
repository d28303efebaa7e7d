"""What a sweep searches, decided before anything runs, as plain nouns: keys with the values that they may have, how
many trials, and what a trial is. It chooses no values and runs nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from togi.run import Run

SEARCHED = "searched"  # the arm that has what the search chose
Values = Mapping[str, Any]
"""By key."""
Numbers = Mapping[str, float | Sequence[float]]


@dataclass(frozen=True, kw_only=True)
class Span:
    """Every number from ``low`` to ``high``, only whole ones where both are; with ``log`` as many below their geometric
    mean as above it."""

    low: float
    high: float
    log: bool = False

    @property
    def whole(self) -> bool:
        return isinstance(self.low, int) and isinstance(self.high, int)

    @property
    def size(self) -> float:
        """How many values there are."""
        return self.high - self.low + 1 if self.whole else math.inf

    @property
    def ends(self) -> tuple[Any, ...]:
        return (self.low, self.high)

    def __contains__(self, value: object) -> bool:
        number = isinstance(value, int if self.whole else int | float) and not isinstance(value, bool)
        return number and self.low <= float(value) <= self.high  # type: ignore[arg-type]


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of some values of any kind."""

    values: tuple[Any, ...]

    @property
    def size(self) -> float:
        return len(self.values)

    @property
    def ends(self) -> tuple[Any, ...]:
        return self.values

    def __contains__(self, value: object) -> bool:
        return value in self.values


Space = Span | Choice


class Runs(Protocol):
    """Runs with values that are searched. Both raise ValueError for values that make no recipe."""

    def trial(self, values: Values) -> Run:
        """The run of a trial, which is measured on the tasks that the search is decided by, and on no other."""
        ...

    def arm(self, values: Values) -> Run:
        """The run of an arm, which is measured on the held-out tasks that the search never asked."""
        ...


@dataclass(frozen=True, kw_only=True)
class Functions:
    """What is searched without a recipe. ``trial`` gives a trial's number, the higher the better, or yields what it
    measures on the way and that number last; ``arm`` gives an arm's numbers, of tasks that ``trial`` never asks."""

    trial: Callable[[Values, int], float | Iterable[float]]
    arm: Callable[[Values, int], Numbers]


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """The search for the best values of ``keys``, in ``trials`` trials, each run with every one of ``seeds``.

    ``sampler`` chooses values by what earlier trials gave (``tpe``) or blindly, from ``seed`` on. With
    ``stop_hopeless`` a trial ends once it is below the median of finished ones. The search may spend ``share`` of the
    experiment's budget. ``usual`` are the values that the recipe has itself, which are tried first. Of its
    ``stages`` no key changes the first ``shared``; where it is None, some key changes even the untrained model.
    """

    keys: Mapping[str, Space]
    trials: int
    seeds: Sequence[int]
    of: Runs | Functions
    sampler: Literal["tpe", "random"] = "tpe"
    seed: int = 0
    stop_hopeless: bool = False
    share: float = 0.5
    usual: Values | None = None
    stages: int = 0
    shared: int | None = None

    def __post_init__(self) -> None:
        if not self.keys or not self.seeds or self.trials < 1:
            raise ValueError(
                f"a sweep has keys, trials and seeds: got {len(self.keys)} keys, {self.trials} trials and "
                f"{len(self.seeds)} seeds"
            )
        for key, space in self.keys.items():
            if isinstance(space, Span) and not (space.low < space.high and (space.low > 0 or not space.log)):
                raise ValueError(f"{key}: wanted low below high, and above 0 with log; got {_plain(space)}")

    @property
    def size(self) -> float:
        """How many different trials there can be."""
        return math.prod(space.size for space in self.keys.values())

    @property
    def plan(self) -> dict[str, Any]:
        """All that is decided beforehand, as plain values."""
        own = ("trials", "sampler", "seed", "stop_hopeless", "share")
        return {
            "keys": {key: _plain(space) for key, space in self.keys.items()},
            "seeds": list(self.seeds),
            **{name: getattr(self, name) for name in own},
            **({"usual": dict(self.usual)} if self.usual else {}),
        }


def _plain(space: Space) -> dict[str, Any]:
    if isinstance(space, Choice):
        return {"choices": list(space.values)}
    return {"low": space.low, "high": space.high, "log": space.log}


@dataclass(frozen=True, kw_only=True)
class Trial:
    """Values that were tried. ``value`` is what the search is decided by, the mean over seeds, None where it has none
    and ``why`` not; ``points`` is what was measured on the way, in order, each the mean over the seeds by then."""

    number: int
    values: Values
    how: Literal["begun", "done", "hopeless", "failed", "stopped"] = "begun"
    value: float | None = None
    points: Sequence[float] = ()
    why: str = ""


def best_of(trials: Iterable[Trial]) -> Trial | None:
    """The finished trial with the highest value, of equal ones the first."""
    finished = [trial for trial in trials if trial.how == "done"]
    return max(finished, key=lambda trial: (trial.value, -trial.number), default=None)
