"""Credit rules and averaging weights against hand-computed numbers and by their properties."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from numpy.testing import assert_allclose
from numpy.typing import NDArray

from togi import advantages as adv

Array = NDArray[np.float64]
Rule = Callable[[Array, Array], Array]

R1, R2 = [1.0, 0, 0, 1], [0.0, 0, 0, 1]
REWARD = np.array(R1 + R2)
GROUP = np.array([0] * 4 + [1] * 4)
LENGTH = np.array([2, 3, 4, 1, 3, 2, 2, 1])


def close(got: object, want: object) -> None:
    assert_allclose(got, want, rtol=1e-5, atol=1e-6)


# Token rewards and generalised advantage estimation.

LOGP, REF, VALUE = [-0.5, -1, -0.2, -0.7], [-0.6, -0.8, -0.5, -0.7], np.array([0.1, 0.2, 0.3, 0.4])
ALL4 = np.ones(4, bool)


def test_kl_in_reward_pays_at_the_last_trained_token() -> None:
    close(adv.kl_in_reward(1.0, LOGP, REF, ALL4, beta=0.1), [-0.01, 0.02, -0.03, 1])


def test_kl_in_reward_ignores_what_is_masked() -> None:
    reward = adv.kl_in_reward(1.0, [np.nan, *LOGP, -np.inf], [-np.inf, *REF, np.nan], [False, *ALL4, False], beta=0.1)
    close(reward, [0, -0.01, 0.02, -0.03, 1, 0])
    close(adv.kl_in_reward(1.0, LOGP, REF, ~ALL4, beta=0.1), np.zeros(4))


@pytest.mark.parametrize(
    ("gamma", "lam", "advantage", "returns"),
    [
        (1.0, 0.95, [0.7816, 0.728, 0.64, 0.6], [0.8816, 0.928, 0.94, 1]),
        (0.99, 0.95, [0.755564, 0.709797, 0.6303, 0.6], [0.855564, 0.909797, 0.9303, 1]),
        (1.0, 1.0, [0.88, 0.79, 0.67, 0.6], [0.98, 0.99, 0.97, 1]),
    ],
)
def test_gae(gamma: float, lam: float, advantage: list[float], returns: list[float]) -> None:
    got = adv.gae([-0.01, 0.02, -0.03, 1], VALUE, ALL4, gamma=gamma, lam=lam)
    close(got, advantage)
    close(got + VALUE, returns)


def test_gae_bootstraps_a_cut_episode() -> None:
    close(
        adv.gae([-0.01, 0.02, -0.03, 0], VALUE, ALL4, gamma=1, lam=0.95, bootstrap=0.5),
        [0.352912, 0.27675, 0.165, 0.1],
    )


def test_gae_steps_over_tokens_the_policy_did_not_write() -> None:
    mask = np.array([True, True, False, False, True])
    reward, value = np.array([0.0, 0, 0, 0, 1]), np.array([0.1, 0.2, 9, 9, 0.4])
    close(adv.gae(reward, value, mask, gamma=1, lam=0.95), [0.8315, 0.77, 0, 0, 0.6])
    # Running through them at value 0 gives other credit; this is what stepping over avoids.
    through = adv.gae(reward, value * mask, np.ones(5, bool), gamma=1, lam=0.95) * mask
    close(through, [0.741654, 0.675425, 0, 0, 0.6])


@given(st.lists(st.tuples(*[st.floats(-2, 2)] * 2, st.booleans()), min_size=1, max_size=12), st.floats(0.1, 1))
@settings(max_examples=50, deadline=None)
def test_gae_identities(rows: list[tuple[float, float, bool]], gamma: float) -> None:
    reward, value = np.array([r for r, _, _ in rows]), np.array([v for _, v, _ in rows])
    mask, every = np.array([m for _, _, m in rows]), np.ones(len(rows), bool)
    togo = adv.reward_to_go(reward, gamma)
    close(adv.gae(reward, np.zeros_like(value), every, gamma=gamma, lam=1.0), togo)
    close(adv.gae(reward, value, every, gamma=gamma, lam=1.0), togo - value)
    td = reward + gamma * np.append(value[1:], 0.0) - value
    close(adv.gae(reward, value, every, gamma=gamma, lam=0.0), td)
    holes = np.where(mask, 0.0, np.nan)
    got = adv.gae(reward + holes, value + holes, mask, gamma=gamma, lam=0.9)
    close(got[mask], adv.gae(reward[mask], value[mask], every[mask], gamma=gamma, lam=0.9))
    assert not got[~mask].any()


def test_reward_to_go_discounts() -> None:
    close(adv.reward_to_go([1, 2, 4]), [7, 6, 4])
    close(adv.reward_to_go([1, 2, 4], 0.5), [3, 4, 4])
    assert adv.reward_to_go([]).shape == (0,)


# Whitening.


def test_whiten() -> None:
    x = [1.0, 2, 3, 4]
    close(adv.whiten(x), [-1.1619, -0.387298, 0.387298, 1.1619])
    close(adv.whiten(x, ddof=0), [-1.34164, -0.447214, 0.447214, 1.34164])
    close(adv.whiten(x, shift_mean=False), [1.3381, 2.1127, 2.8873, 3.6619])


def test_whiten_ignores_masked_entries_in_any_shape() -> None:
    x = np.array([[1.0, 2, np.nan], [3, 4, -np.inf]])
    mask = np.array([[True, True, False], [True, True, False]])
    close(adv.whiten(x, mask), [[-1.1619, -0.387298, 0], [0.387298, 1.1619, 0]])


def test_whiten_survives_one_entry_and_none() -> None:
    close(adv.whiten([3.0]), [0])
    close(adv.whiten([3.0], shift_mean=False), [3])
    close(adv.whiten([3.0, 4], [False, False]), [0, 0])


# Group baselines.

GRPO_1E4 = [0.865875, -0.865875, -0.865875, 0.865875, -0.4999, -0.4999, -0.4999, 1.4997]
GRPO_1E6 = [0.866024, -0.866024, -0.866024, 0.866024, -0.499999, -0.499999, -0.499999, 1.5]
GRPO_POP = [1, -1, -1, 1, -0.57735, -0.57735, -0.57735, 1.73205]


def test_group_mean_std() -> None:
    close(adv.group_mean_std(REWARD, GROUP), GRPO_1E4)
    close(adv.group_mean_std(REWARD, GROUP, eps=1e-6), GRPO_1E6)
    close(adv.group_mean_std(REWARD, GROUP, eps=1e-8, ddof=0), GRPO_POP)


def test_group_centred() -> None:
    close(adv.group_centred(REWARD, GROUP), [0.5, -0.5, -0.5, 0.5, -0.25, -0.25, -0.25, 0.75])


def test_leave_one_out() -> None:
    got = adv.leave_one_out(REWARD, GROUP)
    close(got, [0.666667, -0.666667, -0.666667, 0.666667, -0.333333, -0.333333, -0.333333, 1])
    close(got / adv.group_centred(REWARD, GROUP), np.full(8, 1.33333))


def test_reinforce_plus_plus() -> None:
    first = adv.reward_to_go(adv.kl_in_reward(1.0, [0.1, -0.2, 0.3], np.zeros(3), np.ones(3), beta=0.1))
    second = adv.reward_to_go(adv.kl_in_reward(0.0, [0.2, 0.1], np.zeros(2), np.ones(2), beta=0.1))
    close(first, [0.98, 0.99, 0.97])
    close(second, [-0.03, -0.01])
    tokens = np.concatenate([first, second])
    close(adv.whiten(tokens), [0.730175, 0.748429, 0.711921, -1.11352, -1.07701])
    close(adv.whiten(tokens, ddof=0), [0.816361, 0.83677, 0.795952, -1.24495, -1.20413])


def test_reinforce_plus_plus_baseline_per_sequence_keeps_signs_and_per_token_shifts_them() -> None:
    centred = adv.group_centred(REWARD, GROUP)
    close(adv.whiten(centred), [1, -1, -1, 1, -0.5, -0.5, -0.5, 1.5])
    tokens = np.repeat(centred, LENGTH)
    close(tokens.mean(), -0.166667)
    close(tokens.std(ddof=1), 0.420084)
    first = np.cumsum(LENGTH) - LENGTH
    want = [1.58698, -0.793492, -0.793492, 1.58698, -0.198373, -0.198373, -0.198373, 2.1821]
    close(adv.whiten(tokens)[first], want)


def test_two_attempts_have_a_spread() -> None:
    """Of 1 and 0 about 1/2 with Bessel's correction: the root of 1/2."""
    close(adv.group_mean_std([1.0, 0], [0, 0], eps=0), [0.707107, -0.707107])
    close(adv.group_mean_batch_std([1.0, 0], [0, 0], eps=0), [0.707107, -0.707107])
    close(adv.group_centred_whitened([1.0, 0], [0, 0]), [0.707107, -0.707107])
    close(adv.whiten([0.0, 2]), [-0.707107, 0.707107])


