"""Losses against hand-computed values and gradients, by enumeration, and by their properties."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from togi import advantages as adv, losses

Policy = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]

tensor = partial(torch.tensor, dtype=torch.float64)
MASK = torch.tensor([[True, True, True, False], [True] * 4])
OLD = tensor([[-1, -0.5, -2, 0], [-0.3, -1.2, -0.8, -1.5]])
NEW = OLD + tensor([[0.1, 0.3, -0.25, 0], [0.25, -0.3, 1.3, -0.05]])
ADVANTAGE = tensor([[1.0], [-0.5]]).expand(2, 4)
LENGTH = MASK.sum(1).numpy()
AVERAGES = (adv.token_mean, adv.sequence_mean, adv.sequence_sum, partial(adv.constant_length, max_length=8))

PPO: Policy = partial(losses.ppo_clip, low=0.2, high=0.2)
DUAL: Policy = partial(losses.dual_clip, low=0.2, high=0.2, cap=3.0)
DAPO: Policy = partial(losses.ppo_clip, low=0.2, high=0.28)
SEQUENCE: Policy = partial(losses.sequence_ratio_clip, low=0.2, high=0.2)


def PG(logp: Tensor, old_logp: Tensor, advantage: Tensor, mask: Tensor) -> Tensor:
    return losses.policy_gradient(logp, advantage, mask)


def close(got: object, want: object) -> None:
    got = got.detach().numpy() if isinstance(got, Tensor) else got
    assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def gradient(of: Callable[[Tensor], Tensor], at: Tensor) -> Tensor:
    at = at.detach().clone().requires_grad_()
    of(at).sum().backward()
    assert at.grad is not None
    return at.grad


def test_ratio() -> None:
    r = losses.ratio(NEW, OLD, MASK)
    close(r[0, :3], [1.10517, 1.34986, 0.778801])
    close(r[1], [1.28403, 0.740818, 3.6693, 0.951229])
    assert r[0, 3] == 1


def test_ratio_is_finite_far_apart() -> None:
    far = losses.ratio(tensor([[-1.0, -500]]).float(), tensor([[-500.0, -1]]).float(), torch.ones(1, 2, dtype=bool))
    close(far.log(), [[20, -20]])


@pytest.mark.parametrize(
    ("loss", "first", "second", "averaged"),
    [
        (PG, [0.9, 0.2, 2.25], [-0.025, -0.75, 0.25, -0.775], [0.292857, 0.395833, 1.025, 0.128125]),
        (
            PPO,
            [-1.10517, -1.2, -0.778801],
            [0.642013, 0.4, 1.83465, 0.475615],
            [0.0383292, -0.0949608, 0.134152, 0.016769],
        ),
        (
            DUAL,
            [-1.10517, -1.2, -0.778801],
            [0.642013, 0.4, 1.5, 0.475615],
            [-0.00947775, -0.136792, -0.0331721, -0.00414652],
        ),
        (
            DAPO,
            [-1.10517, -1.28, -0.778801],
            [0.642013, 0.4, 1.83465, 0.475615],
            [0.0269006, -0.108294, 0.094152, 0.011769],
        ),
    ],
    ids=["policy_gradient", "ppo", "dual", "dapo"],
)
def test_policy_losses(loss: Policy, first: list[float], second: list[float], averaged: list[float]) -> None:
    got = loss(NEW, OLD, ADVANTAGE, MASK)
    close(got, [[*first, 0], second])
    for average, want in zip(AVERAGES, averaged, strict=True):
        close(losses.weighted_sum(got, torch.from_numpy(average(LENGTH)), MASK), want)


def test_a_third_sequence_without_trained_tokens_changes_nothing() -> None:
    pad = partial(torch.nn.functional.pad, pad=(0, 0, 0, 1))
    mask = pad(MASK)
    got = PPO(pad(NEW, value=torch.nan), pad(OLD, value=-torch.inf), pad(ADVANTAGE, value=torch.nan), mask)
    for average, want in zip(AVERAGES, [0.0383292, -0.0949608, 0.134152, 0.016769], strict=True):
        weight = torch.from_numpy(average(mask.sum(1).numpy()))
        close(losses.weighted_sum(got, weight, mask), want)


@pytest.mark.parametrize(
    ("loss", "want"),
    [
        (PPO, [[-1.10517, 0, -0.778801, 0], [0.642013, 0, 1.83465, 0.475615]]),
        (DUAL, [[-1.10517, 0, -0.778801, 0], [0.642013, 0, 0, 0.475615]]),
    ],
    ids=["ppo", "dual"],
)
def test_gradients(loss: Policy, want: list[list[float]]) -> None:
    got = gradient(lambda x: loss(x, OLD, ADVANTAGE, MASK), NEW)
    close(got, want)
    assert ((got == 0) == (torch.tensor(want) == 0)).all()


def test_clip_fraction_counts_the_silenced_tokens() -> None:
    low, high = losses.clip_fraction(NEW, OLD, ADVANTAGE, MASK, low=0.2, high=0.2)
    close(low, [[0, 0, 0, 0], [0, 1, 0, 0]])
    close(high, [[0, 1, 0, 0], [0, 0, 0, 0]])
    assert not losses.clip_fraction(NEW, OLD, ADVANTAGE, MASK, low=0.2, high=0.4)[1].any()


def test_dual_clip_refuses_a_cap_that_inverts_it() -> None:
    with pytest.raises(ValueError, match="cap"):
        losses.dual_clip(NEW, OLD, ADVANTAGE, MASK, low=0.2, high=0.2, cap=1.0)


def test_dual_clip_written_as_a_cap_on_the_ratio() -> None:
    r = losses.ratio(NEW, OLD, MASK)
    for cap in (1.5, 3.0, 4.0):
        other = -torch.minimum(r.clamp(max=cap) * ADVANTAGE, r.clamp(0.8, 1.2) * ADVANTAGE)
        close(losses.dual_clip(NEW, OLD, ADVANTAGE, MASK, low=0.2, high=0.2, cap=cap), torch.where(MASK, other, 0.0))


# The sequence as one action.


def test_sequence_ratio_clip() -> None:
    # Summed differences 0.15 and 1.2: inside the range, and outside it on the side that still pushes down.
    close(SEQUENCE(NEW, OLD, ADVANTAGE, MASK), [-np.exp(0.15), 0.5 * np.exp(1.2)])
    close(SEQUENCE(NEW, OLD, -ADVANTAGE, MASK), [np.exp(0.15), -0.5 * 1.2])
    got = gradient(lambda x: SEQUENCE(x, OLD, ADVANTAGE, MASK), NEW)
    close(got, [[-np.exp(0.15)] * 3 + [0], [0.5 * np.exp(1.2)] * 4])
    dead = gradient(lambda x: SEQUENCE(x, OLD, -ADVANTAGE, MASK), NEW)
    assert (dead[1] == 0).all()


def test_sequence_ratio_clip_of_one_token_is_ppo() -> None:
    one = MASK & torch.tensor([[False, True, False, False]])
    close(SEQUENCE(NEW, OLD, ADVANTAGE, one), PPO(NEW, OLD, ADVANTAGE, one).sum(1))


def test_sequence_ratio_clip_of_nothing_is_nothing() -> None:
    nothing = torch.zeros_like(MASK)
    assert (SEQUENCE(NEW * torch.nan, OLD, ADVANTAGE * torch.nan, nothing) == 0).all()
    assert (gradient(lambda x: SEQUENCE(x, OLD, ADVANTAGE, nothing), NEW * torch.nan) == 0).all()


# Properties of all policy losses.

EVERY = pytest.mark.parametrize("loss", [PG, PPO, DUAL, DAPO, SEQUENCE], ids=["pg", "ppo", "dual", "dapo", "sequence"])


def test_a_capped_loss_at_an_advantage_of_zero_or_just_above_is_not_capped() -> None:
    """Good tokens are bounded by the clip alone: at a ratio of 1/2 and A = 1/2 the loss is -1/4, not -3/2."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    logp, good = torch.full((1, 1), 0.5).log(), torch.full((1, 1), 0.5)
    loss = losses.dual_clip(logp, torch.zeros(1, 1), good, mask, low=0.2, high=0.2, cap=3)
    assert loss.item() == pytest.approx(-0.25)


