"""Pure credit rules: what an attempt or a token was worth against a baseline, and the weights losses are averaged with.

Numpy in float64 throughout. Nothing here knows a model, a loss, a sample or a sampler. Axis legend: S attempts of a
whole step (all groups, whatever the order), T tokens of one attempt. Groups are told apart by their number, never by
position. Rewards must be finite numbers: an attempt that got no score is left out before credit is given.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

Array = NDArray[np.float64]
Average = Callable[[NDArray[np.int64]], Array]
"""Trained tokens of each attempt [S] -> the weight of each of its tokens in the loss [S]."""

FLAT = 1e-6
"""Rewards of a group that differ by less carry no signal: dividing by their spread would only amplify rounding."""

LARGEST = 1e15
"""Rewards beyond it are a mistake: what is made of them, such as a critic's squared error, overflows float32."""


# Baselines. All give one advantage an attempt; attempts that are alone in their group, and flat groups, get exactly 0:
# an optimiser that divides by the size of the gradient would make a full step of rounding.


def group_mean_std(reward_S: ArrayLike, group_S: ArrayLike, *, eps: float = 1e-4, ddof: int = 1) -> Array:
    """GRPO: the reward standardised in its group, ``(R - mean) / (std + eps)`` (arXiv:2402.03300, section 4.1.2)."""
    reward_S, index_S = _groups(reward_S, group_S)
    centred_S = _centred(reward_S, index_S)
    count_G = np.bincount(index_S)
    variance_G = np.bincount(index_S, centred_S**2) / np.maximum(count_G - ddof, 1)
    return centred_S / (np.sqrt(variance_G) + eps)[index_S]


def group_centred(reward_S: ArrayLike, group_S: ArrayLike) -> Array:
    """Dr. GRPO: the reward less its group's mean (arXiv:2503.20783). Goes with ``constant_length``."""
    return _centred(*_groups(reward_S, group_S))


def group_centred_whitened(reward_S: ArrayLike, group_S: ArrayLike) -> Array:
    """REINFORCE++-Baseline: centred by the group, then standardised over the step's attempts (arXiv:2501.03262)."""
    centred_S = group_centred(reward_S, group_S)
    if not centred_S.any():
        return centred_S
    # The step's mean is 0 but for rounding, which must not reach attempts that have no advantage.
    return np.where(centred_S == 0, 0.0, _white(centred_S, ddof=1))


def leave_one_out(reward_S: ArrayLike, group_S: ArrayLike) -> Array:
    """RLOO: the reward less the mean of its siblings' rewards, ``G / (G - 1) * (R - mean)`` (arXiv:2402.14740)."""
    reward_S, index_S = _groups(reward_S, group_S)
    count_S = np.bincount(index_S)[index_S]
    return _centred(reward_S, index_S) * count_S / np.maximum(count_S - 1, 1)


def group_mean_batch_std(reward_S: ArrayLike, group_S: ArrayLike, *, eps: float = 1e-4) -> Array:
    """Lite PPO: centred by the group, scaled by the step's spread of raw rewards (arXiv:2508.08221)."""
    reward_S, index_S = _groups(reward_S, group_S)
    spread = reward_S.std(ddof=1) if len(reward_S) > 1 else 0.0
    return _centred(reward_S, index_S) / (spread + eps)


def group_mean_relative(reward_S: ArrayLike, group_S: ArrayLike) -> Array:
    """MaxRL: the reward less its group's mean, over that mean; 0 where nobody was paid (arXiv:2602.02710). Rewards must
    not be below 0."""
    reward_S, index_S = _groups(reward_S, group_S)
    if (reward_S < 0).any():
        raise ValueError(f"rewards are divided by their group's mean and must not be below 0, got {reward_S.min():g}")
    mean_G = np.bincount(index_S, reward_S) / np.bincount(index_S)
    return np.asarray(_centred(reward_S, index_S) / np.where(mean_G > 0, mean_G, 1.0)[index_S])


def gdpo(reward_KS: ArrayLike, weight_K: ArrayLike, group_S: ArrayLike, *, eps: float = 1e-4) -> Array:
    """GDPO: each of K rewards standardised in its group, their weighted sum over the step (arXiv:2601.05242)."""
    standard_KS = np.stack([group_mean_std(reward_S, group_S, eps=eps) for reward_S in np.asarray(reward_KS)])
    sum_S = np.asarray(weight_K, np.float64) @ standard_KS
    if len(sum_S) < 2 or np.ptp(sum_S) < FLAT:
        return np.zeros_like(sum_S)
    # Its mean is 0 but for rounding, which must not reach attempts that have no advantage.
    return np.where(sum_S == 0, 0.0, (sum_S - sum_S.mean()) / (sum_S.std(ddof=1) + eps))


