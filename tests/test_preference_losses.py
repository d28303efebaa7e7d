"""Preference and reward-model losses against hand-computed values and gradients, their identities, and extremes."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
import torch
from numpy.testing import assert_allclose
from torch import Tensor

from togi import losses

tensor = partial(torch.tensor, dtype=torch.float64)
LOGP_W, LOGP_L = tensor([-10, -20]), tensor([-12, -25])
REF_W, REF_L = tensor([-11, -18.5]), tensor([-11.5, -22])
LENGTH_W, LENGTH_L = tensor([5, 10]), tensor([8, 12])
H_W, H_L = LOGP_W - REF_W, LOGP_L - REF_L

Pairwise = Callable[[Tensor, Tensor], Tensor]


def close(got: object, want: object) -> None:
    got = got.detach().numpy() if isinstance(got, Tensor) else got
    assert_allclose(got, want, rtol=2e-5, atol=1e-6)


def gradients(of: Callable[..., Tensor], *at: Tensor) -> list[Tensor]:
    leaves = [x.detach().clone().requires_grad_() for x in at]
    of(*leaves).sum().backward()
    return [torch.zeros_like(x) if x.grad is None else x.grad for x in leaves]


def test_log_ratios_of_the_fixture() -> None:
    close(H_W, [1, -1.5])
    close(H_L, [-0.5, -3])
    close(H_W - H_L, [1.5, 1.5])


# Reward models


def test_bradley_terry() -> None:
    score_w, score_l = tensor([1.2]), tensor([0.3])
    close(losses.bradley_terry(score_w, score_l), [0.341154])
    close(losses.bradley_terry(score_w, score_l, margin=0.5), [0.513015])
    close(losses.bradley_terry(score_w, score_l, centring=0.01), [0.363654])
    close(losses.bradley_terry(score_w, score_l, margin=0.5, centring=0.01), [0.535515])
    grad_w, grad_l = gradients(losses.bradley_terry, score_w, score_l)
    close(grad_w, [-0.28905])
    close(grad_l, [0.28905])


def test_bradley_terry_with_a_margin_for_each_pair() -> None:
    margins = tensor([1, 2 / 3, 0])
    each = [losses.bradley_terry(tensor([1.2]), tensor([0.3]), margin=float(m)).item() for m in margins]
    close(losses.bradley_terry(tensor([1.2] * 3), tensor([0.3] * 3), margin=margins), each)


def test_bradley_terry_with_a_soft_label_is_cross_entropy() -> None:
    both_orders = 0.5 * (torch.softmax(tensor([-0.4, -1.3]), 0)[0] + torch.softmax(tensor([-0.6, -0.9]), 0)[0])
    close(both_orders, 0.642696)
    close(losses.bradley_terry(tensor([0.5]), tensor([0.0]), label=both_orders), [0.652729])
    [best] = gradients(lambda d: losses.bradley_terry(d, torch.zeros(1), label=0.7), torch.logit(tensor([0.7])))
    close(best, [0])


def test_a_margin_holds_for_either_answer_of_a_soft_label() -> None:
    """0.7 times -log sigmoid(0.9 - 0.5), and 0.3 times -log sigmoid(-0.9 - 0.5)."""
    close(losses.bradley_terry(tensor([1.2]), tensor([0.3]), margin=0.5, label=0.7), [0.845236])


def test_plackett_luce() -> None:
    close(losses.plackett_luce(tensor([2, 1, 0.5])), 0.938446)
    pairs = [losses.bradley_terry(tensor(a), tensor(b)).item() for a, b in ((2, 1), (2, 0.5), (1, 0.5))]
    close(sum(pairs) / 3, 0.329584)


def test_plackett_luce_over_two_is_bradley_terry_and_is_a_distribution_over_rankings() -> None:
    close(losses.plackett_luce(tensor([[1.2, 0.3]])), losses.bradley_terry(tensor([1.2]), tensor([0.3])))
    orders = torch.tensor([[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]])
    close(losses.plackett_luce(tensor([2, 1, 0.5])[orders]).neg().exp().sum(), 1)


# Pairs


def test_dpo() -> None:
    close(losses.dpo(H_W, H_L, beta=0.1), [0.620957, 0.620957])
    close(0.1 * H_W, [0.1, -0.15])
    close(0.1 * H_L, [-0.05, -0.3])
    grad_w, grad_l = gradients(partial(losses.dpo, beta=0.1), H_W, H_L)
    close(grad_w, [-0.046257, -0.046257])
    close(grad_l, [0.046257, 0.046257])


def test_ipo_on_sums_and_on_means() -> None:
    close(losses.ipo(H_W, H_L, tau=0.1), [12.25, 12.25])
    close(losses.ipo(H_W / LENGTH_W, H_L / LENGTH_L, tau=0.1), [22.4439, 24.01])


def test_conservative_and_robust_dpo() -> None:
    close(losses.dpo(H_W, H_L, beta=0.1, label=0.9), [0.635957, 0.635957])
    close(losses.robust_dpo(H_W, H_L, beta=0.1, flip=0.1), [0.602207, 0.602207])
    with pytest.raises(ValueError, match=r"below 0\.5"):
        losses.robust_dpo(H_W, H_L, beta=0.1, flip=0.5)


def test_slic() -> None:
    close(losses.slic(LOGP_W, LOGP_L, LOGP_W, delta=1, regularisation=0), [0, 0])
    close(losses.slic(LOGP_W, LOGP_L, LOGP_W, delta=1, regularisation=0.1), [1, 2])
    close(losses.slic(tensor([-10]), tensor([-10.5]), tensor([0]), delta=1, regularisation=0.1), [0.5])


def test_rso() -> None:
    close(losses.rso(H_W, H_L, gamma=0.1), [0.85, 0.85])
    close(losses.rso(H_W, H_L, gamma=1.0), [0, 0])


def test_the_odds_of_a_certain_answer_are_cut() -> None:
    """At e^-1e-7 they are 1e7; an even answer's are 1."""
    close(losses.log_odds_ratio(tensor([0.0]), tensor([0.5]).log()), [16.118096])


