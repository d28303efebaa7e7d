"""Differences over seeds and tasks: exact small cases, other people's formulas, and simulation of what is promised."""

from __future__ import annotations

import itertools
from math import comb, isnan, sqrt

import numpy as np
import pytest
from numpy.testing import assert_allclose
from scipy import stats

from togi import statistics
from togi.statistics import Spread
from togi.statistics.__main__ import BEYOND, WORLDS, Kept, kept
from togi.statistics.chi_square import chi_square_quantile
from togi.statistics.student_t import central_bound, central_share

KEPT = sorted(WORLDS.keys() - {BEYOND})
D = np.array([0.02, 0.01, 0.03, -0.005, 0.015])


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 5, 8, 9, 60, 199, 200])
def test_student_t(degrees: int) -> None:
    for t in (0.0, 0.3, 2.0, 7.0):
        assert_allclose(central_share(t, degrees), 1 - 2 * stats.t.sf(t, degrees), atol=1e-12)
    for share in (0.5, 0.9, 0.95, 0.9999):
        assert_allclose(central_bound(share, degrees), stats.t.ppf(0.5 + share / 2, degrees), rtol=1e-7)


def test_many_degrees_of_freedom_widen_a_little() -> None:
    assert stats.norm.ppf(0.975) < central_bound(0.95, 10**6) < 1.007 * stats.norm.ppf(0.975)


def test_one_task_is_the_paired_t_test_over_seeds() -> None:
    found = statistics.difference_over_seeds(0.5 + D[:, None], np.full((5, 1), 0.5), margin=0.02)
    assert_allclose(found.point, 0.014)
    assert_allclose(found.p, 0.0728551, rtol=1e-5)
    assert_allclose(found.point / (found.high - found.point) * stats.t.ppf(0.975, 4), 2.41883, rtol=1e-5)
    two_sided = stats.ttest_1samp(D, -0.02, alternative="greater").pvalue
    assert_allclose(found.p_not_worse, two_sided, rtol=1e-5)
    assert_allclose(found.p_within, stats.ttest_1samp(D, 0.02, alternative="less").pvalue, rtol=1e-5)


def test_the_interval_by_hand() -> None:
    """Two seeds on two tasks: seed means 2 and 4, task means 2 and 4, and a rest of plus and minus 1."""
    found = statistics.over_seeds([[2.0, 2.0], [2.0, 6.0]])
    t = stats.t.ppf(0.975, 1)
    assert_allclose(found.point, 3)
    # v_seed = 1, v_noise = 4 / 1 / 4 = 1, v_task = 1 - 1
    assert_allclose(found.high - 3, t)


def test_the_p_value_is_where_the_interval_reaches_zero() -> None:
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.1, 0.3, (4, 30)), rng.normal(0, 0.3, (4, 30))
    p = statistics.difference_over_seeds(a, b, margin=0.1).p
    assert 1e-6 < p < 0.5
    at = statistics.difference_over_seeds(a, b, margin=0.1, level=1 - p)
    assert_allclose(at.low, 0, atol=1e-6)


def test_swapping_the_sides_swaps_the_sign() -> None:
    rng = np.random.default_rng(1)
    a, b = rng.random((3, 10)), rng.random((3, 10))
    there, back = (statistics.difference_over_seeds(*pair, margin=0.1) for pair in ((a, b), (b, a)))
    assert_allclose([there.point, there.low, there.p, there.p_within], [-back.point, -back.high, back.p, back.p_within])


def test_neither_the_order_nor_the_unit_matters() -> None:
    rng = np.random.default_rng(2)
    a, b = rng.random((3, 10)), rng.random((3, 10))
    plain = statistics.difference_over_seeds(a, b, margin=0.1)
    mixed = statistics.difference_over_seeds(a[::-1, ::-1], b[::-1, ::-1], margin=0.1)
    larger = statistics.difference_over_seeds(100 * a, 100 * b, margin=10)
    assert_allclose([mixed.low, mixed.p], [plain.low, plain.p])
    assert_allclose([larger.low, larger.p, larger.p_within], [100 * plain.low, plain.p, plain.p_within])


