"""Statistics against exact small cases, published numbers, and by simulation of what an interval promises."""

from __future__ import annotations

import itertools
from collections import Counter
from math import comb
from typing import Literal

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose
from scipy import stats

from togi import statistics
from togi.statistics import Interval, resampling


def close(got: object, want: object) -> None:
    assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def ends(interval: Interval) -> tuple[float, float]:
    return interval.low, interval.high


# Attempts at one task.


def test_pass_at_k() -> None:
    close(statistics.pass_at_k(10, 3, 1), 0.3)
    close(statistics.pass_at_k(10, 3, 5), 0.916667)
    close(statistics.pass_at_k(10, 3, 8), 1)
    close(statistics.pass_at_k(200, 1, 100), 0.5)
    close(1 - (1 - 3 / 10) ** 5, 0.83193)  # the biased form, which is another number
    close(statistics.pass_hat_k(10, 7, 3), 0.291667)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))))
@settings(max_examples=40, deadline=None)
def test_pass_at_k_by_enumeration(case: tuple[int, int]) -> None:
    n, c = case
    attempts = [True] * c + [False] * (n - c)
    some, every = [], []
    for k in range(1, n + 1):
        subsets = list(itertools.combinations(attempts, k))
        some.append(statistics.pass_at_k(n, c, k))
        every.append(statistics.pass_hat_k(n, c, k))
        close(some[-1], np.mean([any(s) for s in subsets]))
        close(every[-1], np.mean([all(s) for s in subsets]))
    close(some[0], c / n)
    assert some == sorted(some)
    assert every == sorted(every, reverse=True)


@pytest.mark.parametrize(("n", "c", "k"), [(4, 5, 1), (4, -1, 1), (4, 2, 5), (4, 2, 0), (0, 0, 1)])
def test_impossible_counts_are_refused(n: int, c: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"{c} right of {n} attempts, k={k}"):
        statistics.pass_at_k(n, c, k)
    with pytest.raises(ValueError, match="wanted"):
        statistics.pass_hat_k(n, c, k)


@given(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=7))
@settings(max_examples=60, deadline=None)
def test_best_of_k_by_enumeration(scores: list[float]) -> None:
    for k in range(1, len(scores) + 1):
        close(statistics.best_of_k(scores, k), np.mean([max(s) for s in itertools.combinations(scores, k)]))


def test_majority_at_k() -> None:
    votes = [7, 7, 3, 7, 3, 5]
    for k, want in ((1, 0.5), (3, 0.6), (5, 0.75), (6, 1)):
        close(statistics.majority_at_k(votes, 7, k), want)