def test_whitening_adds_to_the_variance() -> None:
    """Of 0 and 2e-4 the variance is 2e-8, and 3e-8 with what is added."""
    close(adv.whiten([0.0, 2e-4]), [-0.57735, 0.57735])


def test_group_centred_whitened() -> None:
    """Whitened over all eight, of which a flat group takes two."""
    reward, group = [*R1, 0.3, 0.3, 0.5, 1.0], [0] * 4 + [1, 1] + [2, 2]
    centred = np.array([0.5, -0.5, -0.5, 0.5, 0, 0, -0.25, 0.25])
    close(adv.group_centred_whitened(reward, group), centred / np.sqrt((4 * 0.25 + 2 * 0.0625) / 7))


def test_remax() -> None:
    close(adv.remax([1, 0.2, 0.7], [0.5, 0.5, 0.5]), [0.5, -0.3, 0.2])


def test_opo() -> None:
    got = adv.opo(REWARD, GROUP, LENGTH)
    close(REWARD - got, [0.3] * 4 + [0.125] * 4)
    close(got, [0.7, -0.3, -0.3, 0.7, -0.125, -0.125, -0.125, 0.875])


def test_group_mean_batch_std() -> None:
    close(REWARD.std(ddof=1), 0.517549)
    want = [0.965905, -0.965905, -0.965905, 0.965905, -0.482953, -0.482953, -0.482953, 1.44886]
    close(adv.group_mean_batch_std(REWARD, GROUP), want)
    want = [0.96609, -0.96609, -0.96609, 0.96609, -0.483045, -0.483045, -0.483045, 1.44913]
    close(adv.group_mean_batch_std(REWARD, GROUP, eps=1e-6), want)