def test_one_row_stands_for_what_was_not_trained() -> None:
    rng = np.random.default_rng(3)
    a, start = rng.random((3, 10)), rng.random((1, 10))
    one = statistics.difference_over_seeds(a, start, margin=0.1)
    assert one == statistics.difference_over_seeds(a, np.repeat(start, 3, 0), margin=0.1)


def test_one_seed_has_no_interval() -> None:
    found = statistics.difference_over_seeds(np.ones((1, 5)), np.zeros((1, 5)), margin=0.1)
    assert found.point == 1
    assert all(isnan(one) for one in (found.low, found.high, found.p, found.p_within, found.spread.seed))


@pytest.mark.parametrize(("tasks", "sure"), [(1, False), (5, False), (6, True), (100, True)])
def test_scores_without_any_spread_are_as_sure_as_their_tasks_are_many(tasks: int, sure: bool) -> None:
    found = statistics.difference_over_seeds(np.ones((3, tasks)), np.zeros((3, tasks)), margin=0.1)
    assert (found.p <= 0.05) == (found.low > 0) == sure
    assert found.high > 1
    # A share of tasks beyond this would have shown a loss with 97.5%.
    assert_allclose(found.point - found.low, 2 * stats.binomtest(0, tasks).proportion_ci(0.95).high, rtol=1e-6)


def test_arms_that_never_differ_are_alike_only_over_enough_tasks() -> None:
    scores = np.tile([0.0, 1.0], (3, 20))
    assert statistics.difference_over_seeds(scores, scores, margin=0.02).p_within > 0.05
    scores = np.tile([0.0, 1.0], (3, 100))
    assert statistics.difference_over_seeds(scores, scores, margin=0.02).p_within < 0.05
    nothing = statistics.difference_over_seeds(np.ones((3, 40)), np.ones((3, 40)), margin=0.02)
    assert isnan(nothing.p_within)