def opo(reward_S: ArrayLike, group_S: ArrayLike, length_S: ArrayLike) -> Array:
    """OPO: the reward less its group's length-weighted mean, the baseline of least variance when a sequence's squared
    score norm grows with its length (arXiv:2505.23585). For exactly on-policy updates."""
    reward_S, index_S = _groups(reward_S, group_S)
    weight_S = np.asarray(length_S, np.float64)
    total_G = np.bincount(index_S, weight_S)
    baseline_G = np.bincount(index_S, weight_S * reward_S) / np.where(total_G > 0, total_G, 1)
    return np.where(_flat(reward_S, index_S), 0.0, reward_S - baseline_G[index_S])


def remax(reward_S: ArrayLike, greedy_S: ArrayLike) -> Array:
    """ReMax: the reward less that of the greedy answer to the same task (arXiv:2310.10505). Needs no group. Exactly 0
    where the two differ by rounding only."""
    advantage_S = finite(reward_S) - finite(greedy_S)
    return np.where(np.abs(advantage_S) < FLAT, 0.0, advantage_S)


def running_means(
    reward_S: ArrayLike, role_S: Sequence[str], before: Mapping[str, float], *, decay: float
) -> dict[str, float]:
    """Each role's running mean after some attempts, from those ``before`` (0 where there was none): ``decay`` of a mean
    stays at each attempt (arXiv:2506.24119). The attempts of a step count alike, in whatever order they stand."""
    reward_S, after = finite(reward_S), dict(before)
    for role in dict.fromkeys(role_S):
        own = reward_S[[each == role for each in role_S]]
        stays = decay ** len(own)
        after[role] = stays * before.get(role, 0.0) + (1 - stays) * float(own.mean())
    return after


# What an attempt was worth to the best of k. For evaluation by pass@k: attempts that only repeat what siblings do get
# nothing. Ranks are within a group, lowest reward first; ties may stand in any order.


def best_of_k(reward_S: ArrayLike, group_S: ArrayLike, *, k: int) -> Array:
    """PKPO: ``k`` times how much the attempt raises the best of ``k``, on average over its k - 1 companions
    (arXiv:2505.15201, the leave-one-out form).

    ``A_i = k E_J[max(0, r_i - max_J r)]``, J the sets of k - 1 siblings. Then ``mean_i A_i grad log p_i`` is unbiased
    for the gradient of ``E[max of k rewards]``, with 1 and 0 as rewards that of pass@k: of all k-sets of the group only
    those that hold i depend on it, and what the others of a set reach without i is a baseline. With k = 1 there are no
    companions, and it is ``leave_one_out``. A group of fewer than ``k`` attempts cannot tell and gets 0.
    """
    if k == 1:
        return leave_one_out(reward_S, group_S)

    def credit(rising: Array) -> Array:
        n = len(rising)
        chance = _chances(range(n), k - 2, math.comb(n - 1, k - 1))  # that the companions' best has rank j
        return np.array([k * (chance[:i] * (rising[i] - rising[:i])).sum() for i in range(n)])

    return _by_rank(reward_S, group_S, k, credit)


def best_margin(reward_S: ArrayLike, group_S: ArrayLike) -> Array:
    """The group's best attempt gets what it is above the second best, all others 0: what the best of the whole group
    would be without it (arXiv:2503.19595). Where two are best, nobody gets anything."""

    def credit(rising: Array) -> Array:
        return np.concatenate([np.zeros(len(rising) - 1), rising[-1:] - rising[-2:-1]])

    return _by_rank(reward_S, group_S, 2, credit)


def best_of_k_standardised(reward_S: ArrayLike, group_S: ArrayLike, *, k: int, eps: float = 1e-6) -> Array:
    """Pass@k training: the mean over all k-sets that hold the attempt of the set's best reward, standardised over all
    k-sets of the group (arXiv:2508.10751, section 3.3, which writes it for rewards of 0 and 1).

    A set counts as one attempt of GRPO, with the spread of the population. A task of which every k-set is solved gives
    no signal, and all its attempts exactly 0. A group of fewer than ``k`` attempts gets 0.
    """

    def credit(rising: Array) -> Array:
        n = len(rising)
        if rising[-1] - rising[k - 1] < FLAT:  # the best of the worst k-set is as good as the best of all
            return np.zeros(n)
        share = _chances(range(n), k - 1, math.comb(n, k))  # that a set's best has rank j
        mean = share @ rising
        spread = math.sqrt(share @ (rising - mean) ** 2)
        own = _chances(range(n), k - 1, math.comb(n - 1, k - 1))
        other = _chances(range(-1, n - 1), k - 2, math.comb(n - 1, k - 1))
        best = [own[i] * rising[i] + other[i + 1 :] @ rising[i + 1 :] for i in range(n)]
        return (np.array(best) - mean) / (spread + eps)

    return _by_rank(reward_S, group_S, k, credit)