def test_f_dpo_lies_halfway_unless_told() -> None:
    halfway = losses.f_dpo(H_W, H_L, beta=0.1, divergence="alpha", alpha=0.5)
    close(losses.f_dpo(H_W, H_L, beta=0.1, divergence="alpha"), halfway)


@pytest.mark.parametrize("epsilon", [-0.1, 0.0, 0.5, 0.6])
def test_exo_refuses_a_label_without_a_side(epsilon: float) -> None:
    with pytest.raises(ValueError, match=r"\(0, 0\.5\)"):
        losses.exo(H_W, H_L, beta=0.1, epsilon=epsilon)


KTO_H, KTO_DESIRABLE = tensor([1, -0.5, 0.3]), torch.tensor([True, True, False])
KTO_Z0 = tensor([0.2, -0.1, 0.5]).mean().clamp(min=0)


def test_kto() -> None:
    close(KTO_Z0, 0.2)
    each = losses.kto(KTO_H, KTO_DESIRABLE, KTO_Z0, beta=0.1)
    close(each, [0.480011, 0.517493, 0.5025])
    close(each.mean(), 0.500001)
    weighted = losses.kto(KTO_H, KTO_DESIRABLE, KTO_Z0, beta=0.1, undesirable_weight=4 / 3)
    close(weighted[2], 0.5025 * 4 / 3)
    close(losses.kto(KTO_H, KTO_DESIRABLE, KTO_Z0, beta=0.1, undesirable_weight=1.33).mean(), 0.555276)


def test_the_reference_points_of_kto_and_bco_get_no_gradient() -> None:
    for loss in (losses.kto, losses.bco):
        [_, unrelated] = gradients(lambda h, z: loss(h, KTO_DESIRABLE, z.mean(), beta=0.1), KTO_H, tensor([0.2, 0.4]))  # noqa: B023
        close(unrelated, [0, 0])


