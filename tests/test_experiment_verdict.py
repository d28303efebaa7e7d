"""The claims that scores of arms carry, and how often they are false."""

from __future__ import annotations

from math import sqrt

import numpy as np
import pytest
from numpy.random import Generator

from togi.evidence.experiment.claim_sentences import power_after, power_before
from togi.evidence.experiment.verdict import Verdict, verdict
from togi.statistics import Spread


def passes(rate: float, *, seeds: int = 3, tasks: int = 200, spread: float = 0.01, chance: int = 0) -> np.ndarray:
    """Shares of right attempts, the same difficulty of each task in every table."""
    rng = np.random.default_rng(chance)
    difficulty = np.random.default_rng(99).normal(0, 0.1, (1, tasks))
    table = rate + difficulty + rng.normal(0, spread, (seeds, 1)) + rng.normal(0, 0.05, (seeds, tasks))
    return np.clip(table, 0, 1)


START = passes(0.4, chance=1)
GOOD = passes(0.6, chance=2)
SAME = passes(0.4, spread=0.001, chance=3)
BAD = passes(0.25, chance=4)
LUCKY = passes(0.6, chance=5)
WILD = passes(0.45, spread=0.1, chance=6)


def failed(table: np.ndarray, *rows: int) -> np.ndarray:
    left = table.copy()
    left[list(rows)] = np.nan
    return left


def only(found: Verdict) -> str:
    (one,) = found.arms
    return " ".join(one.sentences)


@pytest.mark.parametrize(
    ("arm", "claim", "words"),
    [
        (
            GOOD,
            "better",
            "better than start: +19.2 points (95% interval +16.9 to +21.5 points; 3 seeds, 200 tasks; p < 0.001)",
        ),
        (BAD, "worse", "arm is worse than start: -1"),
        (SAME, "equivalent", "arm is equivalent to start within 5.0 points"),
        (WILD, "not decided", "Not decided whether arm is better or worse than start"),
        (GOOD[:1], "not decided", "One seed does not show how seeds differ"),
        (failed(GOOD, 1), "not decided", "200 scores are missing, 1 whole seed among them"),
        (failed(GOOD, 0, 1, 2), "not decided", "no seed was scored on both sides"),
    ],
)
def test_the_claim_is_the_one_that_the_numbers_carry(arm: np.ndarray, claim: str, words: str) -> None:
    found = verdict({"start": START[: len(arm)], "arm": arm}, reference="start", margin=0.05)
    assert found.arms[0].compared.claim == claim
    assert words in only(found)


def test_a_single_score_that_is_missing_does_not_undo_a_claim() -> None:
    arm = GOOD.copy()
    arm[0, 0] = np.nan
    found = verdict({"start": START, "arm": arm}, reference="start", margin=0.05)
    compared = found.arms[0].compared
    assert compared.claim == "better"
    assert compared.low_bound is not None
    assert compared.high_bound is not None
    assert compared.low_bound.point < compared.found.point < compared.high_bound.point
    assert "A claim must hold both times." in only(found)
    unbounded = verdict({"start": START, "arm": arm}, reference="start", margin=0.05, bounds=None)
    assert unbounded.arms[0].compared.claim == "not decided"
    assert "nothing bounds what they could have been" in only(unbounded)


def test_a_difference_that_is_real_but_small_is_equivalent() -> None:
    arm = np.clip(START + 0.01 + np.random.default_rng(0).normal(0, 0.001, START.shape), 0, 1)
    assert "They do differ" in only(verdict({"start": START, "arm": arm}, reference="start", margin=0.05))


def test_a_gain_that_a_control_shows_too_is_no_evidence() -> None:
    scores = {"start": START, "arm": GOOD, "random reward": LUCKY, "format only": SAME}
    found = verdict(scores, reference="start", margin=0.05, controls=["random reward", "format only"])
    assert found.arms[0].compared.claim == "better"
    assert found.arms[0].evidence == "none"
    assert [one.claim for one in found.controls] == ["better", "equivalent"]
    words = only(found)
    assert "The control random reward shows the gain too" in words
    assert "no evidence for the reward" in words
    assert "The control format only" not in words


def test_a_gain_beyond_every_control_is_evidence() -> None:
    scores = {"start": START, "arm": GOOD, "random reward": SAME, "format only": BAD}
    found = verdict(scores, reference="start", margin=0.05, controls=["random reward", "format only"])
    assert found.arms[0].evidence == "for the arm"
    assert "also better than every control (random reward, format only)" in only(found)
    alone = verdict({"start": START, "arm": GOOD}, reference="start", margin=0.05)
    assert alone.arms[0].evidence == "no control"
    assert "There was no control" in only(alone)


def test_a_control_that_failed_proves_nothing() -> None:
    scores = {"start": START, "arm": GOOD, "random reward": failed(SAME, 0, 1)}
    found = verdict(scores, reference="start", margin=0.05, controls=["random reward"])
    assert found.arms[0].compared.claim == "better"
    assert found.arms[0].evidence == "none"
    for order in (["format only", "random reward"], ["random reward", "format only"]):
        beside = {"start": START, "arm": GOOD, "random reward": failed(SAME, 0), "format only": BAD}
        unbounded = verdict(beside, reference="start", margin=0.05, controls=order, bounds=None)
        assert unbounded.arms[0].evidence == "none"


