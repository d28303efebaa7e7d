"""Simulated steps are those that are reckoned by hand."""

from __future__ import annotations

import numpy as np
import pytest

from togi.scale.simulation import Layout, Rates, drawn_lengths, simulate

ONE = Rates(round_seconds=1, row_seconds=0)  # a token a second, however many answers
ALIKE = np.full((4, 2, 2), 10)  # four steps of two groups of two answers of 10 tokens


@pytest.mark.parametrize(
    ("rates", "layout", "lengths", "seconds"),
    [
        # The learner draws itself: 10 rounds, then 3 + 40 * 0.1 to learn.
        (Rates(round_seconds=1, row_seconds=0, step_seconds=3, token_seconds=0.1), Layout(), ALIKE, 17),
        # Rows cost too: 10 rounds of 1 + 4 * 0.5.
        (Rates(round_seconds=1, row_seconds=0.5), Layout(), ALIKE, 30),
        # Two slots: twice 10 rounds, of 1 + 2 * 0.5.
        (Rates(round_seconds=1, row_seconds=0.5), Layout(slots=2), ALIKE, 40),
        # Two engines have two answers each.
        (Rates(round_seconds=1, row_seconds=0.5), Layout(engines=2), ALIKE, 20),
        # On one place they halve each other's speed.
        (Rates(round_seconds=1, row_seconds=0.5), Layout(engines=2, places=1), ALIKE, 40),
        # Unlike answers: 4 rows for 2 tokens, then 2 rows for 4 more.
        (Rates(round_seconds=0, row_seconds=1), Layout(), np.array([[[2, 6], [2, 6]]]), 2 * 4 + 4 * 2),
        # Three rows in two slots: the third enters when the first ends, after 2 rounds, and ends at round 7.
        (ONE, Layout(slots=2), np.array([[[2, 4, 5]]]), 7),
        # A score of 0.5 s an answer, all of a step after the last one.
        (Rates(round_seconds=1, row_seconds=0, grade_seconds=0.5), Layout(), ALIKE, 12),
        # To publish takes 2 s, and nothing where the learner draws itself.
        (Rates(round_seconds=1, row_seconds=0, publish_seconds=2), Layout(engines=1), ALIKE, 12),
        (Rates(round_seconds=1, row_seconds=0, publish_seconds=2), Layout(), ALIKE, 10),
        # Two learners share tokens, not what a step takes besides.
        (Rates(round_seconds=1, row_seconds=0, step_seconds=3, token_seconds=0.1), Layout(learners=2), ALIKE, 15),
        # One step ahead the longer side is all that counts.
        (Rates(round_seconds=1, row_seconds=0, step_seconds=10), Layout(engines=1, staleness=1), ALIKE, 10),
        (Rates(round_seconds=1, row_seconds=0, step_seconds=4), Layout(engines=1, staleness=1, slots=4), ALIKE, 10),
        (Rates(round_seconds=1, row_seconds=0, step_seconds=25), Layout(engines=1, staleness=1), ALIKE, 25),
        # Both on one place: nothing is won.
        (
            Rates(round_seconds=1, row_seconds=0, step_seconds=10),
            Layout(engines=1, staleness=1, slots=4, places=1),
            ALIKE,
            20,
        ),
    ],
)
def test_steps_take_what_is_reckoned_by_hand(rates: Rates, layout: Layout, lengths: np.ndarray, seconds: float) -> None:
    assert simulate(rates, layout, lengths).seconds == pytest.approx([seconds] * len(lengths))


def test_steps_of_unlike_lengths_follow_each_other() -> None:
    lengths = np.array([[[3]], [[7]], [[5]]])
    assert simulate(ONE, Layout(), lengths).seconds == pytest.approx([3, 7, 5])


def test_idle_shares_and_ages() -> None:
    """Sampling takes 10 s and learning 10 s: one after the other each is idle half the time, side by side never."""
    rates = Rates(round_seconds=1, row_seconds=0, step_seconds=10)
    plain = simulate(rates, Layout(engines=2), ALIKE)
    assert (plain.step_seconds, plain.engines_idle, plain.learner_idle) == pytest.approx((20, 0.5, 0.5))
    assert plain.ages == {0: 8}
    ahead = simulate(rates, Layout(engines=2, staleness=1, slots=2), ALIKE)
    assert (ahead.step_seconds, ahead.engines_idle, ahead.learner_idle) == pytest.approx((10, 0, 0))
    assert ahead.ages == {1: 8}
    alone = simulate(rates, Layout(), ALIKE)
    assert alone.learner_idle == pytest.approx(0)


def test_more_staleness_hides_a_long_answer() -> None:
    """Every fourth step has an answer of 40 tokens: it is waited for 10 s less with each step ahead."""
    lengths = np.full((8, 1, 4), 4)
    lengths[::4, 0, 0] = 40
    rates = Rates(round_seconds=1, row_seconds=0, step_seconds=10)
    waits = [simulate(rates, Layout(engines=1, staleness=s), lengths).step_seconds for s in (0, 1, 3, 4)]
    assert waits == pytest.approx([10 + (40 + 3 * 4) / 4, 10 + 30 / 4, 10 + 10 / 4, 10])
    # Engines that drain end the long answer before any step begins whose weights they are to have.
    drained = [Layout(engines=1, staleness=s, drain=True) for s in (0, 1, 3, 4)]
    waits = [simulate(rates, layout, lengths).step_seconds for layout in drained]
    assert waits == pytest.approx([10 + (40 + 3 * 4) / 4, *[10 + 30 / 4] * 3])


def test_lengths_come_from_whole_groups() -> None:
    drawn = drawn_lengths([[1, 2], [8, 9]], steps=5, groups=4, attempts=2)
    assert {tuple(map(int, group)) for step in drawn for group in step} == {(1, 2), (8, 9)}
    other = drawn_lengths([[1, 2], [8, 9]], steps=5, groups=4, attempts=6)
    assert other.shape == (5, 4, 6)
    assert all(len({int(each) > 5 for each in group}) == 1 for step in other for group in step)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="staleness 1 needs engines"):
        Layout(staleness=1)
    with pytest.raises(ValueError, match="at least 1 token"):
        simulate(ONE, Layout(), np.zeros((1, 1, 1)))