def test_orpo() -> None:
    mean_w, mean_l = tensor([-0.5]), tensor([-1])
    close(losses.log_odds_ratio(mean_w, mean_l), [0.974077])
    close(losses.orpo(mean_w, mean_l), [0.3203])
    close(0.5 + 0.1 * losses.orpo(mean_w, mean_l), [0.53203])


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odds_are_right_from_certain_to_impossible(dtype: torch.dtype) -> None:
    mean = torch.tensor([-1e-6, -1e-3, -0.69, -0.70, -5, -40], dtype=dtype)
    exact = mean.double() - torch.log(-torch.expm1(mean.double()))
    got = losses.log_odds_ratio(mean, torch.full_like(mean, -float(torch.log(torch.tensor(2.0)))))
    assert_allclose(got, exact, rtol=1e-4, atol=1e-6)


def test_simpo() -> None:
    close(losses.simpo(tensor([-0.5]), tensor([-1]), beta=2, gamma=1), [0.693147])
    close(losses.simpo(tensor([-0.5]), tensor([-1]), beta=2, gamma=1.6), [1.03749])


def test_cpo() -> None:
    pref, nll = losses.cpo(LOGP_W, LOGP_L, beta=0.1), -LOGP_W / LENGTH_W
    close(pref, [0.598139, 0.474077])
    close(-LOGP_W, [10, 20])
    close(nll, [2, 2])
    close(pref + nll, [2.59814, 2.47408])


def test_dpop() -> None:
    close(5 * (-H_W).clamp(min=0) / 5, [0, 1.5])
    close(losses.dpop(H_W, H_L, beta=0.1, penalty=5), [0.620957, 1.03749])


def test_apo() -> None:
    close(losses.apo_zero(H_W, H_L, beta=0.1), [0.962523, 0.962987])
    close(losses.apo_down(H_W, H_L, beta=0.1), [0.987549, 0.92514])


def test_apo_zero_is_kto_about_zero() -> None:
    h, desirable = torch.cat([H_W, H_L]), torch.tensor([True, True, False, False])
    single = losses.kto(h, desirable, 0.0, beta=0.1)
    close(single[:2] + single[2:], losses.apo_zero(H_W, H_L, beta=0.1))


def bco_pairs(shift: Tensor | float) -> Tensor:
    single = losses.bco(torch.cat([H_W, H_L]), torch.tensor([True, True, False, False]), shift, beta=0.1)
    return single[:2] + single[2:]


def test_bco() -> None:
    shift = 0.5 * (0.1 * H_W.mean() + 0.1 * H_L.mean())
    close(shift, -0.1)
    close(bco_pairs(shift), [1.3166, 1.3166])
    close(bco_pairs(0.0), [1.31286, 1.32531])


def both(h_w: Tensor, h_l: Tensor) -> Tensor:
    return torch.stack([h_w, h_l], -1)


PAIR = tensor([1, 0])
HARD = 1e-3


def test_nca_on_pairs() -> None:
    close(losses.nca(both(H_W, H_L), PAIR, beta=0.1, alpha=HARD), [1.35082, 1.35861])


def test_nca_and_infonca_on_three_answers() -> None:
    worth, f = tensor([2, 1, 0]), tensor([0.2, 0.1, -0.3])
    close(losses.infonca(f / 0.1, worth, beta=0.1, alpha=1), 0.990316)
    close(losses.nca(f / 0.1, worth, beta=0.1, alpha=1), 1.33149)


def test_exo() -> None:
    close(losses.exo(H_W, H_L, beta=0.1, epsilon=1e-3), [2.50552, 2.50552])
    with pytest.raises(ValueError, match="infinite"):
        losses.exo(H_W, H_L, beta=0.1, epsilon=0)
    official = losses.exo_rewards(both(H_W, H_L), tensor([0, -10]), beta=0.1, beta_reward=1)
    # The published code leaves its log-labels (0, -10) unnormalised.
    unnormalised = official - torch.log1p(torch.exp(tensor(-10.0)))
    close(unnormalised, [3.93536, 3.93536])


def test_exo_with_rewards_is_the_kl_from_their_softmax() -> None:
    h, worth = tensor([0.3, -1, 2]), tensor([1, 0, 0.5])
    p, q = torch.softmax(0.1 * h, 0), torch.softmax(worth / 0.5, 0)
    close(losses.exo_rewards(h, worth, beta=0.1, beta_reward=0.5), (p * (p / q).log()).sum())
    close(losses.exo_rewards(worth / 0.05, worth, beta=0.1, beta_reward=0.5), 0)
    two = losses.exo_rewards(both(H_W, H_L), tensor([0.999, 0.001]).log(), beta=0.1, beta_reward=1)
    close(two, losses.exo(H_W, H_L, beta=0.1, epsilon=1e-3))


