"""Surrogates, corrections and choices of tokens against hand-computed numbers, and what does not go together."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from test_algorithms import Bigram, assert_same, learnt, sample, step
from test_losses import ADVANTAGE, AVERAGES, LENGTH, MASK, NEW, OLD, Policy, close, gradient, tensor
from torch import Tensor

from togi import advantages as adv, losses
from togi.algorithms import ALGORITHMS, GDPO, GRPO, PPO, RLOO, PassAtK, PolicyGradient, ReinforcePP, VeriFree
from togi.algorithms.policy_gradient.corrections import CORRECTIONS, Correction, Masked, Truncated
from togi.algorithms.policy_gradient.surrogates import (
    SURROGATES,
    AWRWeight,
    GMPOClip,
    GSPOClip,
    Importance,
    Likelihood,
    MirrorDescent,
    MixedPolicy,
    PPOClip,
    SequenceClip,
    TOPRTaper,
)
from togi.algorithms.policy_gradient.token_choices import (
    TOKEN_CHOICES,
    ClipCov,
    HighEntropy,
    KLCov,
    SecondMoment,
    TokenChoice,
    covariance,
    within_second_moment,
)
from togi.batch import collate, minibatches
from togi.types import Batch, Sample

GSPO: Policy = partial(losses.gspo, low=0.2, high=0.2)
CISPO: Policy = partial(losses.cispo, least=0.0, most=1.28)
SAPO: Policy = partial(losses.sapo, good=1.0, bad=1.05)
VESPO: Policy = partial(losses.vespo, good=(2.0, 3.0), bad=(3.0, 2.0))


def awr(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    return losses.awr(logp, advantage, mask, beta=0.05, most=20.0)


def luffy(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    return losses.shaped_imitation(logp, advantage, mask, gamma=0.1)


@pytest.mark.parametrize(
    ("loss", "first", "second", "averaged"),
    [
        (GSPO, [-1.05127] * 3, [0.674929] * 4, [-0.0648708, -0.188171, -0.227048, -0.028381]),
        (
            partial(losses.gspo, low=3e-4, high=4e-4),
            [-1.0004] * 3,
            [0.674929] * 4,
            [-0.0430689, -0.162735, -0.150741, -0.0188426],
        ),
        (
            CISPO,
            [0.994654, 0.256, 1.7523],
            [-0.032, -0.555614, 0.32, -0.737203],
            [0.285448, 0.374891, 0.99907, 0.124884],
        ),
        (
            partial(losses.cispo, least=0.8, most=1.28),
            [0.994654, 0.256, 1.8],
            [-0.032, -0.6, 0.32, -0.737203],
            [0.285922, 0.377292, 1.00073, 0.125091],
        ),
        (
            SAPO,
            [-2.10507, -2.34633, -1.7797],
            [1.09335, 0.823584, 1.79586, 0.928001],
            [-0.227188, -0.458419, -0.795157, -0.0993946],
        ),
    ],
    ids=["gspo", "gspo_paper", "cispo_one_sided", "cispo_two_sided", "sapo"],
)
def test_losses_of_tokens(loss: Policy, first: list[float], second: list[float], averaged: list[float]) -> None:
    got = loss(NEW, OLD, ADVANTAGE, MASK)
    close(got, [[*first, 0], second])
    for average, want in zip(AVERAGES, averaged, strict=True):
        close(losses.weighted_sum(got, torch.from_numpy(average(LENGTH)), MASK), want)


def averaged(per_token: Tensor, average: adv.Average = adv.sequence_mean) -> Tensor:
    return losses.weighted_sum(per_token, torch.from_numpy(average(LENGTH)), MASK)


def test_luspo_is_gspo_times_the_length() -> None:
    close(averaged(losses.gspo(NEW, OLD, ADVANTAGE, MASK, low=2e-3, high=2.5e-3), adv.sequence_sum), -0.153891)


@pytest.mark.parametrize(
    ("loss", "want"),
    [
        (GSPO, [[-0.350424] * 3 + [0], [0.168732] * 4]),
        (partial(losses.gmpo, clip=0.2), [[-0.338935, 0, -0.338935, 0], [0.173004, 0, 0.173004, 0.173004]]),
    ],
    ids=["gspo", "gmpo"],
)
def test_gradients_of_whole_sequences_under_the_mean_over_their_tokens(loss: Policy, want: list[list[float]]) -> None:
    got = gradient(lambda x: loss(x, OLD, ADVANTAGE, MASK) / MASK.sum(1, keepdim=True), NEW)
    close(got, want)
    assert ((got == 0) == (torch.tensor(want) == 0)).all()


def test_gradients_that_do_not_end_at_a_bound() -> None:
    got = gradient(lambda x: SAPO(x, OLD, ADVANTAGE, MASK), NEW)
    close(got, [[-1.10212, -1.30938, -0.769351, 0], [0.627947, 0.363635, 0.395595, 0.475303]])
    got = gradient(lambda x: CISPO(x, OLD, ADVANTAGE, MASK), NEW)
    close(got, [[-1.10517, -1.28, -0.778801, 0], [0.64, 0.370409, 0.64, 0.475615]])


def test_sapo_on_the_policy_has_the_values_of_its_gates() -> None:
    mask = torch.ones(1, 2, dtype=torch.bool)
    close(-SAPO(tensor([[0, 0]]), tensor([[0, 0]]), tensor([[1, -1]]), mask) * tensor([[1, -1]]), [[2, 1.90476]])


def test_gspo_takes_an_advantage_a_token_and_clips_whole_sequences() -> None:
    assert (gradient(lambda x: GSPO(x, OLD, -ADVANTAGE, MASK), NEW)[1] == 0).all()
    close(losses.geometric_ratio(NEW, OLD, MASK).exp(), [[1.05127], [1.34986]])
    each = ADVANTAGE * tensor([[1, 2, 0, 4]])
    close(gradient(lambda x: GSPO(x, OLD, each, MASK), NEW), -each * tensor([[1.05127], [1.34986]]) * MASK)


@pytest.mark.parametrize(
    ("clip", "geo", "loss"), [(0.4, [1.05127, 1.34986], -0.188171), (0.2, [1.01681, 1.38403], -0.162396)]
)
def test_gmpo(clip: float, geo: list[float], loss: float) -> None:
    got = losses.gmpo(NEW, OLD, ADVANTAGE, MASK, clip=clip)
    close(got, torch.where(MASK, -ADVANTAGE * tensor(geo)[:, None], 0.0))
    close(averaged(got), loss)


def test_gmpo_without_its_clip_is_gspo_without_its() -> None:
    far = {"low": 1.0, "high": 1e9}
    one, other = (partial(f, **how) for f, how in ((losses.gmpo, {"clip": 1e9}), (losses.gspo, far)))
    close(averaged(one(NEW, OLD, ADVANTAGE, MASK)), averaged(other(NEW, OLD, ADVANTAGE, MASK)))
    close(*(gradient(lambda x, f=f: averaged(f(x, OLD, ADVANTAGE, MASK)), NEW) for f in (one, other)))


def test_topr_tapers_off_where_a_bad_answer_is_no_longer_given() -> None:
    close(losses.log_ratio(NEW, OLD, MASK).sum(1).exp(), [1.16183, 3.32012])
    close(losses.topr(NEW, OLD, ADVANTAGE, MASK).sum(1), [3.35, -1.3])
    left = losses.topr(tensor([[-1, -1.1]]), tensor([[-1, -1]]), tensor([[-1, -1]]), torch.ones(1, 2, dtype=torch.bool))
    close(left, 0.904837 * tensor([[-1, -1.1]]))


def test_vespo_weighs_by_the_ratio_of_the_answer() -> None:
    ratios, one = tensor([[0.5], [1], [1.5]]), torch.ones(3, 1, dtype=torch.bool)
    for sign, want in ((1.0, [1.12042, 1, 0.502043]), (-1.0, [0.339785, 1, 1.24159])):
        weight = gradient(lambda x, sign=sign: VESPO(x, 0 * x, sign * torch.ones_like(x), one), ratios.log())  # type: ignore[misc]
        close(-sign * weight[:, 0], want)
    far = VESPO(tensor([[800.0], [-800.0]]), tensor([[0.0], [0.0]]), tensor([[1.0], [-1.0]]), one[:2])
    assert torch.isfinite(far).all()


def test_dppo_keeps_the_rare_token_that_ppo_silences() -> None:
    p, old, one = tensor([[0.99, 0.05, 0.2]]), tensor([[0.9, 0.01, 0.5]]), torch.ones(1, 3, dtype=torch.bool)
    advantage = tensor([[1, 1, -1]])
    dppo = partial(losses.dppo_tv, low=0.15, high=0.15)
    got = gradient(lambda x: dppo(x, old.log(), advantage, one), p.log())
    close(got, [[-1.1, -5, 0]])
    assert (losses.ppo_clip(p.log(), old.log(), advantage, one, low=0.2, high=0.2)[0, 1]) == pytest.approx(-1.2)
    close(gradient(lambda x: dppo(x, x - 9, advantage, one), tensor([[-5, -5, -5]])), [[-20, -20, 20]])


def test_awr_weighs_likelihood_and_pushes_nothing_down() -> None:
    logp, advantage, one = tensor([[-1, -2, -0.5]]), tensor([[0.1, -0.05, 0.3]]), torch.ones(1, 3, dtype=torch.bool)
    close(-gradient(lambda x: awr(x, x, advantage, one), logp), [[7.38906, 0.367879, 20]])
    close(awr(logp, logp, advantage, one).mean(), 6.0416)
    assert torch.isfinite(awr(logp, logp, 1e6 * advantage, one)).all()


def test_luffy_pulls_most_where_the_token_is_neither_likely_nor_absurd() -> None:
    logp, one = tensor([[0.9, 0.3, 0.01]]).log(), torch.ones(1, 3, dtype=torch.bool)
    half = 0.5 * torch.ones_like(logp)
    close(luffy(logp, logp, half, one), [[-0.45, -0.375, -0.0454545]])
    close(gradient(lambda x: luffy(x, x, half, one), logp), [[-0.045, -0.09375, -0.0413223]])


def test_mirror_descent_of_a_whole_answer() -> None:
    one = torch.ones(1, 2, dtype=torch.bool)
    new, old = tensor([[-1, -2]]), tensor([[-1.3, -2.1]])
    close(losses.mirror_descent(new, old, tensor([[0.5, 0.5]]), one, tau=0.1), [1.508])
    got = gradient(lambda x: losses.mirror_descent(x, old, tensor([[0.5, 0.5]]), one, tau=0.1), new)
    close(got, [[-0.5 + 0.1 * 0.4] * 2])


def test_the_ratio_alone_is_not_bounded() -> None:
    close(losses.importance(NEW, OLD, ADVANTAGE, MASK), torch.where(MASK, -ADVANTAGE * (NEW - OLD).exp(), 0.0))


# Weights between sampler and trainer.

DRAWN = OLD - tensor([[0.9, -0.9, 0.2, 0], [0.05, -0.02, 0.4, -0.1]])


@pytest.mark.parametrize(
    ("correction", "weight", "averages"),
    [
        (
            Truncated(weight_most=2.0),
            [[2, 0.40657, 1.2214], [1.05127, 0.980199, 1.49182, 0.904837]],
            [0.0835545, -0.0789504, 0.292441, 0.0365551],
        ),
        (
            Masked(weight_least=0.5, weight_most=2.0),
            [[0, 0, 1.2214], [1.05127, 0.980199, 1.49182, 0.904837]],
            [0.469015, 0.370754, 1.64155, 0.205194],
        ),
        (
            Truncated(weight_level="sequence", weight_most=2.0),
            [[1.2214] * 3, [1.39097] * 4],
            [0.12802, -0.0449317, 0.448069, 0.0560086],
        ),
        (
            Masked(weight_level="sequence", weight_least=0.0, weight_most=1.3),
            [[1.2214] * 3, [0] * 4],
            [-0.53811, -0.627795, -1.88339, -0.235423],
        ),
        (Truncated(weight_level="geometric"), [[1.06894] * 3, [1.086] * 4], None),
        (Truncated(weight_most=9.0), [[2.4596, 0.40657, 1.2214], [1.05127, 0.980199, 1.49182, 0.904837]], None),
    ],
    ids=["token_truncate", "token_mask", "sequence_truncate", "sequence_mask", "geometric", "token"],
)
def test_corrections(correction: Correction, weight: list[list[float]], averages: list[float] | None) -> None:
    w = correction.weight(OLD, DRAWN, MASK)
    assert w is not None
    got = torch.where(MASK, w.expand(2, 4), 0.0)
    close(got, [[*weight[0], 0], weight[1]])
    loss = losses.ppo_clip(NEW, OLD, ADVANTAGE, MASK, low=0.2, high=0.2) * w
    for average, want in zip(AVERAGES, averages or [], strict=False):
        close(averaged(loss, average), want)


def test_decoupled_ppo() -> None:
    drawn, old, new = tensor([[-1, -0.5, -2]]), tensor([[-0.9, -0.7, -1.4]]), tensor([[-0.7, -0.9, -1.5]])
    advantage, one = tensor([[1, 1, -1]]), torch.ones(1, 3, dtype=torch.bool)
    loss = losses.ppo_clip(new, old, advantage, one, low=0.2, high=0.2)
    weight = losses.drawn_weight(old, drawn, one, level="token")
    close(weight, [[1.10517, 0.818731, 1.82212]])
    close(loss * weight, [[-1.32621, -0.67032, 1.64872]])
    for w, want in ((weight, -0.115935), (weight.clamp(max=1.5), -0.21309), (losses.within(weight, 0, 1.5), -0.665508)):
        close((loss * w).mean(), want)


def test_what_the_sampler_did_not_say_weighs_one_and_agreement_weighs_one() -> None:
    unknown = torch.where(torch.tensor([[True, False, False, False]]), torch.nan, DRAWN)
    assert losses.drawn_weight(OLD, unknown, MASK, level="token")[0, 0] == 1
    for level in ("token", "sequence", "geometric"):
        assert (losses.drawn_weight(OLD, OLD, MASK, level=level) == 1).all()  # type: ignore[arg-type]


def test_bad_answers_that_the_policy_has_left_are_left_out() -> None:
    advantage, one = tensor([[-1], [1], [-1]]), torch.ones(3, 1, dtype=torch.bool)
    left = tensor([[0.3], [0.3], [0.05]])
    assert losses.still_near(-left, 0 * left, advantage, one, most=0.1).flatten().tolist() == [0, 1, 1]


# Credit.


def test_advantages_relative_to_the_mean() -> None:
    reward, group = [1, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0], np.repeat([3, 1, 2], 4)
    close(adv.group_mean_relative(reward, group), [1, -1, -1, 1, -1, -1, -1, 3, 0, 0, 0, 0])
    with pytest.raises(ValueError, match="must not be below 0, got -1"):
        adv.group_mean_relative([1, -1], [0, 0])


PARTS = np.array([[1, 0, 0, 1, 0, 1, 0, 0], [0, 1, 1, 1, 0.5, 0, 0.5, 1]])
GDPO_WANT = [0.168518, -0.894587, -0.894587, 1.62065, -0.726068, 1.289, -0.726068, 0.16314]


def test_several_rewards_are_standardised_one_by_one() -> None:
    close(adv.gdpo(PARTS, [1, 0.5], np.repeat([0, 1], 4)), GDPO_WANT)
    assert (adv.gdpo(0 * PARTS, [1, 0.5], np.repeat([0, 1], 4)) == 0).all()


def test_the_parts_before_they_are_standardised_over_the_step() -> None:
    group = np.repeat([0, 1], 4)
    want = [0.116025, -0.615925, -0.615925, 1.11583, -0.4999, 0.887478, -0.4999, 0.112322]
    close(adv.group_mean_std(PARTS[0], group) + 0.5 * adv.group_mean_std(PARTS[1], group), want)


def test_only_the_best_of_a_group_is_credited_by_its_margin() -> None:
    reward = np.array([0.2, 0.9, 0.5, 0.1])
    close(adv.best_margin(reward, [0] * 4), [0, 0.4, 0, 0])
    close(adv.best_margin(reward, [0] * 4) / reward.std(ddof=1), [0, 1.11297, 0, 0])
    close(adv.best_margin([0.5, 0.1, 0.5, 1, 0.25, 0.25], [0, 0, 0, 1, 2, 2]), [0] * 6)


def gdpo_step() -> list[Sample]:
    return [replace(each, shares={"a": a, "b": b}) for each, a, b in zip(step(), *PARTS, strict=True)]


def test_gdpo_reads_the_parts_of_the_reward() -> None:
    credited = GDPO(part_weights={"b": 0.5}).credit(gdpo_step(), {})
    found = [float(each.advantage[-1]) for each in credited if each.advantage is not None]
    close(np.array(found), GDPO_WANT)
    with pytest.raises(ValueError, match="standardises each part of a reward by itself, and this has 0"):
        GDPO().credit(step(), {})
    with pytest.raises(ValueError, match="names c, which the reward has not: it has a, b"):
        GDPO(part_weights={"c": 1.0}).credit(gdpo_step(), {})


def test_opo_weighs_the_baseline_by_length() -> None:
    found = [each.advantage[-1] for each in ALGORITHMS["opo"].credit(step(), {}) if each.advantage is not None]
    close(np.array(found), [0.7, -0.3, -0.3, 0.7, -0.125, -0.125, -0.125, 0.875])


# Choices of tokens.


def test_covariances() -> None:
    advantage, logp = np.array([1.0, 1, 1, -1, -1, -1]), np.array([-0.1, -2, -0.5, -0.1, -3, -0.5])
    cov = covariance(advantage, logp)
    close(cov, [0.933333, -0.966667, 0.533333, -0.933333, 1.96667, -0.533333])
    assert cov.mean() == pytest.approx(0.166667, abs=1e-6)


def one_token_steps() -> list[Sample]:
    """Six answers of one token, with the advantages and log-probabilities of the numbers above."""
    rows = []
    for i, (advantage, logp) in enumerate(zip((1, 1, 1, -1, -1, -1), (-0.1, -2, -0.5, -0.1, -3, -0.5), strict=True)):
        row = sample(1, trajectory=i)
        at = row.mask.astype(np.float32)
        rows.append(replace(row, advantage=advantage * at, old_logp=logp * at, weight=1 / 6))
    return rows


def gone(samples: Sequence[Sample]) -> list[int]:
    return [i for i, each in enumerate(samples) if each.advantage is not None and not each.advantage.any()]


def test_clip_cov_leaves_out_some_of_those_between_its_bounds() -> None:
    cov = ClipCov(cov_low=0.5, cov_high=5.0, cov_share=0.5)
    assert gone(cov.choose(one_token_steps())) == [0, 2, 4]
    [one] = gone(replace(cov, cov_share=0.2).choose(one_token_steps()))
    assert one in (0, 2, 4)
    assert gone(replace(cov, cov_low=2.0).choose(one_token_steps())) == []
    # Another step draws others.
    drawn = {
        tuple(gone(replace(cov, cov_share=0.2).choose([replace(s, ids=s.ids + n) for s in one_token_steps()])))
        for n in range(20)
    }
    assert drawn == {(0,), (2,), (4,)}


def test_kl_cov_holds_the_largest() -> None:
    for share, want in ((0.01, [4]), (0.34, [0, 4])):
        held = KLCov(cov_share=share, hold=0.7).choose(one_token_steps())
        assert [i for i, each in enumerate(held) if each.hold is not None and each.hold.any()] == want
        assert held[4].hold is not None
        assert held[4].hold.max() == np.float32(0.7)
        assert gone(held) == []


def test_the_second_moment_falls_below_its_bound_by_leaving_out_the_fewest() -> None:
    log_ratio = np.array([0.1, -0.5, 0.05, 0.3, -0.1])
    assert within_second_moment(log_ratio, 0.04).tolist() == [True, False, True, True, True]
    assert not within_second_moment(np.full(3, 0.3), 0.04).any()
    rows = [
        replace(each, logp=each.old_logp - at * each.mask)
        for each, at in zip(one_token_steps(), (*log_ratio, 0.5), strict=True)
        if each.old_logp is not None
    ]
    assert gone(SecondMoment().choose(rows)) == [1, 5]
    assert gone(SecondMoment().choose([replace(each, recorded=True) for each in rows])) == []


def test_the_least_sure_tokens_are_learned_from() -> None:
    rows = [
        replace(each, entropy=each.mask * np.float32(h))
        for each, h in zip(one_token_steps(), (0.1, 3, 0.2, 1, 0.3, 2), strict=True)
    ]
    assert gone(HighEntropy(share=0.5).choose(rows)) == [0, 2, 4]
    assert gone(HighEntropy(share=1.0).choose(rows)) == []
    # What does not weigh is in no statistic.
    assert gone(HighEntropy(share=0.5).choose([replace(rows[1], weight=0.0), *rows[2:]])) == [1, 3]


def with_entropy(samples: Sequence[Sample]) -> list[Sample]:
    return [replace(each, entropy=np.abs(np.sin(each.old_logp * 50))) for each in samples if each.old_logp is not None]


@pytest.mark.parametrize("name", TOKEN_CHOICES)
def test_a_choice_does_not_depend_on_order_or_micro_batches(name: str) -> None:
    choice: TokenChoice = TOKEN_CHOICES[name]
    if isinstance(choice, ClipCov):
        choice = ClipCov(cov_low=0.0, cov_high=9.0, cov_share=0.2)
    algorithm, rows = GRPO(kl=0.0, average=adv.token_mean, tokens=choice), with_entropy(step())
    order = random.Random(0).sample(range(len(rows)), len(rows))
    straight, shuffled = algorithm.credit(rows, {}), algorithm.credit([rows[i] for i in order], {})
    for i, after in zip(order, shuffled, strict=True):
        np.testing.assert_array_equal(after.advantage, straight[i].advantage)
        np.testing.assert_array_equal(after.hold, straight[i].hold)
    whole = learnt(algorithm, [straight])
    assert_same(whole, learnt(algorithm, [[each] for each in straight]))
    assert_same(whole, learnt(algorithm, [straight[5:], straight[:5]]))
    assert len(algorithm.credit([replace(each, mask=each.mask & False) for each in rows], {})) == len(rows)


# The whole algorithm.


def fixture(algorithm: PolicyGradient) -> tuple[Tensor, Batch, dict[str, Any]]:
    from togi.types import Outputs

    rows = []
    for b, (n, a) in enumerate(((3, 1.0), (4, -0.5))):
        row = sample(n, trajectory=b)
        old, drawn = (np.concatenate([np.zeros(2), x[b, :n].numpy()]).astype(np.float32) for x in (OLD, DRAWN))
        rows.append(replace(row, old_logp=old, logp=drawn, advantage=(a * row.mask).astype(np.float32)))
    weight = algorithm.weights(LENGTH)
    batch = collate([replace(row, weight=float(w)) for row, w in zip(rows, weight, strict=True)])
    logp = torch.nn.functional.pad(torch.where(MASK, NEW, 0.0), (2, 0)).requires_grad_()
    loss = algorithm.loss(Outputs(logp_BT=logp, entropy_BT=torch.zeros_like(logp)), batch)
    loss.value.backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None
    return loss.value.detach(), batch, dict(loss.metrics) | {"gradient": logp.grad[:, 2:]}


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({}, -0.0949608),
        ({"surrogate": PPOClip(dual_clip=3.0)}, -0.136792),
        ({"surrogate": Likelihood()}, 0.395833),
        ({"surrogate": GSPOClip()}, -0.162735),
        ({"surrogate": GMPOClip(log_clip=0.2)}, -0.162396),
        ({"correction": Truncated(weight_level="sequence")}, -0.0449317),
        ({"correction": Masked(weight_least=0.5, weight_most=2.0)}, 0.370754),
        # The second answer is bad, and 0.1 nats a token from its sampler's policy: it has come nearer, not left.
        ({"left_most": 0.01}, -0.0949608),
    ],
)
def test_an_algorithm_composes_its_parts(fields: dict[str, Any], want: float) -> None:
    got = fixture(GRPO(kl=0.0, **fields))[0]
    assert got.item() == pytest.approx(want, rel=1e-5)


def test_left_answers_are_left_out_by_the_algorithm() -> None:
    from togi.types import Outputs

    algorithm = GRPO(kl=0.0, left_most=0.1)
    row = sample(3)
    assert row.old_logp is not None
    rows = [replace(row, logp=row.old_logp, advantage=a * row.mask.astype(np.float32), weight=1.0) for a in (-1, 1)]
    batch = collate(rows)
    assert batch.old_logp_BT is not None
    logp = (batch.old_logp_BT - 0.2 * batch.mask_BT).requires_grad_()
    algorithm.loss(Outputs(logp_BT=logp), batch).value.backward()  # type: ignore[no-untyped-call]
    assert logp.grad is not None
    assert [bool(each.any()) for each in logp.grad] == [False, True]


def test_a_ratio_to_the_sampler() -> None:
    value = fixture(GRPO(kl=0.0, surrogate=Importance(), old_policy="sampler"))[0]
    close(value, averaged(losses.importance(NEW, DRAWN, ADVANTAGE, MASK)).item())


def test_recorded_answers_have_no_ratio_to_a_sampler_and_are_imitated_by_luffy() -> None:
    credited = [
        replace(each, recorded=i % 2 == 0, logp=each.logp * (i % 2))
        for i, each in enumerate(GRPO(kl=0).credit(step(), {}))
    ]
    for algorithm in (GRPO(kl=0, old_policy="sampler"), GRPO(kl=0, correction=Truncated())):
        alone = [replace(each, old_logp=None) for each in credited[::2]]
        assert_same(learnt(algorithm, [alone]), learnt(GRPO(kl=0), [alone]))
    luffy, [good] = GRPO(kl=0, surrogate=MixedPolicy(shaping=0.2)), credited[:1]
    batch = collate([good])
    p = Bigram()(batch).logp_BT.exp()
    want = -(batch.advantage_BT * p / (p + 0.2) * batch.mask_BT).sum() * good.weight
    assert learnt(luffy, [[good]])[0] == pytest.approx(want.item())


def test_a_held_token_is_charged_for_what_it_moved() -> None:
    algorithm = GRPO(kl=0, surrogate=Importance(), tokens=KLCov(hold=0.5, cov_share=1e-9))
    credited = algorithm.credit(step(), {})
    [held] = [each for each in credited if each.hold is not None and each.hold.any()]
    batch = collate([held])
    assert batch.hold_BT is not None
    assert batch.old_logp_BT is not None
    assert int((batch.hold_BT != 0).sum()) == 1
    moved = ((Bigram()(batch).logp_BT - batch.old_logp_BT).abs() * batch.hold_BT).sum() * held.weight
    bare = learnt(algorithm, [[replace(held, hold=None)]])[0]
    assert learnt(algorithm, [[held]])[0] - bare == pytest.approx(moved.item(), rel=1e-4)
    # A batch may hold tokens of some samples only.
    assert_same(learnt(algorithm, [[held, replace(credited[0], hold=None)]]), learnt(algorithm, [[held], credited[:1]]))


@pytest.mark.parametrize("place", ["loss", "reward"])
def test_the_kl_coefficient_follows_its_target_wherever_the_kl_stands(place: str) -> None:
    estimator = "k1" if place == "reward" else "k2"
    algorithm = GRPO(kl=0.2, kl_place=place, kl_estimator=estimator, kl_target=6.0, kl_horizon=10_000)  # type: ignore[arg-type]
    far = [
        replace(each, ref_logp=each.old_logp - 12 / each.mask.sum() * each.mask)
        for each in step()
        if each.old_logp is not None
    ]
    memory: dict[str, float] = {}
    first = algorithm.credit(far, memory)
    assert memory["kl_coef"] == pytest.approx(0.2 * (1 + 0.2 * 8 / 10_000))
    assert {each.kl_coef for each in first} == {0.2}
    second = algorithm.credit(far, memory)
    assert {each.kl_coef for each in second} == {0.2 * (1 + 0.2 * 8 / 10_000)}
    if place == "loss":
        plain = replace(algorithm, kl_target=None)
        doubled = learnt(algorithm, [[replace(each, kl_coef=0.4) for each in first]])
        assert_same(doubled, learnt(replace(plain, kl=0.4), [first_ := [replace(e, kl_coef=None) for e in first]]))
        assert first_[0].kl_coef is None


def test_the_entropy_bonus_rises_below_its_target_and_acts_only_there() -> None:
    algorithm = GRPO(kl=0, entropy_target=0.5, entropy_bonus=0.01, entropy_step=0.005)
    assert algorithm.needs == {"old_entropy"}
    assert "entropy" in algorithm.outputs

    def at(entropy: float, memory: dict[str, float]) -> float | None:
        rows = [replace(each, entropy=np.full(len(each.ids), entropy, np.float32)) for each in step()]
        return algorithm.credit(rows, memory)[0].entropy_coef

    memory: dict[str, float] = {}
    assert at(0.4, memory) == 0.01
    assert memory["entropy_coef"] == pytest.approx(0.015)
    assert at(0.5, memory) == pytest.approx(0.015)
    assert memory["entropy_coef"] == pytest.approx(0.01)
    assert at(0.6, memory) == 0
    assert [at(0.6, memory), memory["entropy_coef"]] == [0, 0]
    credited = algorithm.credit(with_entropy(step()), {"entropy_coef": 0.3})
    bare = [replace(each, entropy_coef=None) for each in credited]
    want = learnt(replace(algorithm, entropy_target=None, entropy_bonus=0.3), [bare])
    assert_same(learnt(algorithm, [[replace(each, entropy_coef=0.3) for each in bare]]), want)


# What does not go together.


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GRPO(old_policy="sampler", correction=Truncated()), 'old_policy = "trainer", or correction = "none"'),
        (lambda: RLOO(correction=Truncated()), 'sequence_clip has one loss.*set weight_level = "sequence"'),
        (lambda: RLOO(tokens=HighEntropy()), 'choice of tokens makes some of them 0: set surrogate = "ppo_clip"'),
        (lambda: PPO(surrogate=TOPRTaper()), 'topr takes one advantage.*credit gives each token its own'),
        (lambda: ReinforcePP(surrogate=GMPOClip()), "gmpo takes one advantage"),
        (lambda: GRPO(surrogate=AWRWeight(), tokens=SecondMoment()), 'awr learns from tokens.*set tokens = "all"'),
        (lambda: GRPO(surrogate=SequenceClip()), 'set average = "sequence_sum"'),
        (lambda: PassAtK(surrogate=MirrorDescent(), average=adv.sequence_mean), "mirror_descent has one loss"),
        (lambda: GRPO(kl=0.0, kl_target=6.0), "set kl above 0"),
        (lambda: GDPO(kl=0.1, kl_place="reward", kl_estimator="k1"), 'set kl_place = "loss"'),
        (lambda: GRPO(surrogate=Likelihood()).check_updates(2), 'likelihood has no ratio.*surrogate = "ppo_clip"'),
        (lambda: VeriFree(surrogate=Likelihood()).check_updates(2), "set minibatches = 1 and epochs = 1"),
        (lambda: ALGORITHMS["kl_cov"].check_updates(1), "set minibatches = 4"),
    ],
)  # fmt: skip
def test_what_is_wrong_by_construction_is_refused(make: Callable[[], object], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize("updates", [1, 4])
def test_other_numbers_of_updates_are_taken(updates: int) -> None:
    for algorithm in (GRPO(), PPO(), ALGORITHMS["dpo"], VeriFree(), ALGORITHMS["gspo"]):
        algorithm.check_updates(updates)


def test_parts_have_names_of_their_own_and_so_have_their_settings() -> None:
    taken = [{field.name for each in ALGORITHMS.values() for part in (each, each.sampler) for field in fields(part)}]  # type: ignore[arg-type]
    for named in (SURROGATES, CORRECTIONS, TOKEN_CHOICES):
        assert len({type(each) for each in named.values()}) == len(named)
        own = {field.name for each in named.values() for field in fields(each)}
        assert not any(own & others for others in taken), own
        taken.append(own)


# Properties of all of them.


@pytest.mark.parametrize("name", SURROGATES)
@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -torch.inf])
def test_what_is_masked_changes_nothing(name: str, junk: float) -> None:
    surrogate = SURROGATES[name]
    rows = [replace(each, weight=0.1) for each in GRPO(kl=0).credit(step(), {})]
    batch = collate(rows)
    clean = Bigram()(batch).logp_BT.detach()
    found = []
    for filling in (0.0, junk):
        logp = clean.where(batch.mask_BT, filling).requires_grad_()
        old = None if batch.old_logp_BT is None else batch.old_logp_BT.where(batch.mask_BT, filling)
        assert old is not None
        loss = surrogate.loss(logp, old, replace(batch, advantage_BT=batch.advantage_BT.where(batch.mask_BT, filling)))
        loss.sum().backward()  # type: ignore[no-untyped-call]
        assert logp.grad is not None
        assert not logp.grad[~batch.mask_BT].any()
        found.append((loss.detach(), logp.grad))
        if not surrogate.one_action:
            assert not loss[~batch.mask_BT].any()
    torch.testing.assert_close(found[0], found[1])


@pytest.mark.parametrize("name", [name for name in SURROGATES if SURROGATES[name].rests and name != "mixed_policy"])
def test_on_the_policy_every_gradient_is_the_policy_gradient(name: str) -> None:
    surrogate = SURROGATES[name]
    credited = GRPO(kl=0).credit(step(), {})
    batch = collate([replace(each, old_logp=None) for each in credited])
    logp = Bigram()(batch).logp_BT.detach().requires_grad_()
    loss = surrogate.loss(logp, logp, batch)
    loss.sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(logp.grad, -batch.advantage_BT.to(logp))


@pytest.mark.parametrize("name", SURROGATES)
def test_any_split_of_a_step_gives_the_same_loss(name: str) -> None:
    surrogate = SURROGATES[name]
    algorithm = GRPO(kl=0.0, surrogate=surrogate, average=adv.sequence_sum)
    credited = algorithm.credit(step(), {})
    whole = learnt(algorithm, [credited])
    for cuts in ([1, 2, 5], [4], range(1, 8)):
        parts = [credited[a:b] for a, b in pairwise([0, *cuts, 8])]
        assert_same(whole, learnt(algorithm, parts))
    assert sum(map(len, minibatches(credited, 3, "sample"))) == sum(each.weight != 0 for each in credited)