def test_the_clip_silences_only_beyond_its_bounds() -> None:
    """Ratios at the bounds and beyond, with advantages of 0 and between 0 and 1."""
    ratios, mask = torch.tensor([[0.5, 0.75, 0.5, 1.25, 1.5, 1.5]]), torch.ones(1, 6, dtype=torch.bool)
    advantage = torch.tensor([[0.0, -1.0, 0.5, 1.0, 0.0, 0.5]])
    below, above = losses.clip_fraction(ratios.log(), torch.zeros(1, 6), advantage, mask, low=0.25, high=0.25)
    assert (below.tolist(), above.tolist()) == ([[0] * 6], [[0, 0, 0, 0, 0, 1]])


def test_a_sequence_ratio_and_a_values_targets_carry_no_gradient_beyond_reason() -> None:
    mask, zeros, ones = torch.ones(1, 2, dtype=torch.bool), torch.zeros(1, 2), torch.ones(1, 2)
    far = torch.full((1, 2), 60.0)
    found = losses.sequence_ratio_clip(far, zeros, -ones, mask, low=0.2, high=0.2)
    assert found.item() == pytest.approx(math.exp(20))
    value, old, returns = (torch.full((1, 2), x, requires_grad=True) for x in (2.0, 1.5, 1.0))
    losses.value_clip(value, old, returns, mask, clip=0.1).sum().backward()  # type: ignore[no-untyped-call]
    assert value.grad is not None
    assert old.grad is None
    assert returns.grad is None