def test_what_was_not_trained_has_one_row() -> None:
    found = verdict({"start": START[:1], "arm": GOOD}, reference="start", margin=0.05, untrained=["start"])
    assert found.arms[0].compared.claim == "better"
    gone = failed(GOOD, 2)
    still = verdict({"start": START[:1], "arm": gone}, reference="start", margin=0.05, untrained=["start"])
    assert still.arms[0].compared.found.seeds == 2


def test_many_arms_are_held_to_the_level_of_one() -> None:
    alone = verdict({"start": START, "arm": GOOD}, reference="start", margin=0.05)
    others = {f"other {i}": passes(0.4, chance=20 + i) for i in range(4)}
    among = verdict({"start": START, "arm": GOOD, **others}, reference="start", margin=0.05)
    assert np.isclose(among.arms[0].compared.p, min(1, 5 * alone.arms[0].compared.p))


def test_seeds_that_change_nothing_are_told() -> None:
    found = verdict({"start": START, "arm": np.tile(GOOD[:1], (3, 1))}, reference="start", margin=0.05)
    assert found.arms[0].compared.claim == "not decided"
    assert "Seeds that all give the same scores are one." in only(found)
    half = failed(np.tile(GOOD[:1], (3, 1)), 0)
    assert (
        verdict({"start": START, "arm": half}, reference="start", margin=0.05).arms[0].compared.claim == "not decided"
    )
    start = np.tile([0.0, 1.0], (3, 50))
    perfect = verdict({"start": start, "arm": np.ones((3, 100))}, reference="start", margin=0.05)
    assert perfect.arms[0].compared.claim == "better"
    ones = np.ones((3, 40))
    told = only(verdict({"start": ones, "arm": ones}, reference="start", margin=0.05))
    assert "these tasks cannot tell arms apart" in told


@pytest.mark.parametrize(
    ("scores", "options", "message"),
    [
        ({"start": START, "arm": GOOD[:, :5]}, {}, "only be compared on the same tasks"),
        ({"start": START, "arm": GOOD[:2]}, {}, "a seed that failed is a row of nan"),
        ({"start": START, "arm": GOOD}, {"reference": "base"}, "no scores of base; there are those of start, arm"),
        ({"start": START, "arm": GOOD}, {"controls": ["start"]}, "cannot be a control as well"),
        ({"start": START, "arm": GOOD}, {"untrained": ["start"]}, "one row of scores; start has 3"),
        ({"start": START, "arm": GOOD * 10}, {}, "give the true bounds, or None"),
        ({"start": START, "arm": GOOD[0]}, {}, "seeds by tasks for every arm"),
        ({"start": START, "arm": GOOD}, {"margin": 0}, "smallest difference that matters"),
        ({"start": START, "arm": GOOD}, {"level": 95}, r"such as 0\.95"),
    ],
)
def test_what_cannot_be_judged_is_refused(scores: dict, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        verdict(scores, **{"reference": "start", "margin": 0.05, **options})


def test_power_is_told_in_points() -> None:
    before = power_before(Spread(seed=0.02, task=0.05, noise=0.3), tasks=400, margin=0.03)
    assert before.startswith("With 400 tasks, a difference that is seen four times in five: 3 seeds: ")
    assert "For 3.0 points it takes " in before
    few = power_before(Spread(seed=0.02, task=0.5, noise=0.3), tasks=20, margin=0.05)
    assert "no number of seeds is enough" in few
    found = verdict({"start": START, "arm": WILD}, reference="start", margin=0.05).arms[0].compared.found
    assert "differences above" in power_after(found, margin=0.05)


# How often "better" is false, over all arms and whatever the seeds are like.


def normal(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    return rng.normal(0, 0.05, shape)


def heavy(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    return 0.03 * rng.standard_t(2, shape)


def collapsing(rng: Generator, shape: tuple[int, ...]) -> np.ndarray:
    """One training in five falls apart."""
    return rng.normal(0, 0.02, shape) - 0.3 * (rng.random(shape) < 0.2)


def false_claims(seeds_vary: object, *, arms: int, seeds: int, repeats: int) -> float:
    rng, false = np.random.default_rng(0), 0
    for _ in range(repeats):
        task = rng.normal(0.5, 0.1, (1, 40))
        scores = {
            str(i): task + seeds_vary(rng, (seeds, 1)) + rng.normal(0, 0.1, (seeds, 40))  # type: ignore[operator]
            for i in range(arms + 1)
        }
        found = verdict(scores, reference="0", margin=0.001, bounds=None)
        false += any(one.compared.claim == "better" for one in found.arms)
    return false / repeats


@pytest.mark.parametrize("seeds_vary", [normal, heavy, collapsing])
def test_better_is_seldom_false_with_three_seeds(seeds_vary: object) -> None:
    assert false_claims(seeds_vary, arms=1, seeds=3, repeats=60) <= 0.05 + 4 * sqrt(0.05 * 0.95 / 60)


@pytest.mark.slow
@pytest.mark.parametrize("seeds_vary", [normal, heavy, collapsing])
@pytest.mark.parametrize(("arms", "seeds"), [(1, 3), (3, 3), (3, 5), (1, 8)])
def test_better_is_seldom_false(seeds_vary: object, arms: int, seeds: int) -> None:
    assert false_claims(seeds_vary, arms=arms, seeds=seeds, repeats=1000) <= 0.05
