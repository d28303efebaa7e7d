"""Credit for the best of k: published numbers, brute force over all k-sets, and an exact gradient by enumeration."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import combinations, product

import numpy as np
import pytest
from numpy.testing import assert_allclose
from test_batch import sample

from togi.advantages import Array, best_of_k, best_of_k_standardised, leave_one_out
from togi.algorithms import ALGORITHMS, PassAtK
from togi.samplers import Groups

MIXED = np.array([0.2, 0.9, 0.5, 0.1, 0.5, 0.9])


def one(n: int) -> np.ndarray:
    return np.zeros(n, int)


def binary(n: int, right: int) -> np.ndarray:
    return np.array([1.0] * right + [0.0] * (n - right))


@pytest.mark.parametrize(
    ("n", "right", "k", "plus", "minus"),
    [
        (8, 2, 4, 0.522232, -0.174077),
        (4, 1, 2, 0.999998, -0.333333),
        (8, 1, 1, 2.64574, -0.377963),
        (8, 5, 4, 0, 0),
        (8, 0, 4, 0, 0),
        (8, 8, 4, 0, 0),
    ],
)
def test_pass_at_k_training(n: int, right: int, k: int, plus: float, minus: float) -> None:
    got = best_of_k_standardised(binary(n, right), one(n), k=k)
    assert_allclose(got, [plus] * right + [minus] * (n - right), rtol=1e-5, atol=1e-6)
    assert abs(got.sum()) < 1e-6


def test_the_margin_of_the_best_over_all_siblings() -> None:
    """With k = n only the best attempt is paid: what it is better by (the max@k marginal)."""
    got = best_of_k([0.2, 0.9, 0.5, 0.1], one(4), k=4)
    assert_allclose(got / 4, [0, 0.4, 0, 0], atol=1e-12)


@pytest.mark.parametrize("k", [2, 3, 5, 6])
def test_both_rules_are_means_over_all_sets(k: int) -> None:
    n = len(MIXED)
    sets = list(combinations(range(n), k))
    best = np.array([MIXED[list(each)].max() for each in sets])
    for i in range(n):
        companions = combinations([j for j in range(n) if j != i], k - 1)
        raised = np.mean([max(0.0, MIXED[i] - MIXED[list(each)].max()) for each in companions])
        assert_allclose(best_of_k(MIXED, one(n), k=k)[i], k * raised)
        own = np.mean([value for value, each in zip(best, sets, strict=True) if i in each])
        want = (own - best.mean()) / (best.std() + 1e-6)
        assert_allclose(best_of_k_standardised(MIXED, one(n), k=k)[i], want, atol=1e-9)


@pytest.mark.parametrize(("n", "k"), [(2, 1), (2, 2), (3, 2), (4, 2), (4, 3), (4, 4)])
def test_the_gradient_of_the_best_of_k_is_unbiased(n: int, k: int) -> None:
    """Three answers, every group of n that can be drawn: the mean of the estimate is the gradient itself."""
    logits, worth = np.array([0.3, -0.2, 0.5]), np.array([0.0, 1.0, 0.4])
    p = np.exp(logits) / np.exp(logits).sum()
    score = np.eye(3) - p  # d log p(answer) / d logits, a row an answer

    def objective(x: np.ndarray) -> float:
        q = np.exp(x) / np.exp(x).sum()
        return sum(math.prod(q[list(drawn)]) * worth[list(drawn)].max() for drawn in product(range(3), repeat=k))

    exact = [(objective(logits + h) - objective(logits - h)) / 2e-6 for h in 1e-6 * np.eye(3)]
    estimate = np.zeros(3)
    for drawn in product(range(3), repeat=n):
        rows = list(drawn)
        advantage = best_of_k(worth[rows], one(n), k=k)
        estimate += math.prod(p[rows]) * (advantage @ score[rows]) / n
    assert_allclose(estimate, exact, atol=1e-8)


def test_groups_are_apart_and_small_ones_tell_nothing() -> None:
    reward, group = np.array([1.0, 0, 1, 0, 0, 1]), np.array([5, 5, 2, 2, 2, 9])
    got = best_of_k(reward, group, k=3)
    assert_allclose(got, [0, 0, 3, 0, 0, 0])
    assert_allclose(best_of_k(reward, group, k=1), leave_one_out(reward, group))
    for rule in (best_of_k, best_of_k_standardised):
        with pytest.raises(ValueError, match="at least 1"):
            rule(reward, group, k=0)


@pytest.mark.parametrize(("name", "rule"), [("pass_at_k", best_of_k), ("pass_at_k_training", best_of_k_standardised)])
def test_the_algorithm_gives_the_rules_credit(name: str, rule: Callable[..., Array]) -> None:
    worth = [1.0, 0.0, 0.0, 1.0, 0.0]
    rows = [replace(sample(3, trajectory=i), reward=reward) for i, reward in enumerate(worth)]
    credited = replace(ALGORITHMS[name], k=2).credit(rows, {})  # type: ignore[type-var]
    assert_allclose([each.advantage[-1] for each in credited], rule(worth, one(5), k=2), rtol=1e-6)  # type: ignore[index]


def test_groups_smaller_than_k_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 8 attempts: got 4"):
        PassAtK(sampler=Groups(4), k=8)
    with pytest.raises(ValueError, match="k of at least 1"):
        PassAtK(k=0)
    assert replace(ALGORITHMS["pass_at_k_training"], k=2).standardised  # type: ignore[type-var,attr-defined]