@EVERY
def test_on_policy_the_gradient_is_the_policy_gradient(loss: Policy) -> None:
    close(gradient(lambda x: loss(x, NEW, ADVANTAGE, MASK), NEW), torch.where(MASK, -ADVANTAGE, 0.0))
    close(gradient(lambda x: loss(x, x, ADVANTAGE, MASK), NEW), torch.where(MASK, -ADVANTAGE, 0.0))


@EVERY
@pytest.mark.parametrize("junk", [torch.nan, torch.inf, -torch.inf])
def test_masked_columns_change_nothing(loss: Policy, junk: float) -> None:
    pad = partial(torch.nn.functional.pad, pad=(1, 2))
    old, advantage, mask = pad(OLD, value=junk), pad(ADVANTAGE, value=junk), pad(MASK)
    padded = loss(pad(NEW, value=junk), old, advantage, mask)
    bare = loss(NEW, OLD, ADVANTAGE, MASK)
    assert_allclose(padded.reshape(2, -1).sum(1), bare.reshape(2, -1).sum(1), rtol=1e-12)
    got = gradient(lambda x: loss(x, old, advantage, mask), pad(NEW, value=junk))
    assert_allclose(got, pad(gradient(lambda x: loss(x, OLD, ADVANTAGE, MASK), NEW)), rtol=1e-12)


@pytest.mark.parametrize("average", AVERAGES, ids=["token", "sequence", "sum", "constant"])
@pytest.mark.parametrize("parts", [[[0, 1, 2, 3, 4, 5]], [[0], [1], [2], [3], [4], [5]], [[5, 1], [0, 3, 2], [4]]])
def test_any_split_gives_the_same_loss_and_gradient(average: adv.Average, parts: list[list[int]]) -> None:
    generator = torch.Generator().manual_seed(0)
    new, old, advantage = (torch.randn(6, 9, generator=generator, dtype=torch.float64) for _ in range(3))
    mask = torch.arange(9)[None] < torch.tensor([9, 3, 0, 1, 5, 7])[:, None]
    weight = torch.from_numpy(average(mask.sum(1).numpy()))

    def split(x: Tensor) -> Tensor:
        rows = [PPO(x[p], old[p], advantage[p], mask[p]) for p in parts]
        return torch.stack([losses.weighted_sum(r, weight[p], mask[p]) for r, p in zip(rows, parts, strict=True)])

    def whole(x: Tensor) -> Tensor:
        return losses.weighted_sum(PPO(x, old, advantage, mask), weight, mask)

    assert_allclose(split(new).sum(), whole(new), rtol=1e-12)
    assert_allclose(gradient(split, new), gradient(whole, new), rtol=1e-12)