@given(st.lists(st.sampled_from(["a", "b", "c", "d", None]), min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_majority_at_k_by_enumeration(votes: list[str | None]) -> None:
    def right(drawn: tuple[str | None, ...]) -> float:
        counts = Counter(v for v in drawn if v is not None)
        winners = [v for v, count in counts.items() if count == max(counts.values())]
        return ("a" in winners) / max(len(winners), 1)

    for k in range(1, len(votes) + 1):
        want = np.mean([right(s) for s in itertools.combinations(votes, k)])
        close(statistics.majority_at_k(votes, "a", k), want)


def test_majority_of_many_votes_is_exact_and_quick() -> None:
    votes = ["a"] * 40 + ["b"] * 30 + [f"x{i}" for i in range(30)]
    assert 0.9 < statistics.majority_at_k(votes, "a", 64) < 1


# Intervals over tasks.


def test_the_task_is_the_unit_of_resampling() -> None:
    attempts = [[1, 1, 1, 0], [1, 0, 0, 0], [0, 0, 0, 0], [1, 1, 1, 1]]
    means = np.array([np.mean(a) for a in attempts])
    drawn = statistics.replicates(means[:, None], statistics.mean, seed=0)
    assert len(drawn) == 4**4  # enumerated
    # The textbook standard error clustered by task, which is almost twice the one of 16 independent attempts.
    close(drawn.std() * np.sqrt(4 / 3), 0.228218)
    interval = statistics.bootstrap_mean(attempts, seed=0)
    close(interval.point, 0.5)
    close(ends(interval), np.quantile([np.mean(s) for s in itertools.product(means, repeat=4)], [0.025, 0.975]))


def test_tasks_count_alike_however_many_attempts_they_have() -> None:
    assert statistics.bootstrap_mean([[1], [0, 0, 0, 0, 0]], seed=0).point == 0.5


def test_the_interval_follows_the_seed_alone() -> None:
    values = np.random.default_rng(0).random((30, 4)).tolist()
    first = statistics.bootstrap_mean(values, seed=1, reps=500)
    np.random.seed(5)
    assert statistics.bootstrap_mean(values, seed=1, reps=500) == first
    assert ends(statistics.bootstrap_mean(values, seed=2, reps=500)) != ends(first)


def test_the_interval_agrees_with_the_normal_one_on_many_tasks() -> None:
    values = np.random.default_rng(0).random((400, 3))
    means = values.mean(1)
    half = 1.96 * means.std() / np.sqrt(400)
    interval = statistics.bootstrap_mean(values.tolist(), seed=0, reps=5000)
    assert_allclose(ends(interval), [means.mean() - half, means.mean() + half], atol=half * 0.1)
    wider = statistics.bootstrap_mean(values.tolist(), seed=0, reps=5000, level=0.99)
    assert wider.low < interval.low < interval.high < wider.high


def test_the_interval_covers_what_it_says() -> None:
    """40 tasks whose difficulty varies, 4 attempts each: 95% intervals cover near 95%, attempt-wise ones do not."""
    rng = np.random.default_rng(0)
    clustered = attemptwise = 0
    trials = 300
    for trial in range(trials):
        difficulty = rng.beta(0.5, 0.5, 40)
        values = (rng.random((40, 4)) < difficulty[:, None]).astype(float)
        interval = statistics.bootstrap_mean(values.tolist(), seed=trial, reps=400)
        clustered += interval.low <= 0.5 <= interval.high
        apart = statistics.bootstrap_mean(values.reshape(-1, 1).tolist(), seed=trial, reps=400)
        attemptwise += apart.low <= 0.5 <= apart.high
    assert 0.90 <= clustered / trials <= 0.98
    assert attemptwise / trials < 0.85


def test_one_task_has_no_interval() -> None:
    interval = statistics.bootstrap_mean([[1, 0]], seed=0)
    assert interval.point == 0.5
    assert np.isnan(ends(interval)).all()


@pytest.mark.parametrize("values", [[], [[1.0], []]])
def test_tasks_without_scores_are_refused(values: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one score"):
        statistics.bootstrap_mean(values, seed=0)


def test_scores_that_are_not_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="task 1"):
        statistics.bootstrap_mean([[1.0], [float("nan"), 1.0]], seed=0)


@pytest.mark.parametrize("level", [0.0, 1.0, 95])
def test_a_level_is_a_share(level: float) -> None:
    with pytest.raises(ValueError, match=r"such as 0\.95"):
        statistics.bootstrap_mean([[1.0], [0.0]], seed=0, level=level)


# Paired comparisons.

D = [0.02, 0.01, 0.03, -0.005, 0.015]


def test_sign_flip_exact() -> None:
    paired = statistics.paired_difference([[0.5 + d] for d in D], [[0.5]] * 5, seed=0)
    close(paired.point, 0.014)
    close(paired.p, 0.125)
    close(ends(paired), np.quantile([np.mean(s) for s in itertools.product(D, repeat=5)], [0.025, 0.975]))


def test_sign_flip_is_the_permutation_test_of_scipy() -> None:
    d = np.random.default_rng(2).normal(0.3, 1, 9)
    other = stats.permutation_test((d,), np.mean, permutation_type="samples", n_resamples=np.inf)
    close(statistics.sign_flip_p(d, seed=0), other.pvalue)


def test_sign_flip_of_pass_or_fail_is_the_exact_mcnemar_test() -> None:
    for gained, lost, want in ((9, 3, 0.145996), (12, 2, 0.0129395)):
        a = [[1.0]] * gained + [[0.0]] * lost + [[1.0]] * 20
        b = [[0.0]] * gained + [[1.0]] * lost + [[1.0]] * 20
        close(statistics.paired_difference(a, b, seed=0, reps=50).p, want)


def test_sign_flip_by_chance_is_near_the_exact_one_and_never_zero() -> None:
    gained, lost = 20, 9
    n = gained + lost
    exact = 2 * sum(comb(n, i) for i in range(gained, n + 1)) / 2**n
    got = statistics.sign_flip_p([1.0] * gained + [-1.0] * lost, seed=0, reps=20_000)
    assert_allclose(got, exact, atol=4 * np.sqrt(exact * (1 - exact) / 20_000))
    assert statistics.sign_flip_p(np.ones(60), seed=0, reps=99) == 0.01


def test_no_difference_is_no_evidence() -> None:
    paired = statistics.paired_difference([[1.0], [0.0]], [[1.0], [0.0]], seed=0)
    assert (paired.point, paired.low, paired.high, paired.p) == (0, 0, 0, 1)


def test_pairing_removes_what_the_tasks_share() -> None:
    rng = np.random.default_rng(0)
    task = rng.normal(0, 1, 50)
    a, b = task + 0.1 + rng.normal(0, 0.05, 50), task + rng.normal(0, 0.05, 50)
    paired = statistics.paired_difference(a[:, None].tolist(), b[:, None].tolist(), seed=0, reps=2000)
    assert paired.low > 0
    assert paired.p < 0.01
    alone = statistics.bootstrap_mean(a[:, None].tolist(), seed=0, reps=2000)
    assert paired.high - paired.low < (alone.high - alone.low) / 5


def test_swapping_the_sides_swaps_the_sign() -> None:
    a, b = [[1.0, 0], [0.5], [1], [1]], [[0.0], [1, 0, 0], [1], [0]]
    there, back = (statistics.paired_difference(*pair, seed=0) for pair in ((a, b), (b, a)))
    close([there.point, there.low, there.high, there.p], [-back.point, -back.high, -back.low, back.p])


def test_different_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match="same tasks"):
        statistics.paired_difference([[1.0]], [[1.0], [0.0]], seed=0)


def test_the_permutation_test_keeps_its_level() -> None:
    rng = np.random.default_rng(1)
    p = np.array([statistics.sign_flip_p(rng.normal(size=8), seed=i) for i in range(400)])
    for level in (0.05, 0.2, 0.5):
        assert abs(np.mean(p <= level) - level) < 4 * np.sqrt(level * (1 - level) / 400)


# Runs by tasks.

RUNS = np.array([[0.1, 0.9, 0.5], [0.3, 0.8, 0.2], [0.2, 0.4, 0.7], [0.6, 0.95, 0.1]])


def test_iqm() -> None:
    close(statistics.iqm(RUNS), 0.45)
    close(statistics.mean(RUNS), 0.479167)
    close(np.median(RUNS.mean(axis=0)), 0.375)  # the median over tasks is yet another number
    for shape in ((1, 1), (3, 1), (5, 2), (7, 3)):
        scores = np.random.default_rng(0).random(shape)
        close(statistics.iqm(scores), stats.trim_mean(scores.ravel(), 0.25))


def test_stratified_bootstrap_exact() -> None:
    scores = [[0.1, 0.9], [0.3, 0.8], [0.2, 0.4]]
    drawn = statistics.replicates(scores, statistics.mean, seed=0)
    assert len(drawn) == 729
    close(drawn.std(), 0.0666667)
    interval = statistics.stratified_bootstrap(scores, statistics.mean, seed=0)
    close(interval.point, 0.45)
    close(ends(interval), [0.316667, 0.566667])


def test_stratified_bootstrap_by_chance_is_near_the_exact_one() -> None:
    scores = [[0.1, 0.9], [0.3, 0.8], [0.2, 0.4]]
    drawn = statistics.replicates(scores, statistics.mean, seed=0, reps=700)
    assert len(drawn) == 700
    assert_allclose([drawn.mean(), drawn.std()], [0.45, 0.0666667], atol=0.01)


def test_stratified_bootstrap_keeps_tasks_apart() -> None:
    scores = np.array([[0.0, 100.0], [1.0, 101.0], [2.0, 102.0], [3.0, 103.0], [4.0, 104.0]])
    drawn = statistics.replicates(scores, statistics.mean, seed=0, reps=300)
    assert ((drawn >= 50) & (drawn <= 54)).all()
    by_iqm = statistics.stratified_bootstrap(scores, statistics.iqm, seed=0, reps=300)
    assert by_iqm.low <= by_iqm.point <= by_iqm.high


def test_chunks_do_not_change_the_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "ENTRIES", 64)
    scores = [[0.1, 0.9], [0.3, 0.8], [0.2, 0.4]]
    close(statistics.replicates(scores, statistics.mean, seed=0).std(), 0.0666667)
    assert len(statistics.replicates(scores, statistics.mean, seed=0, reps=101)) == 101
    assert statistics.sign_flip_p(np.ones(60), seed=0, reps=99) == 0.01


