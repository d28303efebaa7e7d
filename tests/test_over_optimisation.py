"""The over-optimisation curve against its published numbers, and a verdict that is right on made-up series."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from togi.evidence.after.over_optimisation import (
    Array,
    Course,
    best_of_n,
    best_of_n_law,
    best_of_n_peak,
    bins,
    course,
    distance,
    fit_best_of_n,
    fit_reinforcement,
    judge,
    kl_best_of_n,
    reinforcement_law,
    reinforcement_peak,
)


def test_kl_of_best_of_n() -> None:
    assert [kl_best_of_n(n) for n in (1, 4, 16, 64)] == pytest.approx([0, 0.636294, 1.83509, 3.17451], abs=1e-5)
    assert distance(kl_best_of_n(16)) == pytest.approx(1.35465, abs=1e-5)


def test_the_laws_of_gold_and_their_peaks() -> None:
    assert best_of_n_law(2, 1, 0.25) == pytest.approx(1)
    assert best_of_n_peak(1, 0.25) == 2
    assert best_of_n_law(best_of_n_peak(1, 0.25) or 0, 1, 0.25) == pytest.approx(1)
    assert reinforcement_law(2, 1, 0.25) == pytest.approx(1.65343, abs=1e-5)
    assert reinforcement_peak(1, 0.25) == pytest.approx(20.0855, abs=1e-4)
    assert reinforcement_law(reinforcement_peak(1, 0.25) or 0, 1, 0.25) == pytest.approx(5.02138, abs=1e-5)
    assert reinforcement_law(0, 1, 0.25) == 0
    for alpha, beta in ((1, 0), (1, -0.1), (1e4, 1e-4)):
        assert reinforcement_peak(alpha, beta) is None
    assert best_of_n_peak(1, 0) is None
    assert best_of_n_peak(-1, 0.5) is None


def test_a_fit_finds_the_law_it_was_drawn_from() -> None:
    d = np.linspace(0, 6, 30)
    for fit, law, peak in (
        (fit_reinforcement, reinforcement_law, reinforcement_peak),
        (fit_best_of_n, best_of_n_law, best_of_n_peak),
    ):
        found = fit(d, 0.3 + law(d, 0.8, 0.4))
        assert found is not None
        assert (found.start, found.alpha, found.beta) == pytest.approx((0.3, 0.8, 0.4))
        assert found.peak == pytest.approx(peak(0.8, 0.4))
        assert fit([0, 1, 2, 2], [0, 1, 2, 2]) is None


def test_best_of_n_is_the_mean_over_all_sets() -> None:
    rng = np.random.default_rng(0)
    proxy, gold = rng.normal(size=7), rng.normal(size=7)
    for n in (1, 2, 4, 7):
        every = [gold[max(chosen, key=lambda i: proxy[i])] for chosen in itertools.combinations(range(7), n)]
        assert best_of_n(proxy, gold, n) == pytest.approx(np.mean(every))
    # With ties, the best of a set is any of its best, so the order of equal answers says nothing.
    assert best_of_n([1, 1, 0], [5, 3, 0], 2) == pytest.approx((4 + 5 + 3) / 3)
    assert best_of_n([1, 1, 0], [3, 5, 0], 2) == pytest.approx((4 + 5 + 3) / 3)
    with pytest.raises(ValueError, match="n=4"):
        best_of_n([1, 2, 3], [1, 2, 3], 4)


def test_rows_without_gold_are_left_out() -> None:
    rows: list[dict[str, Any]] = [
        {"step": 3, "reward": 0.3, "gold": 0.1, "kl_sequence": -0.01},
        {"step": 1, "reward": 0.1, "gold": 0.2},
        {"step": 2, "reward": 0.2, "gold": None},
        {"step": 4, "gold": 1.0},
    ]
    told = course(rows)
    assert told.step.tolist() == [1, 3]
    assert told.proxy.tolist() == [0.1, 0.3]
    assert np.isnan(told.kl[0])
    assert distance(told.kl[1]) == 0
    assert judge(told).outcome == "not enough data"
    assert bins(course([])) == []


def test_bins_average_steps_in_a_row() -> None:
    told = series(lambda t: t, lambda t: 1 - t, steps=31, noise=0.0)
    found = bins(told)
    assert len(found) == 10
    assert [one.step for one in found] == sorted(one.step for one in found)
    assert found[0].step == pytest.approx(2.5)
    assert found[0].gold.point == pytest.approx(told.gold[:4].mean())
    assert found[0].gold.low < found[0].gold.point < found[0].gold.high
    assert found[-1].distance == pytest.approx(np.sqrt(told.kl[-3:].mean()))
    assert len(bins(series(lambda t: t, lambda t: t, steps=2, noise=0.0))) == 1


def test_an_interval_has_the_spread_of_a_sample() -> None:
    """Of 1, 2 and 6: mean 3, squares about it 4 + 1 + 9 over n - 1, and 1.96 times the root of 7 / 3."""
    told = Course(step=np.arange(3.0), proxy=np.array([1.0, 2.0, 6.0]), gold=np.zeros(3), kl=np.full(3, np.nan))
    [found] = bins(told)
    assert (found.proxy.point, found.proxy.high - 3) == pytest.approx((3, 1.96 * np.sqrt(7 / 3)))
    assert found.proxy.point - found.proxy.low == pytest.approx(found.proxy.high - 3)
    [lone] = bins(series(lambda t: t, lambda t: t, steps=1, noise=0.0))
    assert np.isnan([lone.proxy.low, lone.gold.high]).all()


def series(
    proxy: Callable[[Array], Array], gold: Callable[[Array], Array], *, steps: int, noise: float, seed: int = 0
) -> Course:
    rng, time = np.random.default_rng(seed), np.linspace(0, 1, steps)
    return Course(
        step=np.arange(1.0, steps + 1),
        proxy=proxy(time) + noise * rng.normal(size=steps),
        gold=gold(time) + noise * rng.normal(size=steps),
        kl=9 * time**2,
    )


@cache
def outcomes(proxy: Callable[[Array], Array], gold: Callable[[Array], Array], steps: int = 40) -> Counter[str]:
    return Counter(judge(series(proxy, gold, steps=steps, noise=0.05, seed=seed)).outcome for seed in range(100))


def up(t: Array) -> Array:
    return t


def flat(t: Array) -> Array:
    return 0 * t


def plateau(t: Array) -> Array:
    return 0.3 * np.minimum(1, 3 * t)


def hill(t: Array) -> Array:
    return 0.3 * np.where(t < 0.4, t / 0.4, (1 - t) / 0.6)


def test_healthy_runs_raise_no_alarm() -> None:
    for gold in (up, plateau, flat):
        assert outcomes(up, gold)["over-optimised"] <= 3  # 1 in 100 is what the level allows
    assert outcomes(up, up)["rose together"] == 100
    assert outcomes(up, plateau)["rose together"] >= 97
    assert outcomes(up, flat)["unclear"] >= 94
    assert outcomes(flat, flat)["unclear"] >= 94


def test_a_few_steps_are_judged_no_less_strictly() -> None:
    assert outcomes(up, flat, steps=20)["over-optimised"] <= 4
    assert outcomes(up, hill, steps=20)["over-optimised"] >= 75


def test_noise_that_lasts_raises_no_alarm() -> None:
    alarms = 0
    for seed in range(100):
        told = series(up, flat, steps=40, noise=0.05, seed=seed)
        gold = told.gold.copy()
        for at in range(1, 40):
            gold[at] += 0.5 * gold[at - 1]
        alarms += judge(Course(step=told.step, proxy=told.proxy, gold=gold, kl=told.kl)).outcome == "over-optimised"
    assert alarms <= 4


def test_sick_runs_are_found() -> None:
    assert outcomes(up, hill)["over-optimised"] >= 98
    assert outcomes(up, lambda t: -0.3 * t)["over-optimised"] == 100
    assert outcomes(hill, hill)["came apart"] >= 98
    assert outcomes(flat, hill)["came apart"] >= 93


def test_what_was_seen_is_told() -> None:
    found = judge(series(up, hill, steps=50, noise=0.01))
    assert found.outcome == "over-optimised"
    assert found.gold_peak > found.gold_start > found.gold_end
    assert found.peak_step == pytest.approx(20, abs=4)
    assert found.fall_p < 0.01
    assert found.proxy_end > found.proxy_start
    assert judge(series(up, up, steps=19, noise=0.01)).outcome == "not enough data"
    assert judge(series(up, flat, steps=40, noise=0.0)).outcome == "unclear"
