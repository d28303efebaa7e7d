"""What a reward design shows: who is best, what was hacked, how far reward and fitness lie apart, who wins."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from togi.reward_design.design import Candidate, Check, Kind, Trained
from togi.reward_design.findings import Standing, arms, hopeless, rank_correlation, ranked
from togi.reward_design.reflection import findings, reflection
from togi.reward_design.words import AGENTS


def standing(
    fitness: list[list[float]],
    proxy: list[float] | None = None,
    *,
    seeds: int = 2,
    kind: Kind = "written",
    name: str = "a",
) -> Standing:
    """Agents with a fitness at each check, all paid alike."""
    agents = tuple(
        Trained(
            candidate=name,
            seed=seed,
            checks=tuple(
                Check(steps=at, fitness=(value,), proxy=paid, parts={"all": paid, "still": 1.0}, length=9.0)
                for at, (value, paid) in enumerate(zip(values, proxy or [0.0] * len(values), strict=True))
            ),
        )
        for seed, values in enumerate(fitness)
    )
    return Standing(candidate=Candidate(name=name, kind=kind, generation=1, program="p"), agents=agents, seeds=seeds)


@pytest.mark.parametrize(
    ("one", "other", "wanted"),
    [
        ([1, 2, 3], [10, 20, 90], 1.0),
        ([1, 2, 3], [3, 2, 1], -1.0),
        ([1, 2, 2, 3], [1, 3, 2, 4], 0.9486832980505138),
        ([1, 1], [1, 2], None),
        ([1], [1], None),
    ],
)
def test_rank_correlation(one: list[float], other: list[float], wanted: float | None) -> None:
    found = rank_correlation(one, other)
    assert found == (None if wanted is None else pytest.approx(wanted))


HACKED = [
    ([[0.0, 0.0]], [1.0, 9.0], True),  # paid more, solved no more
    ([[0.5, 0.2]], [1.0, 9.0], True),  # solved less
    ([[0.0, 0.5]], [1.0, 9.0], False),
    ([[1.0, 1.0]], [1.0, 9.0], False),  # it could not have been solved more
    ([[0.0, 0.0]], [9.0, 1.0], False),  # not even paid more
    ([[0.0, 0.0], [0.0, 0.4]], [1.0, 9.0], False),  # on the mean of its agents
]


@pytest.mark.parametrize(("fitness", "proxy", "wanted"), HACKED)
def test_hacked(fitness: list[list[float]], proxy: list[float], wanted: bool) -> None:
    assert standing(fitness, proxy).hacked is wanted


def test_the_own_reward_is_not_called_hacked() -> None:
    assert not standing([[0.0, 0.0]], [1.0, 9.0], kind="own").hacked


def test_the_gap() -> None:
    assert standing([[0.0, 0.5, 1.0]], [1.0, 2.0, 3.0]).gap == pytest.approx(0)
    assert standing([[1.0, 0.5, 0.0]], [1.0, 2.0, 3.0]).gap == pytest.approx(2)
    assert standing([[0.0, 0.0, 0.0]], [1.0, 2.0, 3.0]).gap is None


def test_ranked_by_the_end_then_by_the_way() -> None:
    late, early = standing([[0.0, 0.0, 0.8]], name="a"), standing([[0.0, 0.8, 0.8]], name="b")
    best = standing([[0.0, 0.0, 0.9]], name="c")
    lost = replace(best.candidate, name="d")
    failed = Standing(candidate=lost, agents=(Trained(candidate="d", seed=0, fault="nan"),), seeds=2)
    again = replace(best, candidate=replace(best.candidate, name="e", same="c"))
    assert [each.candidate.name for each in ranked([late, early, failed, best, again])] == ["c", "b", "a"]


@pytest.mark.parametrize(
    ("mine", "others", "keep", "wanted"),
    [
        ([0.0], [[1.0]], 1, False),  # the other might fail, and this one be perfect: equal
        ([0.0], [[1.0, 0.5]], 1, True),
        ([0.4], [[1.0, 0.5]], 1, True),
        ([0.5], [[1.0, 0.5]], 1, False),
        ([0.0], [[1.0, 0.5]], 2, False),  # there is room for another
        ([0.0], [[1.0, 0.5], [0.9, 0.9]], 2, True),
    ],
)
def test_hopeless_only_where_nothing_can_be_lost(
    mine: list[float], others: list[list[float]], keep: int, wanted: bool
) -> None:
    this = standing([[value] for value in mine])
    rivals = [standing([[value] for value in other], name=f"rival {n}") for n, other in enumerate(others)]
    assert hopeless(this, [this, *rivals], keep) is wanted


def test_the_last_comparison() -> None:
    def agent(name: str, seed: int, fitness: tuple[float, ...]) -> Trained:
        check = Check(steps=9, fitness=fitness, proxy=0.0, parts={}, length=1.0)
        return Trained(candidate=name, seed=seed, checks=(check,))

    trained = {("a", seed): agent("a", seed, (1.0, 1.0, 1.0, seed > 0)) for seed in range(4)}
    trained |= {("own", seed): agent("own", seed, (0.0, 0.0, 0.0, 0.0)) for seed in range(3)}
    trained["own", 3] = Trained(candidate="own", seed=3, fault="it took too long")
    found = arms([("written", "a"), ("own", "own"), ("human", "not trained")], trained, 4)
    assert [(arm.kind, arm.fitness.point) for arm in found] == [("written", 15 / 16), ("own", 0.0)]
    assert found[0].difference is None
    assert math.isnan(found[0].p)
    assert found[1].difference is not None
    assert found[1].difference.point == pytest.approx(15 / 16)
    assert found[1].p < 0.01
    assert found[0].fitness.high <= 1
    assert found[1].scores.shape == (4, 4)
    assert arms([("written", "a")], {}, 4) == []


def test_the_writer_is_told_what_the_curves_show() -> None:
    said = findings(standing([[0.0, 0.0]], [1.0, 90.0]), AGENTS)
    assert said[0].startswith("The reward rose in training and the fitness did not")
    assert said[1:] == ["The part still hardly changes.", "The part all is much larger than the other parts together."]
    told = reflection(standing([[0.0, 0.5]], [1.0, 2.0]), AGENTS)
    assert "fitness: 0, 0.5 (mean 0.25, least 0, most 0.5)" in told["curves"]
    assert np.isclose(standing([[0.0, 0.5]], [1.0, 2.0]).checks[1].proxy, 2.0)