def _chances(below: range, chosen: int, sets: int) -> Array:
    """The share of ``sets`` that choose ``chosen`` out of so many attempts below. Divided as whole numbers, since those
    of large groups have no float."""
    return np.array([math.comb(b, chosen) / sets if b >= 0 <= chosen else 0.0 for b in below])


def _by_rank(reward_S: ArrayLike, group_S: ArrayLike, k: int, credit: Callable[[Array], Array]) -> Array:
    """``credit`` of each group's rewards in rising order, put back in their places; 0 where they do not differ."""
    if k < 1:
        raise ValueError(f"the best of k needs k of at least 1, got {k}")
    reward_S, index_S = _groups(reward_S, group_S)
    advantage_S = np.zeros_like(reward_S)
    for group in np.unique(index_S):
        members = np.flatnonzero(index_S == group)
        if len(members) >= k and np.ptp(reward_S[members]) >= FLAT:
            order = members[np.argsort(reward_S[members], kind="stable")]
            advantage_S[order] = credit(reward_S[order])
    return advantage_S


# Per-token credit.


def kl_in_reward(reward: float, logp_T: ArrayLike, ref_logp_T: ArrayLike, mask_T: ArrayLike, *, beta: float) -> Array:
    """Per-token reward ``-beta * (logp - ref_logp)``, with the attempt's reward added at its last trained token
    (arXiv:1909.08593, equation 2). 0 where the mask is false; its sum is the KL-penalised reward of RLOO."""
    mask_T = np.asarray(mask_T, bool)
    logp_T, ref_logp_T = (np.where(mask_T, np.asarray(x, np.float64), 0.0) for x in (logp_T, ref_logp_T))
    reward_T = -beta * (logp_T - ref_logp_T)
    trained = np.flatnonzero(mask_T)
    if len(trained):
        reward_T[trained[-1]] += reward
    return reward_T


def kl_coefficient(kl: float, divergence: float, *, target: float, attempts: int, horizon: float) -> float:
    """The KL coefficient after a step: raised when the step's ``divergence`` was above the ``target``, lowered below,
    by at most a fifth over ``horizon`` / ``attempts`` steps (arXiv:1909.08593, section 2.2). Both are in nats a
    sequence, the mean over the step's ``attempts``."""
    error = min(max(divergence / target - 1, -0.2), 0.2)
    return kl * (1 + error * attempts / horizon)


def entropy_coefficient(coefficient: float, entropy: float, *, target: float, step: float) -> float:
    """The entropy bonus's coefficient after a step: up by ``step`` when the entropy was below the ``target``, down
    otherwise, and never below 0 (Skywork-OR1, arXiv:2505.22312, section 4)."""
    return max(coefficient + (step if entropy < target else -step), 0.0)


def reward_to_go(reward_T: ArrayLike, gamma: float = 1.0) -> Array:
    """``sum over s >= t of gamma^(s-t) r_s``. With ``gamma`` below 1, pass trained tokens alone: time is tokens."""
    reward_T = np.asarray(reward_T, np.float64)
    if gamma == 1.0:
        return np.cumsum(reward_T[::-1])[::-1]
    togo_T, ahead = np.zeros_like(reward_T), 0.0
    for t in reversed(range(len(reward_T))):
        ahead = togo_T[t] = reward_T[t] + gamma * ahead
    return togo_T


def gae(
    reward_T: ArrayLike, value_T: ArrayLike, mask_T: ArrayLike, *, gamma: float, lam: float, bootstrap: float = 0.0
) -> Array:
    """Generalised advantage estimation (arXiv:1506.02438, equation 16); returns are the advantage plus the value.

    Tokens the policy did not write (mask false) are stepped over: they get 0 and neither break nor decay the chain.
    ``bootstrap`` is the value of the state after the last token: 0 when the episode ended there, the critic's
    estimate when it was only cut off.
    """
    mask_T = np.asarray(mask_T, bool)
    reward_T, value_T = finite(np.where(mask_T, reward_T, 0.0)), np.asarray(value_T, np.float64)
    advantage_T, value_next, advantage_next = np.zeros_like(reward_T), bootstrap, 0.0
    for t in reversed(np.flatnonzero(mask_T)):
        delta = reward_T[t] + gamma * value_next - value_T[t]
        advantage_next = advantage_T[t] = delta + gamma * lam * advantage_next
        value_next = value_T[t]
    return advantage_T