def test_sppo() -> None:
    close(2 * losses.sppo(H_W, H_L, 1.0, 0.0, eta=10), [36.25, 46.25])
    close(losses.sppo(H_W, H_L, 1.0, 0.0, eta=10), [18.125, 23.125])
    close(losses.sppo(H_W, H_L, tensor([0.8, 0.8]), tensor([0.2, 0.2]), eta=10), [5.125, 10.125])


def test_f_dpo() -> None:
    of = partial(losses.f_dpo, H_W[:1], H_L[:1], beta=0.1)
    close(of(divergence="reverse_kl"), [0.620957])
    close(of(divergence="forward_kl"), [0.631154])
    close(of(divergence="js"), [0.660652])
    close(of(divergence="alpha", alpha=0.3), [0.625438])


def test_f_dpo_alpha_in_the_other_writing() -> None:
    """(u^(a-1) - 1) / (a - 1) with a = 1 - alpha is the paper's (1 - u^-alpha) / alpha."""

    def other(h: Tensor) -> Tensor:
        return (torch.exp(h * (0.7 - 1)) - 1) / (0.7 - 1)

    want = losses.dpo(other(H_W), other(H_L), beta=0.1)
    close(losses.f_dpo(H_W, H_L, beta=0.1, divergence="alpha", alpha=0.3), want)
    close(want[0], 0.625438)


def test_f_dpo_alpha_lies_between_the_two_kls() -> None:
    of = partial(losses.f_dpo, H_W, H_L, beta=0.1)
    close(of(divergence="alpha", alpha=1e-7), of(divergence="reverse_kl"))
    close(of(divergence="alpha", alpha=1.0), of(divergence="forward_kl"))


def test_length_normalised_dpo() -> None:
    close(losses.dpo(H_W / LENGTH_W, H_L / LENGTH_L, beta=5), [0.238345, 0.474077])


def test_length_desensitised_log_probabilities() -> None:
    logp, mask = tensor([[-1, -2, -3], [-4, -5, torch.nan]]), torch.tensor([[True] * 3, [True, True, False]])
    of = partial(losses.length_desensitised, logp, mask, torch.tensor([2, 2]))
    close(of(alpha=0.5), [-4.5, -9])
    close(of(alpha=1.0), [-6, -9])
    close(of(alpha=0.0), [-3, -9])


def test_plackett_luce_dpo_over_two_is_dpo() -> None:
    close(losses.plackett_luce(0.1 * both(H_W, H_L)), losses.dpo(H_W, H_L, beta=0.1))
    close(losses.plackett_luce(0.1 * tensor([20, 10, 5])), 0.938446)


# Identities


def test_swapping_the_answers_turns_the_margin() -> None:
    at = tensor([-3, -0.2, 0, 0.7, 40])
    zero = torch.zeros_like(at)
    close(losses.dpo(zero, at, beta=0.1), losses.dpo(-at, zero, beta=0.1))
    close(losses.dpo(at, zero, beta=0.1, label=0.5), losses.dpo(zero, at, beta=0.1, label=0.5))
    close(losses.dpo(at, zero, beta=0.1, label=0.3), losses.dpo(zero, at, beta=0.1, label=0.7))


@pytest.mark.parametrize("flip", [0.0, 0.1, 0.4])
def test_robust_dpo_is_dpo_on_average_over_flipped_labels(flip: float) -> None:
    of = partial(losses.robust_dpo, beta=0.1, flip=flip)
    close((1 - flip) * of(H_W, H_L) + flip * of(H_L, H_W), losses.dpo(H_W, H_L, beta=0.1))


def test_hard_rewards_make_nca_its_pair_form_and_infonca_dpo() -> None:
    f_w, f_l = 0.1 * H_W, 0.1 * H_L
    s = torch.nn.functional.logsigmoid
    close(losses.nca(both(H_W, H_L), PAIR, beta=0.1, alpha=HARD), -s(f_w) - 0.5 * s(-f_w) - 0.5 * s(-f_l))
    close(losses.infonca(both(H_W, H_L), PAIR, beta=0.1, alpha=HARD), losses.dpo(H_W, H_L, beta=0.1))


