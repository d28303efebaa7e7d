"""What a reward design shows, as numbers: how each candidate stands, who is best, and what the comparison says. It
words nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from togi.reward_design.design import Candidate, Check, Kind, Trained
from togi.statistics import Difference, Interval, difference_over_seeds, holm, over_seeds

State = Literal["unusable", "failed", "stopped", "trained"]
SMALLEST = 0.05
"""The smallest difference of fitness that is spoken of."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A candidate with the agents that were trained with it, of ``seeds`` that were to be."""

    candidate: Candidate
    agents: tuple[Trained, ...]
    seeds: int

    @property
    def state(self) -> State:
        if not self.candidate.trainable:
            return "unusable"
        if any(agent.fault for agent in self.agents):
            return "failed"
        return "trained" if len(self.agents) == self.seeds else "stopped"

    @property
    def fault(self) -> str:
        return self.candidate.fault or next((agent.fault for agent in self.agents if agent.fault), "")

    @property
    def sound(self) -> list[Trained]:
        return [agent for agent in self.agents if not agent.fault]

    @property
    def fitness(self) -> float | None:
        """The mean of its agents, those that could not be trained at 0; None where there are none."""
        return float(np.mean([agent.fitness for agent in self.agents])) if self.agents else None

    @cached_property
    def checks(self) -> list[Check]:
        """The means of its agents at each check; the fitness has one number an agent."""
        return [_mean(each) for each in zip(*(agent.checks for agent in self.sound), strict=True)]

    @property
    def hacked(self) -> bool:
        """Whether the reward rose in training, and the fitness is no higher than before it."""
        if len(self.checks) < 2 or self.candidate.kind in ("own", "sparse"):
            return False
        first, last = self.checks[0], self.checks[-1]
        return last.proxy > first.proxy and bool(np.mean(last.fitness) <= np.mean(first.fitness) < 1)

    @property
    def gap(self) -> float | None:
        """1 less the rank correlation of reward and fitness over all checks of all agents: 0 where they rise together,
        1 where they have nothing to do with each other, 2 where one falls as the other rises. None where one is
        constant."""
        checks = [check for agent in self.sound for check in agent.checks]
        found = rank_correlation([check.proxy for check in checks], [float(np.mean(c.fitness)) for c in checks])
        return None if found is None else 1 - found

    @property
    def human(self) -> float | None:
        known = [agent.human for agent in self.sound if agent.human is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One reward in the last comparison: ``scores`` [seeds, episodes] of new agents, the mean with its interval, and of
    all but the first the difference of the first arm from it with a p-value for all together."""

    kind: Kind
    candidate: str
    scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    fitness: Interval
    difference: Difference | None
    p: float


def standings(
    candidates: Mapping[str, Candidate], trained: Mapping[tuple[str, int], Trained], seeds: int
) -> dict[str, Standing]:
    return {
        name: Standing(
            candidate=candidate,
            agents=tuple(
                trained[candidate.original, seed] for seed in range(seeds) if (candidate.original, seed) in trained
            ),
            seeds=seeds,
        )
        for name, candidate in candidates.items()
    }


def ranked(found: Iterable[Standing]) -> list[Standing]:
    """Those with agents, the best first: by their fitness at the end, then on the way; of equals the earlier one. A
    program that was written twice stands there once."""
    sound = [each for each in different(found) if each.sound and each.state != "failed"]

    def order(each: Standing) -> tuple[float, float, str]:
        on_the_way = float(np.mean([np.mean(check.fitness) for check in each.checks]))
        return -(each.fitness or 0.0), -on_the_way, each.candidate.name

    return sorted(sound, key=order)


def different(found: Iterable[Standing]) -> list[Standing]:
    """Of candidates with the same program the first."""
    first: dict[str, Standing] = {}
    for each in found:
        first.setdefault(each.candidate.original, each)
    return list(first.values())


def hopeless(each: Standing, others: Iterable[Standing], keep: int) -> bool:
    """Whether a candidate cannot be among the best ``keep`` any more, were all its further agents perfect: so many
    others are above that already, were all theirs to fail."""
    sums = sum(agent.fitness for agent in each.agents)
    most = sums + each.seeds - len(each.agents)
    rivals = [other for other in others if other.candidate.original != each.candidate.original]
    above = [other for other in rivals if sum(agent.fitness for agent in other.agents) > most]
    return len(above) >= keep


def executable(found: Sequence[Standing]) -> tuple[int, int]:
    """How many programs could be used to the end, of how many that were written."""
    return sum(each.state in ("trained", "stopped") for each in found), len(found)


def arms(chosen: Sequence[tuple[Kind, str]], trained: Mapping[tuple[str, int], Trained], seeds: int) -> list[Arm]:
    """The last comparison; agents that could not be trained have fitness 0 in every episode."""
    tables = {}
    for _, name in chosen:
        rows = [trained[name, seed] for seed in range(seeds) if (name, seed) in trained]
        if len(rows) == seeds:
            tables[name] = rows
    width = max((len(row.checks[-1].fitness) for rows in tables.values() for row in rows if row.checks), default=1)
    scores = {
        name: np.array([row.checks[-1].fitness if row.checks else (0.0,) * width for row in rows], np.float64)
        for name, rows in tables.items()
    }
    listed = [(kind, name) for kind, name in chosen if name in scores]
    if not listed:
        return []
    first = scores[listed[0][1]]
    differences = [difference_over_seeds(first, scores[name], margin=SMALLEST) for _, name in listed[1:]]
    ps = holm([each.p for each in differences]).tolist() if differences else []
    return [
        Arm(
            kind=kind,
            candidate=name,
            scores=scores[name],
            fitness=_shares(over_seeds(scores[name])),
            difference=differences[number - 1] if number else None,
            p=ps[number - 1] if number else math.nan,
        )
        for number, (kind, name) in enumerate(listed)
    ]


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float | None:
    """Spearman's; None where one of them is constant."""
    if len(one) < 2 or len(set(one)) == 1 or len(set(other)) == 1:
        return None
    return float(np.corrcoef(_ranks(one), _ranks(other))[0, 1])


def _ranks(values: Sequence[float]) -> list[float]:
    """Equal values share the mean of their ranks."""
    order = sorted(values)
    return [order.index(value) + (order.count(value) - 1) / 2 for value in values]


def _mean(checks: Sequence[Check]) -> Check:
    names = sorted({name for check in checks for name in check.parts})
    return Check(
        steps=checks[0].steps,
        fitness=tuple(float(np.mean(check.fitness)) for check in checks),
        proxy=float(np.mean([check.proxy for check in checks])),
        parts={name: float(np.mean([check.parts.get(name, 0.0) for check in checks])) for name in names},
        length=float(np.mean([check.length for check in checks])),
    )


def _shares(interval: Interval) -> Interval:
    """Cut off where no fitness can be."""
    if math.isnan(interval.low):
        return interval
    return Interval(
        point=interval.point, low=max(0.0, interval.low), high=min(1.0, interval.high), level=interval.level
    )