def test_a_sequence_filtered_out_leaves_no_trace() -> None:
    for average in AVERAGES:
        mask = MASK & torch.tensor([[True], [False]])
        weight = torch.from_numpy(average(mask.sum(1).numpy()))
        alone = torch.from_numpy(average(LENGTH[:1]))
        close(
            losses.weighted_sum(PPO(NEW, OLD, ADVANTAGE, mask), weight, mask),
            losses.weighted_sum(PPO(NEW[:1], OLD[:1], ADVANTAGE[:1], MASK[:1]), alone, MASK[:1]),
        )


def test_the_weighted_sum_ignores_what_is_masked() -> None:
    per_token = torch.where(MASK, NEW, torch.nan)
    want = (NEW[0, :3].sum() * 2 + NEW[1].sum() * 3).item()
    close(losses.weighted_sum(per_token, tensor([2, 3]), MASK), want)


def test_old_and_reference_policies_and_advantages_get_no_gradient() -> None:
    others = [x.detach().clone().requires_grad_() for x in (OLD, ADVANTAGE)]
    new = NEW.clone().requires_grad_()
    for loss in (PG, PPO, DUAL, SEQUENCE):
        loss(new, *others, MASK).sum().backward()
    for estimator in ("k1", "k2", "k3", "k3_ratio"):
        losses.kl(new, others[0], MASK, estimator=estimator, old_logp=others[0]).sum().backward()
    assert new.grad is not None
    assert all(x.grad is None for x in others)


def test_nll() -> None:
    close(losses.nll(NEW, MASK), torch.where(MASK, -NEW, 0.0))
    close(gradient(lambda x: losses.nll(x, MASK), NEW), -MASK.double())


# Divergence from a reference.

ONE = torch.ones(1, 3, dtype=torch.bool)
LP, REF = tensor([[-1, -0.5, -2]]), tensor([[-1.2, -0.3, -2]])


def test_kl_estimators() -> None:
    close(losses.k1(LP, REF, ONE), [[0.2, -0.2, 0]])
    close(losses.k2(LP, REF, ONE), [[0.02, 0.02, 0]])
    close(losses.k3(LP, REF, ONE), [[0.0187308, 0.0214028, 0]])


def test_k3_is_never_negative_and_zero_only_at_equality() -> None:
    d = torch.linspace(-120, 120, 241, dtype=torch.float32)[None]
    got = losses.k3(d, torch.zeros_like(d), torch.ones_like(d, dtype=torch.bool))
    assert (got >= 0).all()
    assert torch.isfinite(got).all()
    assert ((got == 0) == (d == 0)).all()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3", "k3_ratio"])
def test_kl_ignores_what_is_masked(estimator: losses.Estimator) -> None:
    junk = partial(torch.nn.functional.pad, pad=(1, 1), value=torch.nan)
    mask = torch.nn.functional.pad(ONE, (1, 1))
    of = partial(losses.kl, ref_logp=junk(REF), mask=mask, estimator=estimator, old_logp=junk(LP))
    bare = partial(losses.kl, ref_logp=REF, mask=ONE, estimator=estimator, old_logp=LP)
    close(of(junk(LP)), torch.nn.functional.pad(bare(LP), (1, 1)))
    close(gradient(of, junk(LP)), torch.nn.functional.pad(gradient(bare, LP), (1, 1)))


def test_an_unknown_estimator_is_refused() -> None:
    with pytest.raises(ValueError, match="k3_ratio"):
        losses.kl(LP, REF, ONE, estimator="k4")  # type: ignore[arg-type]


# Expected gradients by enumeration of a vocabulary of three: where a KL term stands decides what it pulls towards.

Z, Z_REF = tensor([1, 0, -1]), tensor([0.5, 0.5, -1])
REVERSE, FORWARD = [0.192749, -0.17382, -0.0189295], [0.215425, -0.205088, -0.010337]


def expected(term: Callable[[Tensor, Tensor, Tensor], Tensor], behaviour: Tensor = Z) -> Tensor:
    """The gradient in the logits of E over tokens drawn from ``behaviour`` of term(logp, ref_logp, mask)."""
    drawn = behaviour.softmax(0)

    def mean(z: Tensor) -> Tensor:
        return (drawn * term(z.log_softmax(0)[None], Z_REF.log_softmax(0)[None], ONE)).sum()

    return gradient(mean, Z)


