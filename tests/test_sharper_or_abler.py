"""Arms that became surer told apart from arms that became able to do more."""

from __future__ import annotations

import itertools
from math import sqrt

import numpy as np
import pytest
from numpy.random import Generator
from scipy import stats

from togi.evidence.experiment.sharper_or_abler import Ability, all_fall_to, fisher_p, sharper_or_abler

N, TASKS = 64, 120


def solved(share: float, rate: float, *, chance: int = 0) -> np.ndarray:
    """Three seeds that solve the first ``share`` of tasks with ``rate``, and never the others."""
    rng = np.random.default_rng(chance)
    rates = np.where(np.arange(TASKS) < share * TASKS, rate, 0.0)
    return rng.binomial(N, np.clip(rates + rng.normal(0, 0.01, (3, 1)) * (rates > 0), 0, 1))


START = solved(0.5, 0.2, chance=1)


def found(right: np.ndarray, start: np.ndarray = START) -> Ability:
    return sharper_or_abler(right, N, start, N, margin=0.05)


@pytest.mark.parametrize(
    ("right", "outcome", "words"),
    [
        (
            solved(0.5, 0.7, chance=2),
            "sharper",
            "right more often at the first attempt, but is not shown to solve more",
        ),
        (solved(0.8, 0.2, chance=3), "abler", "It can solve more tasks than its start"),
        (solved(0.3, 0.9, chance=4), "narrower", "With 64 attempts it solves fewer tasks"),
        (solved(0.5, 0.2, chance=5), "not shown", "No gain is shown"),
        (solved(0.8, 0.2, chance=3)[:1], "not shown", "no interval: 1 seed"),
    ],
)
def test_outcomes(right: np.ndarray, outcome: str, words: str) -> None:
    one = found(right, START[: len(right)])
    assert one.outcome == outcome
    assert words in one.sentences[0]
    assert [at.k for at in one.curve] == [1, 2, 4, 8, 16, 32, 64]
    rates = [at.arm.point for at in one.curve]
    assert rates == sorted(rates)


def test_coverage_by_seed() -> None:
    one = found(solved(0.8, 0.2, chance=3))
    for each in one.coverage:
        assert each.lost == ()
        assert 30 <= len(each.gained) <= 36
        assert set(each.surely_gained) <= set(range(60, 96))
        assert len(each.surely_gained) > 25
    assert one.sentences[-1].startswith("Of 120 tasks, 36.0 (")
    back = sharper_or_abler(START, N, solved(0.8, 0.2, chance=3), N, margin=0.05)
    assert [each.surely_lost for each in back.coverage] == [each.surely_gained for each in one.coverage]


def test_what_chance_alone_gains_and_loses() -> None:
    one = sharper_or_abler([[1, 2, 0, 3]], 4, [[0, 0, 1, 1]], 4, margin=0.05)
    (seed,) = one.coverage
    assert (seed.gained, seed.lost) == ((0, 1), (2,))
    by_hand = 1 / 2 + 6 / 28 + 1 / 2 + 1 / 70  # 1, 2, 1 and 4 right answers, all on one side of 4 and 4 attempts
    assert (seed.gained_by_chance, seed.lost_by_chance) == pytest.approx((by_hand, by_hand))
    assert "2.0 (0.0 surely; chance alone makes 1.2) a seed were solved only after training" in one.sentences[-1]


@pytest.mark.parametrize(
    ("right", "attempts", "others", "share"),
    [(0, 4, 4, 0.0), (1, 3, 5, 3 / 8), (2, 3, 5, 3 / 28), (4, 3, 5, 0.0), (3, 3, 5, 1 / 56)],
)
def test_all_right_answers_fall_to_one_side(right: int, attempts: int, others: int, share: float) -> None:
    assert all_fall_to(right, attempts, others) == pytest.approx(share)


def test_models_alike_gain_and_lose_what_chance_makes() -> None:
    rng = np.random.default_rng(0)
    rates = rng.beta(0.2, 2.0, (1, 4000))
    one = sharper_or_abler(rng.binomial(16, rates), 16, rng.binomial(8, rates), 8, margin=0.05).coverage[0]
    for turned, chance in ((one.gained, one.gained_by_chance), (one.lost, one.lost_by_chance)):
        assert abs(len(turned) - chance) <= 4 * sqrt(chance)
    assert one.gained_by_chance > 2 * one.lost_by_chance  # who is asked more often finds more


def test_the_start_may_have_one_row() -> None:
    assert found(solved(0.8, 0.2, chance=3), START[:1]).outcome == "abler"


def test_one_attempt_tells_nothing() -> None:
    one = sharper_or_abler(np.ones((3, 9)), 1, np.zeros((3, 9)), 1, margin=0.05)
    assert one.outcome == "not shown"
    assert "cannot tell sharper from abler" in one.sentences[0]


@pytest.mark.parametrize(
    ("right", "attempts", "message"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), "seeds by tasks"),
        (np.ones(3), 4, "seeds by tasks"),
        (np.zeros((2, 2)), np.array([[1, 1], [1, 0]]), "task 1 has a seed without an attempt"),
        (np.full((2, 2), 5), 4, "more right answers than attempts"),
    ],
)
def test_wrong_counts_are_refused(right: np.ndarray, attempts: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        sharper_or_abler(right, attempts, right, attempts, margin=0.05)


def test_fisher() -> None:
    for a, b in itertools.product(range(6), range(9)):
        assert fisher_p(a, 5, b, 8) == pytest.approx(stats.fisher_exact([[a, 5 - a], [b, 8 - b]]).pvalue)


def false_rates(repeats: int) -> tuple[float, float]:
    """How often a model as able as its start is called abler, and how often any of its tasks is named a change."""

    def right(rng: Generator, rates: np.ndarray) -> np.ndarray:
        return rng.binomial(16, np.clip(rates + rng.normal(0, 0.02, (3, 1)), 0, 1))

    rng = np.random.default_rng(0)
    abler = named = 0
    for _ in range(repeats):
        rates = rng.beta(0.2, 0.8, (1, 60))
        one = sharper_or_abler(right(rng, rates), 16, right(rng, rates), 16, margin=0.05)
        abler += one.outcome == "abler"
        named += any(each.surely_gained or each.surely_lost for each in one.coverage[:1])
    return abler / repeats, named / repeats


def test_false_outcomes_are_seldom() -> None:
    assert max(false_rates(60)) <= 0.05 + 4 * sqrt(0.05 * 0.95 / 60)


@pytest.mark.slow
def test_false_outcomes_stay_within_the_level() -> None:
    assert max(false_rates(1000)) <= 0.05 + 3 * sqrt(0.05 * 0.95 / 1000)