@pytest.mark.parametrize(
    ("a", "b", "margin", "message"),
    [
        (np.ones((3, 4)), np.ones((3, 5)), 0.1, "same tasks on both sides, got 4 and 5"),
        (np.ones((3, 4)), np.ones((2, 4)), 0.1, "same seeds on both sides, got 3 and 2"),
        (np.ones((3, 4)), np.ones((3, 4)), 0.0, "such as 0.02; got 0.0"),
        (np.full((3, 4), np.nan), np.ones((3, 4)), 0.1, "finite scores"),
        (np.ones(3), np.ones(3), 0.1, "runs by tasks"),
    ],
)
def test_what_cannot_be_compared_is_refused(a: np.ndarray, b: np.ndarray, margin: float, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        statistics.difference_over_seeds(a, b, margin=margin)


# What is promised, by simulation. `python -m togi.statistics` has more repeats and worlds.


@pytest.mark.parametrize("name", KEPT)
def test_promises_are_kept_with_three_seeds(name: str) -> None:
    _holds(kept(WORLDS[name], seeds=3, tasks=30, repeats=200), repeats=200)


@pytest.mark.slow
@pytest.mark.parametrize("name", KEPT)
@pytest.mark.parametrize(("seeds", "tasks"), [(2, 100), (3, 20), (3, 100), (5, 100), (8, 200)])
def test_promises_are_kept(name: str, seeds: int, tasks: int) -> None:
    _holds(kept(WORLDS[name], seeds=seeds, tasks=tasks, repeats=2000, seed=1), repeats=2000)


def _holds(found: Kept, *, repeats: int) -> None:
    """Within four standard errors of the simulation: coverage 95%, one-sided errors 2.5% and 5%."""
    assert found.coverage >= 0.95 - 4 * sqrt(0.95 * 0.05 / repeats)
    assert found.better <= 0.025 + 4 * sqrt(0.025 * 0.975 / repeats)
    assert max(found.within, found.not_worse) <= 0.05 + 4 * sqrt(0.05 * 0.95 / repeats)


def test_resampling_few_seeds_is_too_narrow() -> None:
    found = kept(WORLDS["seeds alone"], seeds=3, tasks=30, repeats=100, bootstrap=True)
    assert found.bootstrap < 0.85 < found.coverage


# Power.


def test_the_smallest_visible_difference_is_seen_as_often_as_said() -> None:
    spread = Spread(seed=0.03, task=0.1, noise=0.3)
    rng = np.random.default_rng(0)
    for seeds, tasks in ((3, 60), (6, 100)):
        effect = statistics.smallest_visible(spread, seeds=seeds, tasks=tasks)
        seen = 0
        for _ in range(60):
            a = effect + rng.normal(0, 0.03, (seeds, 1)) + rng.normal(0, 0.1, (1, tasks))
            a = a + rng.normal(0, 0.3, (seeds, tasks))
            seen += statistics.difference_over_seeds(a, np.zeros_like(a), margin=1).low > 0
        assert 0.65 <= seen / 60 <= 0.95


def test_more_seeds_and_tasks_show_less() -> None:
    spread = Spread(seed=0.03, task=0.1, noise=0.3)
    visible = [statistics.smallest_visible(spread, seeds=n, tasks=100) for n in (2, 3, 5, 8, 20)]
    assert visible == sorted(visible, reverse=True)
    for effect in visible[1:]:
        needed = statistics.seeds_needed(spread, effect + 1e-9, tasks=100)
        assert needed is not None
        assert statistics.smallest_visible(spread, seeds=needed, tasks=100) <= effect + 1e-9
    assert statistics.seeds_needed(spread, visible[1] + 1e-9, tasks=100) == 3
    assert statistics.seeds_needed(spread, 0.001, tasks=100) is None  # the tasks alone hide it
    many = statistics.tasks_needed(spread, 0.1, seeds=3)
    assert many is not None
    assert statistics.smallest_visible(spread, seeds=3, tasks=many) <= 0.1
    assert statistics.tasks_needed(spread, 0.03, seeds=3) is None  # the seeds alone hide it
    assert isnan(statistics.smallest_visible(spread, seeds=1, tasks=100))
    with pytest.raises(ValueError, match=r"such as 0\.8"):
        statistics.smallest_visible(spread, seeds=3, tasks=100, power=1.0)


def test_the_spread_is_found_again() -> None:
    rng = np.random.default_rng(0)
    a = rng.normal(0, 0.2, (60, 1)) + rng.normal(0, 0.5, (1, 300)) + rng.normal(0, 0.3, (60, 300))
    spread = statistics.difference_over_seeds(a, np.zeros((1, 300)), margin=1).spread
    assert_allclose([spread.seed, spread.task, spread.noise], [0.2, 0.5, 0.3], rtol=0.2)


# Exact tests and corrections.


def test_sign_flips_have_a_smallest_p() -> None:
    assert statistics.smallest_sign_flip_p(5) == 0.0625
    for n in (1, 2, 5, 9):
        assert statistics.sign_flip_p(np.arange(1.0, n + 1), seed=0) == statistics.smallest_sign_flip_p(n)
    with pytest.raises(ValueError, match="got 0"):
        statistics.smallest_sign_flip_p(0)


def test_mcnemar() -> None:
    assert_allclose(statistics.mcnemar_p(9, 3), 0.145996, rtol=1e-5)
    assert_allclose(statistics.mcnemar_p(12, 2), 0.0129395, rtol=1e-5)
    for gained, lost in itertools.product(range(7), repeat=2):
        want = stats.binomtest(gained, gained + lost).pvalue if gained + lost else 1.0
        assert_allclose(statistics.mcnemar_p(gained, lost), want)
    with pytest.raises(ValueError, match="-1 gained"):
        statistics.mcnemar_p(-1, 2)


def test_mcnemar_keeps_its_level() -> None:
    for n in (5, 20, 60):
        p = [statistics.mcnemar_p(c, n - c) for c in range(n + 1)]
        false = sum(comb(n, c) for c in range(n + 1) if p[c] <= 0.05) / 2**n
        assert false <= 0.05


def test_clustered_error() -> None:
    attempts = [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    assert_allclose(statistics.clustered_error(attempts), 0.228218, rtol=1e-5)
    assert_allclose(sqrt(0.5 * 0.5 / 16), 0.125)  # of attempts that were independent
    for wrong in ([[1, 0]], [[1, 0], [1]]):
        with pytest.raises(ValueError, match="two tasks"):
            statistics.clustered_error(wrong)


def test_clustered_errors_are_as_large_as_means_vary() -> None:
    rng = np.random.default_rng(0)
    rates = rng.beta(0.5, 0.5, (400, 40, 1))
    passed = (rng.random((400, 40, 4)) < rates).astype(float)
    told = np.mean([statistics.clustered_error(one.tolist()) for one in passed])
    assert_allclose(told, passed.mean((1, 2)).std(), rtol=0.12)


def test_holm() -> None:
    assert_allclose(statistics.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert_allclose(statistics.holm([0.2]), [0.2])
    assert_allclose(statistics.holm([0.9, 0.8]), [1, 1])
    got = statistics.holm([0.01, np.nan, 0.02])
    assert_allclose(got[[0, 2]], [0.03, 0.04])
    assert isnan(got[1])


def test_holm_keeps_the_level_of_one_test_over_all() -> None:
    p = np.random.default_rng(0).random((2000, 5))
    false = np.mean([(statistics.holm(one) <= 0.05).any() for one in p])
    assert abs(false - 0.05) < 4 * sqrt(0.05 * 0.95 / 2000)


def test_benjamini_hochberg() -> None:
    p = np.random.default_rng(0).random(20) ** 3
    assert_allclose(statistics.benjamini_hochberg(p), stats.false_discovery_control(p))


# Profiles and improvement.


def test_performance_profile() -> None:
    scores = np.array([[0.1, 0.5], [0.3, 0.9]])
    profile = statistics.performance_profile(scores, [0.0, 0.2, 0.5, 0.9])
    assert [one.point for one in profile] == [1, 0.75, 0.25, 0]
    assert all(0 <= one.low <= one.point <= one.high <= 1 for one in profile if not isnan(one.low))


def test_bands_of_a_profile_cover() -> None:
    rng, covered = np.random.default_rng(0), 0
    for _ in range(200):
        scores = rng.normal(0, 0.3, (3, 1)) + rng.normal(0, 1, (1, 40)) + rng.normal(0, 0.5, (3, 40))
        (band,) = statistics.performance_profile(scores, [0.5])
        covered += band.low <= stats.norm.sf(0.5, scale=sqrt(0.3**2 + 1 + 0.5**2)) <= band.high
    assert covered / 200 >= 0.9


def test_improvement_over_paired_seeds() -> None:
    a, b = np.array([[1.0, 0.0], [1.0, 1.0]]), np.array([[0.0, 0.0], [1.0, 0.0]])
    assert_allclose(statistics.beaten(a, b), [[1, 0.5], [0.5, 1]])
    assert_allclose(statistics.over_seeds(statistics.beaten(a, b)).point, 0.75)


def test_crossed_resamples_share_their_tasks() -> None:
    """Where only tasks vary, the bootstrap sees them; tasks drawn anew in each run would hide most of it."""
    tasks = np.random.default_rng(0).normal(0, 1, 50)
    scores = np.tile(tasks, (10, 1))
    found = statistics.crossed_bootstrap(scores, statistics.mean, seed=0, reps=2000)
    assert_allclose(found.high - found.low, 2 * 1.96 * tasks.std() / sqrt(50), rtol=0.1)
    assert found == statistics.crossed_bootstrap(scores, statistics.mean, seed=0, reps=2000)


@pytest.mark.parametrize("degrees", [1, 2, 3, 4, 9, 999])
def test_chi_square(degrees: int) -> None:
    for p in (0.001, 0.025, 0.5, 0.975):
        assert_allclose(chi_square_quantile(p, degrees), stats.chi2.ppf(p, degrees), rtol=1e-7)


def test_the_interval_of_a_deviation_holds_the_true_one() -> None:
    rng = np.random.default_rng(3)
    found = [statistics.deviation_over_seeds(rng.normal(0, 2.0, (5, 1))) for _ in range(1000)]
    assert_allclose(np.mean([each.low <= 2.0 <= each.high for each in found]), 0.95, atol=0.03)
    assert isnan(statistics.deviation_over_seeds([[1.0, 2.0]]).point)
