"""How long steps take where engines sample and a learner learns: a simulation, from event to event. It measures nothing
and knows no model: how fast each part is, and how long answers are, is told to it.

Time goes from one event to the next at rates that stay the same between the two, so that a case which can be reckoned
by hand comes out as by hand. The rules are those of ``togi.samplers.ahead``: a step learns from its own groups, and
groups are asked for as soon as the weights are published that may draw them.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter, deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import numpy as np

_SAME = 1e-9  # tokens, or seconds, that are none: sums of fractions are not exact


@dataclass(frozen=True, kw_only=True)
class Rates:
    """Seconds that each part needs by itself. To add a token to each of b answers takes an engine ``round_seconds`` +
    b · ``row_seconds``; a score takes ``grade_seconds`` an answer; a step of one learner ``step_seconds`` +
    ``token_seconds`` for each token; to publish its weights ``publish_seconds``."""

    round_seconds: float
    row_seconds: float
    grade_seconds: float = 0.0
    step_seconds: float = 0.0
    token_seconds: float = 0.0
    publish_seconds: float = 0.0

    def sampled(self, rows: int) -> float:
        """Tokens a second of an engine that draws so many answers at once."""
        return rows / (self.round_seconds + rows * self.row_seconds)


@dataclass(frozen=True, kw_only=True)
class Layout:
    """``engines`` processes that draw ``slots`` answers at once each (0: the learner draws them itself), and
    ``learners`` that share the tokens of a step. ``places`` is how many processes compute at full speed at once, where
    they share a machine; None where each has a device of its own. Engines that ``drain`` take new weights only when
    all that was asked before is drawn."""

    engines: int = 0
    staleness: int = 0
    learners: int = 1
    slots: int = 128
    places: int | None = None
    drain: bool = False

    def __post_init__(self) -> None:
        if self.staleness and not self.engines:
            raise ValueError(
                f"staleness {self.staleness} needs engines beside the learner, which cannot draw while it learns"
            )

    def speed(self, busy: int) -> float:
        """The share of its full speed that each of so many busy processes has."""
        return 1.0 if self.places is None else min(1.0, self.places / busy)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """The steps after those that fill the pipeline. ``seconds`` are from the end of one to the end of the next; the two
    idle ones are shares of that time; ``ages`` counts groups by the weights published since they were asked for."""

    seconds: tuple[float, ...]
    engines_idle: float
    learner_idle: float
    ages: Mapping[int, int]
    tokens: int

    @property
    def step_seconds(self) -> float:
        return fmean(self.seconds)

    @property
    def tokens_per_second(self) -> float:
        return self.tokens / sum(self.seconds)


def simulate(rates: Rates, layout: Layout, lengths: np.ndarray) -> Simulated:
    """``lengths`` [steps, groups, attempts] are the tokens of each answer. The first ``staleness`` + 1 steps, which
    fill the pipeline, come on top, with the lengths of the last ones."""
    return _Simulation(rates, layout, lengths).run()


def drawn_lengths(
    observed: Sequence[Sequence[int]], *, steps: int, groups: int, attempts: int, seed: int = 0
) -> np.ndarray:
    """Lengths of answers as in ``observed``, the lengths of each group of a run: whole groups are drawn, since answers
    to one task are alike, and within a group of another size its answers."""
    random = np.random.default_rng(seed)
    drawn = np.empty((steps, groups, attempts), dtype=np.int64)
    for place in np.ndindex(steps, groups):
        own = observed[int(random.integers(len(observed)))]
        drawn[place] = own if len(own) == attempts else random.choice(np.asarray(own), attempts)
    return drawn


@dataclass(eq=False)
class _Group:
    """A group that a step wants, the step at which it was asked for, and how many of its answers are not drawn yet."""

    step: int
    asked: int
    left: int


@dataclass(eq=False)
class _Engine:
    """``grown`` counts the tokens by which each of its answers has grown since the beginning; ``ends`` is a heap of the
    count at which an answer ends, the answer's number, and its group."""

    rates: Rates
    grown: float = 0.0
    busy: float = 0.0
    ends: list[tuple[float, int, _Group]] = field(default_factory=list)

    @property
    def left(self) -> float:
        """Seconds at full speed until its next answer ends."""
        return max(0.0, self.ends[0][0] - self.grown) * self._token if self.ends else math.inf

    @property
    def _token(self) -> float:
        return self.rates.round_seconds + len(self.ends) * self.rates.row_seconds

    def go(self, seconds: float, speed: float) -> None:
        if self.ends:
            self.busy += seconds
            self.grown += seconds * speed / self._token

    def ended(self) -> list[_Group]:
        """The groups of the answers that have ended since."""
        over = []
        while self.ends and self.ends[0][0] <= self.grown + _SAME:
            over.append(heapq.heappop(self.ends)[2])
        return over


_Doing = Literal["waits", "learns", "drains", "publishes"]


@dataclass(eq=False)
class _Learner:
    """``step`` is the one at work. ``left`` are the seconds at full speed of what it does, if it does not wait: for
    groups, or until engines have drained."""

    step: int = 0
    doing: _Doing = "waits"
    left: float = math.inf
    busy: float = 0.0

    @property
    def at_work(self) -> bool:
        return self.doing in ("learns", "publishes")

    def does(self, what: _Doing, seconds: float = math.inf) -> None:
        self.doing, self.left = what, seconds

    def go(self, seconds: float, speed: float) -> None:
        if self.at_work:
            self.busy += seconds
            self.left -= seconds * speed