def test_group_mean_batch_std_is_not_the_spread_of_the_residuals() -> None:
    centred = adv.group_centred(REWARD, GROUP)
    close(centred.std(), 0.467707)
    want = [1.06902, -1.06902, -1.06902, 1.06902, -0.534511, -0.534511, -0.534511, 1.60353]
    close(centred / (centred.std() + 1e-5), want)
    assert abs(adv.group_mean_batch_std(REWARD, GROUP)[0] - 1.06902) > 0.1


# Properties of the rules.

RULES: dict[str, Rule] = {
    "group_mean_std": lambda r, g: adv.group_mean_std(r, g, eps=1e-12),
    "group_centred": adv.group_centred,
    "leave_one_out": adv.leave_one_out,
    "group_mean_batch_std": lambda r, g: adv.group_mean_batch_std(r, g, eps=1e-12),
    "opo": lambda r, g: adv.opo(r, g, 1 + (np.arange(len(r)) * 7) % 5),
}
SCALE_FREE = {"group_mean_std", "group_mean_batch_std"}
every_rule = pytest.mark.parametrize("name", sorted(RULES))


def _step(seed: int) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(5), [4, 8, 2, 3, 6])
    return rng.normal(size=len(group)), group


@every_rule
@pytest.mark.parametrize("seed", range(3))
def test_shift_and_scale(name: str, seed: int) -> None:
    rule, (reward, group) = RULES[name], _step(seed)
    base = rule(reward, group)
    close(rule(reward + 3.7, group), base)
    close(rule(reward * 2.5, group), base if name in SCALE_FREE else base * 2.5)


