"""``python -m togi.statistics [REPEATS]``: how often the intervals and tests over seeds are right, by simulation.

Every world draws seeds, tasks and noise anew and is asked for what it was built with.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from togi.statistics.aggregates import mean
from togi.statistics.intervals import Array
from togi.statistics.over_seeds import over_seeds
from togi.statistics.resampling import crossed_bootstrap

World = Callable[[Generator, int, int, float], tuple[Array, Array]]
"""Chance, seeds, tasks and the true difference -> the scores of two arms [S, T]."""


@dataclass(frozen=True, kw_only=True)
class Kept:
    """Shares of repeats: intervals that held the truth; false ``better`` of arms that are alike; ``within`` and
    ``not_worse`` of arms that differ by the margin. ``bootstrap`` is the coverage of the two-level bootstrap."""

    coverage: float
    better: float
    within: float
    not_worse: float
    bootstrap: float


def _worlds() -> Mapping[str, World]:
    def normal(seed: float, task: float, noise: float) -> World:
        def draw(rng: Generator, seeds: int, tasks: int, difference: float) -> tuple[Array, Array]:
            shared = rng.normal(0, 1, (1, tasks))
            a = shared + difference + rng.normal(0, seed, (seeds, 1)) + rng.normal(0, task, (1, tasks))
            return a + rng.normal(0, noise, (seeds, tasks)), np.broadcast_to(shared, (seeds, tasks))

        return draw

    def heavy(rng: Generator, seeds: int, tasks: int, difference: float) -> tuple[Array, Array]:
        a = difference + 0.05 * rng.standard_t(2, (seeds, 1)) + rng.normal(0, 0.1, (seeds, tasks))
        return a, np.zeros((seeds, tasks))

    def passes(rng: Generator, seeds: int, tasks: int, difference: float) -> tuple[Array, Array]:
        """One attempt a task, right or wrong; tasks are easy or hard for both arms, and seeds move both."""
        rate = 0.1 + 0.7 * rng.beta(0.5, 0.5, (1, tasks))
        moved = np.clip(rng.normal(0, 0.03, (2, seeds, 1)), -0.1, 0.1)
        a, b = rng.random((2, seeds, tasks)) < rate + moved + np.array([difference, 0]).reshape(2, 1, 1)
        return a.astype(float), b.astype(float)

    def families(rng: Generator, seeds: int, tasks: int, difference: float) -> tuple[Array, Array]:
        """Every ten tasks are one task in other words, so there are fewer tasks than it seems."""
        of_task = np.repeat(rng.normal(0, 0.1, (1, tasks // 10)), 10, axis=1)
        a = difference + of_task + rng.normal(0, 0.03, (seeds, 1)) + rng.normal(0, 0.1, (seeds, tasks))
        return a, np.zeros((seeds, tasks))

    return {
        "all three alike": normal(0.03, 0.3, 0.3),
        "seeds alone": normal(0.1, 0.0, 0.0),
        "tasks alone": normal(0.0, 0.3, 0.0),
        "noise alone": normal(0.0, 0.0, 0.3),
        "heavy-tailed seeds": heavy,
        "right or wrong": passes,
        "families of tasks": families,
    }


WORLDS = _worlds()
BEYOND = "families of tasks"
"""The world that breaks what the intervals stand on: tasks that are independent of each other."""


def kept(world: World, *, seeds: int, tasks: int, repeats: int, seed: int = 0, bootstrap: bool = False) -> Kept:
    """What was kept of the promises at 95% in this world."""
    rng, margin = np.random.default_rng(seed), 0.02
    counts = np.zeros(5)
    for _ in range(repeats):
        alike, apart, lost = (np.subtract(*world(rng, seeds, tasks, one)) for one in (0.0, margin, -margin))
        wide, close, below = over_seeds(apart), over_seeds(apart, level=0.9), over_seeds(lost, level=0.9)
        counts += (
            wide.low <= margin <= wide.high,
            over_seeds(alike).low > 0,
            -margin < close.low and close.high < margin,
            below.low > -margin,
            bootstrap and _covers(apart, margin, seed),
        )
    coverage, better, within, not_worse, resampled = (counts / repeats).tolist()
    return Kept(coverage=coverage, better=better, within=within, not_worse=not_worse, bootstrap=resampled)


def _covers(difference: Array, truth: float, seed: int) -> bool:
    interval = crossed_bootstrap(difference, mean, seed=seed, reps=500)
    return interval.low <= truth <= interval.high


def main() -> None:
    repeats = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print(
        f"{repeats} repeats, in percent: 95% intervals that cover; false 'better', 'within' and 'not worse'; bootstrap"
    )
    for name, world in WORLDS.items():
        for seeds, tasks in ((2, 100), (3, 20), (3, 100), (5, 20), (5, 100), (8, 200)):
            found = kept(world, seeds=seeds, tasks=tasks, repeats=repeats, bootstrap=True)
            numbers = (found.coverage, found.better, found.within, found.not_worse, found.bootstrap)
            print(f"{name:20} {seeds} seeds {tasks:4} tasks", *(f"{100 * one:6.1f}" for one in numbers))


if __name__ == "__main__":
    main()