def turn_gae(
    reward_n: ArrayLike, value_n: ArrayLike, last_n: ArrayLike, *, gamma: float, lam: float, bootstrap: float = 0.0
) -> Array:
    """Generalised advantage estimation with turns as actions: what a turn's tokens earned is one reward, the value at
    its first token that of the state it began in, and all its tokens get its advantage. ``last_n`` is true at the last
    token of each turn."""
    start, turn_n = _turns(last_n)
    reward_K = np.bincount(turn_n, finite(reward_n), minlength=len(start))
    value_K = np.asarray(value_n, np.float64)[start]
    written = np.ones(len(start), bool)
    return gae(reward_K, value_K, written, gamma=gamma, lam=lam, bootstrap=bootstrap)[turn_n]


def bilevel_gae(
    reward_n: ArrayLike, value_n: ArrayLike, last_n: ArrayLike, *, gamma: float, lam: float, bootstrap: float = 0.0
) -> Array:
    """Advantages of turns first, from the values at their last tokens, and then of the tokens within each, on from its
    last one, where nothing is discounted (RAGEN's second version, VAGEN, arXiv:2510.16907). ``last_n`` is as above."""
    reward_n, value_n = finite(reward_n), np.asarray(value_n, np.float64)
    advantage_n, value_next, advantage_next = np.zeros_like(reward_n), bootstrap, 0.0
    for t in range(len(reward_n) - 1, -1, -1):
        if last_n[t]:  # type: ignore[index]
            delta = reward_n[t] + gamma * value_next - value_n[t]
            advantage_next = advantage_n[t] = delta + gamma * lam * advantage_next
            value_next, follows = value_n[t], advantage_next
        else:
            follows = advantage_n[t] = reward_n[t] + value_n[t + 1] - value_n[t] + lam * follows
    return advantage_n