@every_rule
def test_sums_to_zero_in_each_group(name: str) -> None:
    reward, group = _step(0)
    weight = 1 + (np.arange(len(reward)) * 7) % 5 if name == "opo" else np.ones(len(reward))
    close(np.bincount(group, weight * RULES[name](reward, group)), np.zeros(5))


@pytest.mark.parametrize("name", sorted(set(RULES) - {"opo"}))
@pytest.mark.parametrize("seed", range(3))
def test_order_and_numbering_do_not_matter(name: str, seed: int) -> None:
    rule, (reward, group) = RULES[name], _step(seed)
    order = np.random.default_rng(seed + 10).permutation(len(reward))
    renumbered = np.array([40, 7, 12, 3, 99])[group]
    close(rule(reward[order], renumbered[order]), rule(reward, group)[order])


def test_order_does_not_matter_to_opo() -> None:
    reward, group = _step(0)
    length = np.random.default_rng(3).integers(1, 9, len(reward))
    order = np.random.default_rng(4).permutation(len(reward))
    close(adv.opo(reward[order], group[order], length[order]), adv.opo(reward, group, length)[order])


def test_leave_one_out_is_a_multiple_of_the_centred_reward_by_group_size() -> None:
    reward, group = _step(1)
    size = np.bincount(group)[group]
    close(adv.leave_one_out(reward, group), adv.group_centred(reward, group) * size / (size - 1))


@every_rule
def test_flat_groups_and_lone_attempts_get_exactly_zero(name: str) -> None:
    rounding = np.array([0.3, np.float64(np.float32(0.3)), 0.3, 0.3])
    assert np.ptp(rounding) > 0
    reward = np.concatenate([rounding, [0.1] * 3, [0.7]])
    got = RULES[name](reward, np.array([0] * 4 + [1] * 3 + [2]))
    assert (got == 0).all()


@every_rule
def test_a_reward_that_is_not_a_number_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"finite.*\[1\].*leave out"):
        RULES[name](np.array([1.0, np.nan, 0]), np.array([0, 0, 0]))


def test_shapes_that_do_not_match_are_refused() -> None:
    with pytest.raises(ValueError, match="one group number a reward"):
        adv.group_centred([1.0, 2], [0])


# What carries no signal, and what is too large. Each group of a step is described by its rewards.