def test_a_table_without_scores_is_refused() -> None:
    with pytest.raises(ValueError, match="runs by tasks"):
        statistics.stratified_bootstrap([1.0, 2.0], statistics.mean, seed=0)


def test_probability_of_improvement() -> None:
    x, y = [0.5, 0.6, 0.7], [0.4, 0.6, 0.65]
    close(statistics.probability_of_improvement(x, y), 0.611111)
    close(statistics.probability_of_improvement(y, x), 1 - 0.611111)
    close(statistics.probability_of_improvement(x, x), 0.5)
    with pytest.raises(ValueError, match="got 0 and 1"):
        statistics.probability_of_improvement([], [1.0])


# Proportions.


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (10, 10), (3, 10), (1, 1), (350, 500)])
@pytest.mark.parametrize("level", [0.8, 0.95])
def test_wilson(successes: int, n: int, level: float) -> None:
    want = stats.binomtest(successes, n).proportion_ci(level, method="wilson")
    got = statistics.wilson(successes, n, level=level)
    close(ends(got), [want.low, want.high])
    assert 0 <= got.low <= got.point == successes / n <= got.high <= 1
    assert got.low < got.high


@pytest.mark.parametrize(("successes", "n"), [(-1, 3), (4, 3), (0, 0)])
def test_wilson_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match=f"{successes} of {n}"):
        statistics.wilson(successes, n)