def test_enumerated_values() -> None:
    p, q = Z.softmax(0), Z_REF.softmax(0)
    close(p, [0.665241, 0.244728, 0.0900306])
    close(q, [0.449816, 0.449816, 0.100368])
    logp, logq = Z.log_softmax(0)[None], Z_REF.log_softmax(0)[None]
    close((p * (logp - logq)).sum(), 0.101566)
    close((q * (logq - logp)).sum(), 0.10869)
    close((p * losses.k1(logp, logq, ONE)).sum(), 0.101566)
    close((p * losses.k2(logp, logq, ONE)).sum(), 0.0968002)
    close((p * losses.k3(logp, logq, ONE)).sum(), 0.101566)


def test_true_gradients() -> None:
    logq = Z_REF.log_softmax(0)
    close(gradient(lambda z: z.softmax(0) * (z.log_softmax(0) - logq), Z), REVERSE)
    close(gradient(lambda z: logq.exp() * (logq - z.log_softmax(0)), Z), FORWARD)


@pytest.mark.parametrize(
    ("estimator", "want"), [("k1", [0, 0, 0]), ("k2", REVERSE), ("k3", FORWARD), ("k3_ratio", REVERSE)]
)
def test_expected_gradient_of_kl_in_the_loss(estimator: losses.Estimator, want: list[float]) -> None:
    close(expected(partial(losses.kl, estimator=estimator)), want)


def test_expected_gradient_of_k1_times_the_ratio() -> None:
    close(expected(lambda lp, ref, m: losses.ratio(lp, lp, m) * losses.k1(lp, ref, m)), REVERSE)


def test_the_ratio_keeps_k3_right_for_tokens_of_an_older_policy() -> None:
    old = tensor([-0.4, 0.9, 0.2])
    ratio = partial(losses.kl, estimator="k3_ratio", old_logp=old.log_softmax(0)[None])
    close(expected(ratio, behaviour=old), REVERSE)
    assert (expected(partial(losses.kl, estimator="k3"), behaviour=old) - tensor(REVERSE)).abs().max() > 0.01


def test_expected_gradient_of_kl_in_the_reward() -> None:
    close(expected(lambda lp, ref, m: losses.policy_gradient(lp, -losses.k1(lp, ref, m), m)), REVERSE)
    neither = [-0.0226753, 0.0312678, -0.0085925]
    close(expected(lambda lp, ref, m: losses.policy_gradient(lp, -losses.k3(lp, ref, m), m)), neither)


# Value and entropy.


def test_value_clip() -> None:
    value, old, returns = tensor([[0.5, 1.2, -0.3]]), tensor([[0.2, 1, 0.1]]), tensor([[1, 0.9, 0]])
    got = losses.value_clip(value, old, returns, ONE, clip=0.2)
    close(2 * got, [[0.36, 0.09, 0.09]])
    close(got.mean(), 0.09)
    unclipped = losses.value_clip(value, old, returns, ONE, clip=1e9)
    close(unclipped.mean(), 0.0716667)
    close((got > unclipped).double().mean(), 0.333333)
    junk = partial(torch.nn.functional.pad, pad=(0, 1), value=torch.nan)
    mask = torch.nn.functional.pad(ONE, (0, 1))
    close(losses.value_clip(junk(value), junk(old), junk(returns), mask, clip=0.2)[:, :3], got)


def test_entropy() -> None:
    close(losses.entropy_from_logits(Z), 0.832396)
    close(gradient(losses.entropy_from_logits, Z), [-0.282587, 0.14077, 0.141817])
    close(losses.entropy_from_logits(torch.zeros(2, 5, 3)), np.full((2, 5), 1.09861))


def test_entropy_of_impossible_tokens() -> None:
    logits = tensor([1, 0, -1, -torch.inf])
    close(losses.entropy_from_logits(logits), 0.832396)
    close(gradient(losses.entropy_from_logits, logits), [-0.282587, 0.14077, 0.141817, 0])