COMPARING: dict[str, Rule] = {
    **RULES,
    "group_centred_whitened": adv.group_centred_whitened,
    "opo_of_nothing": lambda r, g: adv.opo(r, g, np.zeros(len(r))),
    "best_of_1": partial(adv.best_of_k, k=1),
    "best_of_2": partial(adv.best_of_k, k=2),
    "best_of_4": partial(adv.best_of_k, k=4),
    "best_of_1_standardised": partial(adv.best_of_k_standardised, k=1),
    "best_of_2_standardised": partial(adv.best_of_k_standardised, k=2),
    "best_of_4_standardised": partial(adv.best_of_k_standardised, k=4),
}
_flat = st.builds(lambda value, n: [value] * n, st.floats(-adv.LARGEST, adv.LARGEST), st.integers(1, 7))
_rounded = st.builds(lambda value, n: [value, *[float(np.float32(value))] * n], st.floats(-8, 8), st.integers(1, 6))
_any = st.lists(st.floats(-adv.LARGEST, adv.LARGEST) | st.sampled_from([0.0, 1.0, 1e-300]), min_size=1, max_size=7)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", sorted(COMPARING))
@given(st.lists(_flat | _rounded | _any, min_size=1, max_size=5))
@settings(max_examples=60, deadline=None)
def test_flat_groups_are_exactly_zero_and_all_is_finite(name: str, groups: list[list[float]]) -> None:
    reward, index = np.concatenate(groups), np.repeat(np.arange(len(groups)), [len(group) for group in groups])
    got = COMPARING[name](reward, index)
    assert np.isfinite(got.astype(np.float32)).all()
    for number, group in enumerate(groups):
        if np.ptp(group) < adv.FLAT:
            assert (got[index == number] == 0).all()


@pytest.mark.parametrize("name", sorted(COMPARING))
def test_nothing_in_nothing_out(name: str) -> None:
    assert COMPARING[name](np.array([]), np.array([])).shape == (0,)


def test_a_difference_of_a_millionth_is_a_signal() -> None:
    reward, one = [0.0, 1e-6], [0, 0]
    assert adv.informative(reward)
    for rule in (adv.group_centred, adv.leave_one_out, partial(adv.best_of_k, k=2)):
        assert rule(reward, one)[1] > 0
    assert adv.best_of_k_standardised([0.0, 0.0, 1e-6], [0, 0, 0], k=2)[2] > 0
    assert adv.best_of_k_standardised(reward, one, k=1)[1] > 0
    assert adv.whiten(reward)[1] > 0
    assert adv.remax(reward, [0.0, 0.0]).tolist() == [0, 1e-6]


@pytest.mark.parametrize(
    ("n", "right", "k"), [(8, 5, 4), (8, 8, 3), (8, 0, 3), (5, 4, 2), (3, 1, 3), (7, 6, 2), (4, 2, 3)]
)
@pytest.mark.parametrize("worth", [1.0, 0.1, 1e9])
def test_a_task_that_every_set_solves_is_exactly_zero(n: int, right: int, k: int, worth: float) -> None:
    got = adv.best_of_k_standardised([worth] * right + [0.0] * (n - right), [0] * n, k=k)
    assert (got == 0).all()


def test_groups_with_more_sets_than_a_float_can_count() -> None:
    reward, one = [1.0] + [0.0] * 1999, [0] * 2000
    close(adv.best_of_k(reward, one, k=1000)[:2], [1000, 0])
    # Half of all sets hold the right attempt, so the sets' bests have mean and deviation of 1/2.
    close(adv.best_of_k_standardised(reward, one, k=1000)[0], 1)


@pytest.mark.parametrize(
    ("x", "want"),
    [
        ([0.1, 0.1, 0.1], [0, 0, 0]),
        ([0.3, float(np.float32(0.3))], [0, 0]),
        ([5.0], [0]),
        ([1e15, 1e15, 1e15], [0, 0, 0]),
    ],
)
def test_whitening_makes_nothing_of_rounding(x: list[float], want: list[float]) -> None:
    assert adv.whiten(x).tolist() == want
    assert adv.whiten(x, shift_mean=False).tolist() == pytest.approx([np.mean(x)] * len(x))


def test_remax_makes_nothing_of_rounding() -> None:
    assert adv.remax([0.3, 0.3, 0.3], [float(np.float32(0.3)), 0.3, 0.299]).tolist() == [0, 0, pytest.approx(0.001)]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300, -1.1e15])