# Agreement of raters.


def test_cohen_kappa() -> None:
    one = statistics.cohen_kappa([[20, 5], [10, 15]])
    close((one.observed, one.expected, one.value), (0.7, 0.5, 0.4))
    close(statistics.cohen_kappa([[5, 0], [0, 5]]).value, 1)
    assert np.isnan(statistics.cohen_kappa([[5, 0], [0, 0]]).value)  # chance alone agrees on everything
    with pytest.raises(ValueError, match=r"square table .*\(2, 3\)"):
        statistics.cohen_kappa(np.ones((2, 3)))


def test_fleiss_kappa() -> None:
    one = statistics.fleiss_kappa([[3, 0, 0], [0, 3, 0], [2, 1, 0], [1, 1, 1], [0, 0, 3]])
    close((one.observed, one.expected, one.value), (0.666667, 0.342222, 0.493243))
    with pytest.raises(ValueError, match="same number of ratings"):
        statistics.fleiss_kappa([[2, 0], [2, 1]])


CANONICAL = (  # four raters, twelve items (Krippendorff 2011, section C)
    (1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None),
    (1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3),
    (None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None),
    (1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None),
)


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743421), ("ordinal", 0.815388), ("interval", 0.849107)])
def test_krippendorff_alpha(level: Literal["nominal", "ordinal", "interval"], alpha: float) -> None:
    ratings = np.array(CANONICAL, np.float64)
    close(statistics.krippendorff_alpha(ratings, level).value, alpha)
    close(statistics.krippendorff_alpha(ratings[::-1, ::-1], level).value, alpha)


def test_two_raters_of_everything_agree_alike_by_alpha_and_pi() -> None:
    ratings = np.array([[0, 0, 1, 1, 0, 1], [0, 1, 1, 1, 0, 0]], np.float64)
    one = statistics.krippendorff_alpha(ratings)
    close(one.observed, 4 / 6)
    close(one.expected, 1 - 2 * 6 * 6 / (12 * 11))  # pairs drawn without replacement from all twelve ratings
    with pytest.raises(ValueError, match="two ratings"):
        statistics.krippendorff_alpha([[1, np.nan], [np.nan, 1]])