# Extremes: everything finite, gradients too, and pulling the right way.

PAIRWISE: dict[str, Pairwise] = {
    "dpo": partial(losses.dpo, beta=0.1),
    "cdpo": partial(losses.dpo, beta=0.1, label=0.9),
    "robust": partial(losses.robust_dpo, beta=0.1, flip=0.1),
    "ipo": partial(losses.ipo, tau=0.1),
    "slic": lambda up, down: losses.slic(up, down, up, delta=1, regularisation=0.1),
    "rso": partial(losses.rso, gamma=0.05),
    "kto": lambda up, down: (
        losses.kto(up, torch.ones_like(up, dtype=torch.bool), 0.2, beta=0.1)
        + losses.kto(down, torch.zeros_like(down, dtype=torch.bool), 0.2, beta=0.1)
    ),
    "bco": lambda up, down: (
        losses.bco(up, torch.ones_like(up, dtype=torch.bool), 0.2, beta=0.1)
        + losses.bco(down, torch.zeros_like(down, dtype=torch.bool), 0.2, beta=0.1)
    ),
    "orpo": losses.orpo,
    "simpo": partial(losses.simpo, beta=2, gamma=1),
    "cpo": partial(losses.cpo, beta=0.1),
    "dpop": partial(losses.dpop, beta=0.3, penalty=50),
    "apo_zero": partial(losses.apo_zero, beta=0.1),
    "apo_down": partial(losses.apo_down, beta=0.1),
    "nca": lambda up, down: losses.nca(both(up, down), PAIR.to(up), beta=0.01, alpha=0.01),
    "infonca": lambda up, down: losses.infonca(both(up, down), PAIR.to(up), beta=0.01, alpha=0.01),
    "exo": partial(losses.exo, beta=0.1, epsilon=1e-3),
    "exo_rewards": lambda up, down: losses.exo_rewards(both(up, down), PAIR.to(up), beta=0.1, beta_reward=0.1),
    "sppo": lambda up, down: losses.sppo(up, down, 1.0, 0.0, eta=1000),
    "f_reverse": partial(losses.f_dpo, beta=0.1, divergence="reverse_kl"),
    "f_forward": partial(losses.f_dpo, beta=0.1, divergence="forward_kl"),
    "f_js": partial(losses.f_dpo, beta=0.1, divergence="js"),
    "f_alpha": partial(losses.f_dpo, beta=0.1, divergence="alpha", alpha=0.3),
    "plackett_luce": lambda up, down: losses.plackett_luce(0.1 * both(up, down)),
    "bradley_terry": partial(losses.bradley_terry, margin=0.3, centring=0.01),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("name", PAIRWISE)
def test_extreme_inputs_stay_finite(name: str, dtype: torch.dtype) -> None:
    grid = torch.tensor([-1000, -40, -1e-9, 0, 40, 1000], dtype=dtype)
    at_w, at_l = (x.reshape(-1) for x in torch.meshgrid(grid, grid, indexing="ij"))
    loss = PAIRWISE[name]
    assert torch.isfinite(loss(at_w, at_l)).all()
    assert all(torch.isfinite(g).all() for g in gradients(loss, at_w, at_l))


@pytest.mark.parametrize("name", [name for name in PAIRWISE if name not in ("apo_down", "bradley_terry")])
def test_at_the_start_the_chosen_answer_goes_up_and_the_rejected_down(name: str) -> None:
    """Where policy and reference agree (for the losses that read no reference: where both answers are as likely)."""
    start = tensor([-1.0 if name in ("orpo", "simpo", "cpo", "slic") else 0.0])
    grad_w, grad_l = gradients(PAIRWISE[name], start, start)
    assert grad_w < 0 < grad_l or name == "dpop"
    assert grad_w < 0


@pytest.mark.parametrize("name", PAIRWISE)
def test_gradients_agree_with_differences(name: str) -> None:
    at = tensor([-0.7, -0.4, -1.3]).requires_grad_(), tensor([-0.9, -0.3, -0.2]).requires_grad_()
    assert torch.autograd.gradcheck(PAIRWISE[name], at)