class _Simulation:
    """Learner, engines and whoever scores, from one event to the next."""

    def __init__(self, rates: Rates, layout: Layout, lengths: np.ndarray) -> None:
        if lengths.ndim != 3 or not lengths.size or lengths.min() < 1:
            raise ValueError(f"lengths are steps x groups x attempts, each at least 1 token; got {lengths.shape}")
        self.rates, self.layout, self.lengths = rates, layout, lengths
        self.warm = layout.staleness + 1
        self.learner = _Learner()
        self.engines = [_Engine(rates) for _ in range(max(1, layout.engines))]
        self.waiting: deque[tuple[int, _Group]] = deque()  # answers that no engine draws yet
        self.drawn: list[_Group] = []  # that are to be scored together with others of their step
        self.scoring: deque[list[_Group]] = deque()
        self.score_left = math.inf
        self.scored: dict[int, list[_Group]] = {}  # by the step that wants them
        self.asked = 0  # steps whose groups were asked for
        self.answers = 0
        self.ages: Counter[int] = Counter()
        self.now = 0.0
        self.ends: list[float] = []

    def run(self) -> Simulated:
        self._ask()
        start = self._until(self.warm)
        before = self._busy()
        self.ages.clear()
        took = self._until(self.warm + len(self.lengths)) - start
        engines, learner = (after - earlier for earlier, after in zip(before, self._busy(), strict=True))
        return Simulated(
            seconds=tuple(float(each) for each in np.diff(self.ends[self.warm - 1 :])),
            engines_idle=max(0.0, 1 - engines / (len(self.engines) * took)),
            learner_idle=max(0.0, 1 - learner / took),
            ages=dict(sorted(self.ages.items())),
            tokens=int(self.lengths.sum()),
        )

    def _until(self, steps: int) -> float:
        """Go on until so many steps have ended; gives when that is."""
        while len(self.ends) < steps:
            if not self._settle():
                self._go()
        return self.now

    def _busy(self) -> tuple[float, float]:
        drawing = sum(engine.busy for engine in self.engines)
        return drawing, self.learner.busy + (0.0 if self.layout.engines else drawing)

    def _go(self) -> None:
        """Go on to the next event."""
        at_work = sum(bool(engine.ends) for engine in self.engines)
        at_work += self.learner.at_work + bool(self.scoring)
        assert at_work, "whoever waits waits for somebody"
        speed = self.layout.speed(at_work)
        seconds = min(self.learner.left, self.score_left, *(engine.left for engine in self.engines)) / speed
        for engine in self.engines:
            engine.go(seconds, speed)
        self.learner.go(seconds, speed)
        self.score_left -= seconds * speed
        self.now += seconds

    def _settle(self) -> bool:
        """Do what is due now; whether there was anything."""
        return any([self._end_answers(), self._draw(), self._score(), self._learn()])

    def _ask(self) -> None:
        """Ask for all groups that the weights just published may draw."""
        until = self.learner.step + self.layout.staleness + 1
        for step in range(self.asked, until):
            for own in self._of(step):
                group = _Group(step=step, asked=self.learner.step, left=len(own))
                self.waiting.extend((int(length), group) for length in own)
        self.asked = until

    def _of(self, step: int) -> np.ndarray:
        """The lengths of a step's answers."""
        return np.asarray(self.lengths[(step - self.warm) % len(self.lengths)])

    def _draw(self) -> bool:
        """Hand out answers, each to an engine that draws the fewest."""
        moved = False
        while self.waiting:
            engine = min(self.engines, key=lambda each: len(each.ends))
            if len(engine.ends) >= self.layout.slots:
                break
            length, group = self.waiting.popleft()
            heapq.heappush(engine.ends, (engine.grown + length, self.answers, group))
            self.answers, moved = self.answers + 1, True
        return moved

    def _end_answers(self) -> bool:
        over = [group for engine in self.engines for group in engine.ended()]
        for group in over:
            group.left -= 1
            if not group.left:
                self.drawn.append(group)
                # Sampled ahead a group is scored by itself, else with its step.
                if self.layout.staleness or len(self.drawn) == self.lengths.shape[1]:
                    self.scoring.append(self.drawn)
                    self.drawn = []
        return bool(over)

    def _score(self) -> bool:
        if not self.scoring:
            return False
        if math.isinf(self.score_left):
            self.score_left = len(self.scoring[0]) * self.lengths.shape[2] * self.rates.grade_seconds
        if self.score_left > _SAME:
            return False
        for group in self.scoring.popleft():
            self.scored.setdefault(group.step, []).append(group)
        self.score_left = math.inf
        return True

    def _learn(self) -> bool:
        learner = self.learner
        if learner.doing == "waits":
            if len(self.scored.get(learner.step, [])) < self.lengths.shape[1]:
                return False
            self.ages.update(group.step - group.asked for group in self.scored.pop(learner.step))
            shared = self.rates.token_seconds * float(self._of(learner.step).sum()) / self.layout.learners
            learner.does("learns", self.rates.step_seconds + shared)
        elif learner.doing == "drains":
            if self.layout.drain and (self.waiting or any(engine.ends for engine in self.engines)):
                return False
            learner.does("publishes", self.rates.publish_seconds if self.layout.engines else 0.0)
        elif learner.left > _SAME:
            return False
        elif learner.doing == "learns":
            learner.step += 1
            self.ends.append(self.now)
            learner.does("drains")
        else:
            learner.does("waits")
            self._ask()
        return True