def _turns(last_n: ArrayLike) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each turn begins, and which turn each token is of."""
    last_n = np.asarray(last_n, bool)
    assert last_n.size == 0 or last_n[-1], "the last token ends a turn"
    turn_n = np.concatenate([[0], np.cumsum(last_n)[:-1]]).astype(np.int64)
    return np.flatnonzero(np.diff(turn_n, prepend=-1)), turn_n


def implicit(
    reward_Sn: Sequence[ArrayLike], outcome_S: ArrayLike, group_S: ArrayLike, *, gamma: float = 1.0
) -> list[Array]:
    """PRIME (arXiv:2502.01456): implicit rewards of each token, and outcomes, both against the siblings.

    ``sum over s >= t of gamma^(s-t) (r_s - b) + R - mean of the siblings' R``, where ``b`` is the mean over the
    siblings of their mean token reward. Gives [n] for each attempt; 0 for one that is alone. The released code scales
    r by K / (K - 1) and subtracts the sum of all K means divided by K - 1: it differs by (r_s - own mean) / (K - 1) a
    token, in which the attempt stands in its own baseline.
    """
    outcome_S, index_S = _groups(outcome_S, group_S)
    token_Sn = [np.asarray(each, np.float64) for each in reward_Sn]
    mean_S = finite([each.mean() if each.size else 0.0 for each in token_Sn])
    others_S = np.bincount(index_S)[index_S] - 1
    sum_S = np.bincount(index_S, mean_S)[index_S] - mean_S
    against_S = leave_one_out(outcome_S, group_S)
    return [
        reward_to_go(each - total / count, gamma) + outcome if count else np.zeros_like(each)
        for each, total, count, outcome in zip(token_Sn, sum_S, others_S, against_S, strict=True)
    ]


def whiten(x: ArrayLike, mask: ArrayLike | None = None, *, ddof: int = 1, shift_mean: bool = True) -> Array:
    """``(x - mean) / sqrt(variance + 1e-8)`` over the whole step's valid entries; 0 where the mask is false.

    Give it everything the step holds at once: statistics of a part are another quantity. ``shift_mean=False`` only
    scales, and puts the mean back. Entries that differ by rounding only, and a single one, are centred to exactly 0.
    """
    x = np.asarray(x, np.float64)
    mask = np.ones(x.shape, bool) if mask is None else np.asarray(mask, bool)
    valid = finite(x[mask])
    white = np.zeros_like(x)
    if valid.size:
        white[mask] = _white(valid, ddof) + (0.0 if shift_mean else valid.mean())
    return white


def _white(x_N: Array, ddof: int) -> Array:
    if np.ptp(x_N) < FLAT:
        return np.zeros_like(x_N)
    centred_N = x_N - x_N.mean()
    return np.asarray(centred_N / np.sqrt(np.sum(centred_N**2) / max(len(x_N) - ddof, 1) + 1e-8))


# Averaging weights. A loss is the sum over tokens of weight * loss, so how a step is split cannot change it. Lengths
# count trained tokens of whole attempts; attempts without any (filtered out) count nowhere and weigh 0.


def token_mean(length_S: ArrayLike) -> Array:
    """Every token of the step counts alike: 1 / N (DAPO, arXiv:2503.14476)."""
    length_S = np.asarray(length_S, np.int64)
    return np.where(length_S > 0, 1.0 / max(int(length_S.sum()), 1), 0.0)


def sequence_mean(length_S: ArrayLike) -> Array:
    """Every attempt counts alike, its tokens share: 1 / (B n) (GRPO, arXiv:2402.03300, equation 3)."""
    length_S = np.asarray(length_S, np.int64)
    weight_S: Array = sequence_sum(length_S) / np.maximum(length_S, 1)
    return weight_S


def sequence_sum(length_S: ArrayLike) -> Array:
    """The mean over attempts of summed token losses: 1 / B (the policy gradient of whole sequences)."""
    trained_S = np.asarray(length_S, np.int64) > 0
    return np.where(trained_S, 1.0 / max(int(trained_S.sum()), 1), 0.0)


def constant_length(length_S: ArrayLike, max_length: int) -> Array:
    """As ``sequence_sum`` over a constant, 1 / (B L), so that length has no say (Dr. GRPO, arXiv:2503.20783).

    ``max_length`` is the most tokens an attempt may have: a constant of the run, never of the batch at hand.
    """
    if max_length < 1:
        raise ValueError(f"max_length must be at least 1 (the most tokens an attempt may have), got {max_length}")
    return sequence_sum(length_S) / max_length


# Which groups are worth learning from. Decide on raw correctness: shaped rewards nearly always differ.


def informative(reward_G: ArrayLike) -> bool:
    """Whether a group's rewards differ, so that its advantages are not all 0 (arXiv:2503.14476, equation 11)."""
    reward_G = finite(reward_G)
    return bool(reward_G.size > 1 and np.ptp(reward_G) >= FLAT)


def in_band(reward_G: ArrayLike, low: float, high: float) -> bool:
    """Whether a group's mean reward, its solve rate, lies in [low, high] (arXiv:2504.03380)."""
    reward_G = finite(reward_G)
    return bool(reward_G.size > 0 and low <= reward_G.mean() <= high)


def finite(x: ArrayLike) -> Array:
    """Rewards as an array. Raises ValueError for what is no number that can be compared."""
    x = np.asarray(x, np.float64)
    bad = ~(np.abs(x) <= LARGEST)
    if bad.any():
        raise ValueError(
            f"rewards must be finite and at most {LARGEST:g} in size, got {x[bad][0]} at "
            f"{np.flatnonzero(bad).tolist()[:5]}: leave out attempts that got no score before giving credit, and scale "
            "down what is larger"
        )
    return x


def _groups(reward_S: ArrayLike, group_S: ArrayLike) -> tuple[Array, NDArray[np.int64]]:
    """Rewards checked, and group ids renumbered from 0."""
    reward_S, group_S = finite(reward_S), np.asarray(group_S)
    if reward_S.shape != group_S.shape or reward_S.ndim != 1:
        raise ValueError(f"wanted one group number a reward, got shapes {reward_S.shape} and {group_S.shape}")
    return reward_S, np.unique(group_S, return_inverse=True)[1].astype(np.int64)


def _flat(reward_S: Array, index_S: NDArray[np.int64]) -> NDArray[np.bool_]:
    groups = len(np.bincount(index_S))
    top_G, bottom_G = np.full(groups, -np.inf), np.full(groups, np.inf)
    np.maximum.at(top_G, index_S, reward_S)
    np.minimum.at(bottom_G, index_S, reward_S)
    return np.asarray((top_G - bottom_G < FLAT)[index_S])


def _centred(reward_S: Array, index_S: NDArray[np.int64]) -> Array:
    mean_G = np.bincount(index_S, reward_S) / np.bincount(index_S)
    return np.where(_flat(reward_S, index_S), 0.0, reward_S - mean_G[index_S])