@pytest.mark.parametrize("name", [*sorted(COMPARING), "whiten", "remax", "gae"])
def test_rewards_that_are_no_number_or_beyond_reason_are_refused(name: str, bad: float) -> None:
    rules: dict[str, Rule] = {
        "whiten": lambda r, g: adv.whiten(r),
        "remax": adv.remax,
        "gae": lambda r, v: adv.gae(r, v, np.ones(len(r), bool), gamma=1, lam=1),
    }
    with pytest.raises(ValueError, match=r"at most 1e\+15 in size, got .* at \[1\]"):
        (COMPARING | rules)[name](np.array([0.0, bad, 1.0]), np.array([0, 0, 0]))


# Averaging weights, on the clipped losses of two sequences and a third without any trained token.

SEQ1, SEQ2 = [-1.10517092, -1.2, -0.77880078], [0.64201271, 0.4, 1.83464833, 0.47561471]
RAGGED = np.array([3, 4, 0])
TOTAL = np.array([sum(SEQ1), sum(SEQ2), 0.0])


def test_averages_leave_out_the_sequence_without_trained_tokens() -> None:
    close(TOTAL @ adv.token_mean(RAGGED), 0.0383292)
    close(TOTAL @ adv.sequence_mean(RAGGED), -0.0949608)
    close(TOTAL @ adv.sequence_sum(RAGGED), 0.134152)
    close(TOTAL @ adv.constant_length(RAGGED, 8), 0.016769)
    for average in (adv.token_mean, adv.sequence_mean, adv.sequence_sum):
        close(average(RAGGED)[:2], average(RAGGED[:2]))
        assert average(RAGGED)[2] == 0


def test_counting_that_sequence_or_forgetting_the_batch_gives_other_numbers() -> None:
    close(TOTAL @ adv.sequence_mean(RAGGED) * 2 / 3, -0.0633072)
    close(TOTAL @ adv.constant_length(RAGGED, 8) * 2 / 3, 0.0111793)
    close(TOTAL @ adv.constant_length(RAGGED, 8) * 2, 0.033538)


def test_weights_of_the_whole_step_survive_any_split_and_weights_of_parts_do_not() -> None:
    whole = adv.token_mean(RAGGED)
    close(sum(TOTAL[b] * whole[b] for b in range(3)), 0.0383292)
    of_parts = [TOTAL[b] * adv.token_mean(RAGGED[b : b + 1])[0] for b in range(2)]
    close(np.mean(of_parts), -0.0949608)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=8))
@settings(max_examples=50, deadline=None)
def test_means_of_ones_are_one(length: list[int]) -> None:
    want = float(any(length))
    close(np.dot(length, adv.token_mean(length)), want)
    close(np.dot(length, adv.sequence_mean(length)), want)
    close(np.dot(np.minimum(length, 1), adv.sequence_sum(length)), want)
    close(adv.constant_length(length, 4), adv.sequence_sum(length) / 4)


def test_the_constant_length_must_be_positive() -> None:
    assert adv.constant_length([1, 1], 1).tolist() == [0.5, 0.5]
    with pytest.raises(ValueError, match="max_length"):
        adv.constant_length([1], 0)


# Which groups are kept.


def _of_eight(correct: int) -> list[float]:
    return [1.0] * correct + [0.0] * (8 - correct)


def test_keep_rules() -> None:
    groups = [_of_eight(correct) for correct in (0, 1, 4, 8, 2, 6)]
    assert [adv.informative(g) for g in groups] == [False, True, True, False, True, True]
    assert [adv.in_band(g, 0.2, 0.8) for g in groups] == [False, False, True, False, True, True]


def test_keep_rules_at_their_edges() -> None:
    assert not adv.informative([])
    assert not adv.informative([1.0])
    assert not adv.informative([0.3, float(np.float32(0.3))])
    assert adv.informative([0.3, 0.31])
    assert adv.in_band([0, 0, 0, 0, 1], 0.2, 0.8)
    assert adv.in_band([1, 1, 1, 1, 0], 0.2, 0.8)
    assert adv.in_band([0.5], 0.2, 0.8)
    assert not adv.in_band([], 0.0, 1.0)
