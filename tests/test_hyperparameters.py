"""Every algorithm's own values, and which others it takes: its paper's as they stand, and bounds to the number."""

from __future__ import annotations

import math
from dataclasses import fields, replace
from typing import Any

import pytest

from togi.algorithms import ALGORITHMS, ConstantLength
from togi.algorithms.policy_gradient.corrections import Correction, Masked, Truncated, Uncorrected
from togi.algorithms.policy_gradient.surrogates import (
    AWRWeight,
    CISPOWeight,
    DPPOMask,
    GMPOClip,
    GSPOClip,
    Importance,
    Likelihood,
    MirrorDescent,
    MixedPolicy,
    PPOClip,
    SAPOGate,
    SequenceClip,
    Surrogate,
    TOPRTaper,
    VESPOWeight,
)
from togi.algorithms.policy_gradient.token_choices import (
    AllTokens,
    ClipCov,
    HighEntropy,
    KLCov,
    SecondMoment,
    TokenChoice,
)
from togi.algorithms.scorers.genrm import Chains, Verdicts
from togi.protocols import Sampler
from togi.samplers import (
    Against,
    Budgeted,
    Dynamic,
    EntropyTree,
    Groups,
    LevelTree,
    Rationalised,
    Recorded,
    Referenced,
    Rejection,
    Revised,
    SegmentTree,
    StepLabels,
    Stepwise,
    StudentsShare,
    ValuedSegments,
    ValuedSteps,
    WithGreedy,
)

REGULARISED = {
    "surrogate": PPOClip(clip_low=0.2, clip_high=0.2), "kl": 0.0, "kl_estimator": "k3", "kl_place": "loss",
    "correction": Uncorrected(), "tokens": AllTokens(), "old_policy": "trainer", "left_most": None,
    "kl_target": None, "kl_horizon": 10_000, "entropy_bonus": 0.0, "entropy_target": None, "entropy_step": 0.005,
}  # fmt: skip
GRADIENT = REGULARISED | {"drop_truncated": False}
BRANCHING = GRADIENT | {"kl_estimator": "k2", "whiten": False}
REWARD_KL = {"kl_estimator": "k1", "kl_place": "reward"}
PAIRS = {"beta": 0.1, "nll": 0.0, "pairs": "ends", "soft": False}
DPO = PAIRS | {"label_smoothing": 0.0, "per_token": False}
PPO = REGULARISED | REWARD_KL | {
    "kl": 0.02, "critic": "own",
    "actions": "tokens", "gamma": 1.0, "lam": 0.95, "whiten": True,
    "value_coef": 0.1, "value_clip": None, "score_clip": None, "missing_eos_penalty": 0.0, "truncation": "end",
    "ptx": 0.0,
}  # fmt: skip

VESPO_WEIGHT = VESPOWeight(good_power=2.0, good_tilt=3.0, bad_power=3.0, bad_tilt=2.0)
CLIP_COV = ClipCov(cov_share=2e-4, cov_low=1.0, cov_high=5.0)
GKD = {"divergence": "jsd", "beta": 0.5, "alpha": 0.1}

PUBLISHED: dict[str, tuple[Sampler, dict[str, Any]]] = {
    "sft": (Recorded(), {}),
    "sft_revised": (Revised(1), {}),
    "collect": (Groups(2), {}),
    "collect_revised": (Revised(1), {}),
    "grpo": (Groups(64), GRADIENT | {"kl": 0.04}),
    "dr_grpo": (Groups(8), GRADIENT),
    "dapo": (Dynamic(16, max_rounds=10), GRADIENT | {"surrogate": PPOClip(clip_high=0.28), "drop_truncated": True}),
    "rloo": (Groups(4), GRADIENT | REWARD_KL | {"surrogate": SequenceClip(), "kl": 0.03}),
    "reinforce_pp": (Groups(1), GRADIENT | REWARD_KL | {"kl": 0.01, "gamma": 1.0}),
    "reinforce_pp_baseline": (Groups(8), GRADIENT | {"kl": 0.001, "kl_estimator": "k2"}),
    "lite_ppo": (Groups(8), GRADIENT),
    "rae": (Groups(1), GRADIENT | {"decay": 0.95}),
    "pass_at_k": (Groups(16), GRADIENT | {"k": 4, "standardised": False}),
    "pass_at_k_training": (Groups(16), GRADIENT | {"k": 4, "standardised": True}),
    "reward_model": (Recorded(), {"ranking": "pairs", "margin": 0.0, "centre": 0.01, "soft": False}),
    "genrm": (Verdicts(most=4, master_keys=0, correct_from=0.5), {"solution": 1 / 3}),
    "genrm_cot": (Chains(most=4, master_keys=0, correct_from=0.5, n=4), {"solution": 1 / 3}),
    "process_reward_model": (Stepwise("\n"), {"after_error": False}),
    "step_labels": (StepLabels(n=4, continuations=8, labels="hard", separator="\n", right_from=0.5), {}),
    "gigpo": (Groups(8), GRADIENT | {"kl": 0.01, "gamma": 0.95, "step_weight": 1.0}),
    "mt_grpo": (Groups(8), GRADIENT | {"combine": "added"}),
    "treerl": (EntropyTree(n=6, forks=2, arms=2, rounds=1), BRANCHING | {"kl": 0.004}),
    "treepo": (
        SegmentTree(n=16, segment=512, arms=2, first=2),
        BRANCHING | {"surrogate": PPOClip(clip_high=0.28), "whiten": True, "weighting": "equal"},
    ),
    "vineppo": (ValuedSteps(n=8, continuations=9, separator="\n"), BRANCHING | {"kl": 1e-4, "whiten": True}),
    "spo": (
        ValuedSegments(n=8, continuations=9, cutpoints=5, unsure=0.9),
        BRANCHING | {"kl": 1e-4, "learn_below": 0.9},
    ),
    "spo_tree": (LevelTree(n=6, levels=3, segment=600), BRANCHING | {"kl": 1e-4, "learn_below": 0.9}),
    "rlpr": (Groups(8), GRADIENT | {"surrogate": PPOClip(clip_high=0.27), "beta": 1.0, "decay": 0.99}),
    "verifree": (Referenced(8, "answer"), {"surrogate": PPOClip()}),
    "entropy_minimisation": (Groups(1), {}),
    "ppo": (Groups(1), PPO),
    "prime": (Groups(4), REGULARISED | {"beta": 0.05, "gamma": 1.0}),
    "reinforce_baseline": (Groups(1), PPO | {"critic": "shared", "lam": 1.0, "whiten": False, "kl": 0.0}),
    "remax": (WithGreedy(1), GRADIENT | REWARD_KL),
    "nash_md": (Against(1, 0.125), GRADIENT | REWARD_KL | {"kl": 0.008}),
    "vanilla_pg": (Groups(8), GRADIENT | {"surrogate": Likelihood()}),
    "gspo": (Groups(8), GRADIENT | {"surrogate": GSPOClip(clip_low=3e-4, clip_high=4e-4)}),
    "luspo": (Groups(8), GRADIENT | {"surrogate": GSPOClip(clip_low=2e-3, clip_high=2.5e-3)}),
    "cispo": (Groups(8), GRADIENT | {"surrogate": CISPOWeight(ratio_least=0.0, ratio_most=5.0)}),
    "sapo": (Groups(8), GRADIENT | {"surrogate": SAPOGate(tau_good=1.0, tau_bad=1.05)}),
    "gmpo": (Groups(8), GRADIENT | {"surrogate": GMPOClip(log_clip=0.4)}),
    "topr": (Groups(8), GRADIENT | {"surrogate": TOPRTaper(), "old_policy": "sampler"}),
    "vespo": (Groups(8), GRADIENT | {"surrogate": VESPO_WEIGHT, "old_policy": "sampler"}),
    "dppo": (Groups(8), GRADIENT | {"surrogate": DPPOMask(fall=0.15, rise=0.15)}),
    "decoupled_ppo": (Groups(8), GRADIENT | {"correction": Truncated(weight_level="token", weight_most=5.0)}),
    "awr": (Groups(8), GRADIENT | {"surrogate": AWRWeight(temper=0.05, weight_cap=20.0)}),
    "mirror_descent": (Groups(8), GRADIENT | {"surrogate": MirrorDescent(tau=0.1)}),
    "m2po": (
        Groups(8),
        GRADIENT
        | {
            "surrogate": Importance(),
            "tokens": SecondMoment(moment_most=0.04),
            "old_policy": "sampler",
        },
    ),
    "luffy": (Groups(7, demonstrations=1), GRADIENT | {"surrogate": MixedPolicy(shaping=0.1), "entropy_bonus": 0.001}),
    "opo": (Groups(8), GRADIENT | {"surrogate": Likelihood()}),
    "maxrl": (Groups(16), GRADIENT),
    "gdpo": (Groups(8), GRADIENT | {"part_weights": {}}),
    "clip_cov": (Groups(8), GRADIENT | {"surrogate": PPOClip(clip_low=1.0, clip_high=1.0), "tokens": CLIP_COV}),
    "kl_cov": (Groups(8), GRADIENT | {"surrogate": Importance(), "tokens": KLCov(cov_share=2e-3, hold=1.0)}),
    "high_entropy_tokens": (
        Dynamic(16, max_rounds=10),
        GRADIENT
        | {
            "surrogate": PPOClip(clip_high=0.28),
            "tokens": HighEntropy(share=0.2),
            "drop_truncated": True,
        },
    ),
    "star": (Rationalised(1, True, "{prompt}\n\n(Hint: the answer is {answer}.)", 0.5), {}),
    "rft": (Groups(100), {}),
    "rest_em": (Groups(32), {}),
    "v_star": (Recorded(), DPO | {"pairs": "all"}),
    "on_policy_distillation": (StudentsShare(4, 1.0), GRADIENT | {"discount": 0.0}),
    "gkd": (StudentsShare(1, 0.5), GKD),
    "kd": (StudentsShare(1, 0.0), GKD | {"divergence": "forward_kl"}),
    "skewed_kl": (StudentsShare(1, 0.5), GKD | {"divergence": "skewed_forward_kl"}),
    "skewed_reverse_kl": (StudentsShare(1, 0.5), GKD | {"divergence": "skewed_reverse_kl"}),
    "dpo": (Recorded(), DPO),
    "cdpo": (Recorded(), DPO | {"label_smoothing": 0.1}),
    "robust_dpo": (Recorded(), PAIRS | {"beta": 0.01, "flip": 0.1}),
    "rpo": (Recorded(), DPO | {"nll": 1.0}),
    "dpo_norm": (Recorded(), DPO | {"beta": 5.0, "per_token": True}),
    "ld_dpo": (Recorded(), PAIRS | {"alpha": 0.5}),
    "online_dpo": (Groups(2), DPO),
    "ipo": (Recorded(), PAIRS | {"per_token": True}),
    "ipo_sum": (Recorded(), PAIRS | {"per_token": False}),
    "f_dpo": (Recorded(), PAIRS | {"divergence": "js", "alpha": 0.5}),
    "dpop": (Recorded(), PAIRS | {"beta": 0.3, "penalty": 50.0}),
    "apo_zero": (Recorded(), PAIRS),
    "apo_down": (Recorded(), PAIRS),
    "exo": (Recorded(), PAIRS | {"epsilon": 1e-3}),
    "exo_reward": (Recorded(), {"beta": 0.1, "nll": 0.0, "beta_reward": 0.1}),
    "infonca": (Recorded(), {"beta": 0.01, "nll": 0.0, "alpha": 0.01}),
    "nca": (Recorded(), {"beta": 0.01, "nll": 0.0, "alpha": 0.01}),
    "pl_dpo": (Recorded(), {"beta": 0.1, "nll": 0.0}),
    "sppo": (Recorded(), PAIRS | {"beta": 0.001}),
    "rso": (Rejection(64, keep=8, reward_scale=0.5), PAIRS | {"beta": 0.05, "pairs": "all"}),
    "slic": (Recorded(), PAIRS | {"beta": 1.0, "delta": 1.0, "regularisation": 0.1}),
    "orpo": (Recorded(), PAIRS | {"nll": 1.0}),
    "simpo": (Recorded(), PAIRS | {"beta": 2.0, "gamma": 1.0}),
    "cpo": (Recorded(), PAIRS | {"nll": 1.0}),
    "kto": (Recorded(), {"beta": 0.1, "desirable_from": 0.5, "desirable_weight": 1.0, "undesirable_weight": 1.0}),
    "bco": (Recorded(), {"beta": 0.01, "desirable_from": 0.5, "decay": 0.9}),
    "quiet_star": (
        Recorded(),
        {"thoughts": 2, "length": 12, "ahead": 4, "base": 0.5, "mixed": 0.5, "reinforce": 1.0}
        | {"positive_only": False, "random": False, "start": "", "end": ""},
    ),
}


def test_every_algorithm_is_published() -> None:
    assert PUBLISHED.keys() == ALGORITHMS.keys()


@pytest.mark.parametrize("name", PUBLISHED)
def test_an_algorithm_has_its_papers_values(name: str) -> None:
    algorithm, (sampler, values) = ALGORITHMS[name], PUBLISHED[name]
    assert algorithm.sampler == sampler
    own = {field.name: getattr(algorithm, field.name) for field in fields(algorithm)}  # type: ignore[arg-type]
    assert {name: value for name, value in own.items() if name != "sampler" and not callable(value)} == values


ABOVE_0, FROM_0 = ([1e-9, 1.0], [0.0, -1.0]), ([0.0, 1.0], [-1e-9])
UNTIL_1 = ([1e-9, 1.0], [0.0, 1.001])
BOUNDS: list[tuple[str, str, tuple[list[float], list[float]]]] = [
    # What pages with bounds of their own have from the page that they are made from.
    *((name, "kl", FROM_0) for name in ("reinforce_pp", "pass_at_k", "rlpr", "ppo", "prime")),
    *(
        (name, "beta", ABOVE_0)
        for name in ("bco", "robust_dpo", "dpop", "f_dpo", "ld_dpo", "exo", "exo_reward", "infonca", "slic", "sppo")
    ),
    ("grpo", "kl", FROM_0),
    ("quiet_star", "thoughts", ([2, 64], [1, 65])),
    ("quiet_star", "length", ([1, 256], [0, 257])),
    ("quiet_star", "ahead", ([1, 64], [0, 65])),
    ("quiet_star", "base", FROM_0),
    ("quiet_star", "mixed", ABOVE_0),
    ("quiet_star", "reinforce", FROM_0),
    ("reinforce_pp", "gamma", UNTIL_1),
    ("gigpo", "gamma", UNTIL_1),
    ("gigpo", "step_weight", FROM_0),
    ("pass_at_k", "k", ([1, 16], [0, 17])),
    ("rlpr", "beta", FROM_0),
    ("rlpr", "decay", ([0.0, 0.999], [-1e-9, 1.0])),
    ("ppo", "gamma", UNTIL_1),
    ("ppo", "lam", ([0.0, 1.0], [-1e-9, 1.001])),
    ("ppo", "value_clip", ABOVE_0),
    ("ppo", "score_clip", ABOVE_0),
    ("ppo", "kl_target", ABOVE_0),
    ("grpo", "kl_target", ABOVE_0),
    ("grpo", "entropy_target", ABOVE_0),
    ("grpo", "entropy_step", ABOVE_0),
    ("grpo", "left_most", ABOVE_0),
    ("ppo", "value_coef", FROM_0),
    ("ppo", "missing_eos_penalty", FROM_0),
    ("ppo", "ptx", FROM_0),
    ("ppo", "kl_horizon", ([1], [0])),
    ("spo", "learn_below", UNTIL_1),
    ("prime", "beta", ABOVE_0),
    ("prime", "gamma", UNTIL_1),
    ("dpo", "beta", ABOVE_0),
    ("dpo", "nll", FROM_0),
    ("dpo", "label_smoothing", ([0.0, 0.5], [-1e-9, 0.501])),
    ("robust_dpo", "flip", ([0.0, 0.499], [-1e-9, 0.5])),
    ("dpop", "penalty", FROM_0),
    ("f_dpo", "alpha", ([1e-9, 0.999], [0.0, 1.0])),
    ("ld_dpo", "alpha", ([0.0, 1.0], [-1e-9, 1.001])),
    ("exo", "epsilon", ([1e-9, 0.499], [0.0, 0.5])),
    ("exo_reward", "beta_reward", ABOVE_0),
    ("infonca", "alpha", ABOVE_0),
    ("slic", "delta", FROM_0),
    ("slic", "regularisation", FROM_0),
    ("kto", "beta", ABOVE_0),
    ("kto", "desirable_weight", ABOVE_0),
    ("kto", "undesirable_weight", ABOVE_0),
    ("bco", "decay", ([0.0, 0.999], [-1e-9, 1.0])),
    ("reward_model", "margin", FROM_0),
    ("reward_model", "centre", FROM_0),
    ("on_policy_distillation", "discount", ([0.0, 1.0], [-1e-9, 1.001])),
    ("on_policy_distillation", "kl", FROM_0),
    ("gkd", "beta", ([0.0, 1.0], [-1e-9, 1.001])),
    ("gkd", "alpha", ([0.0, 0.999], [-1e-9, 1.0])),
    ("genrm", "solution", ([0.0, 9.0], [-1e-9, math.inf])),
]
PARTS: list[tuple[Surrogate | Correction | TokenChoice, str, tuple[list[float], list[float]]]] = [
    (PPOClip(), "clip_low", UNTIL_1),
    (PPOClip(), "clip_high", ABOVE_0),
    (PPOClip(), "dual_clip", ([1.001, 3.0], [1.0])),
    (SequenceClip(), "clip_low", UNTIL_1),
    (GSPOClip(), "clip_high", ABOVE_0),
    (GMPOClip(), "log_clip", ABOVE_0),
    (CISPOWeight(), "ratio_least", ([0.0, 1.0], [-1e-9, 1.001])),
    (CISPOWeight(), "ratio_most", ([1.0], [0.999])),
    (SAPOGate(), "tau_good", ABOVE_0),
    (SAPOGate(), "tau_bad", ABOVE_0),
    *((VESPO_WEIGHT, name, ABOVE_0) for name in ("good_power", "good_tilt", "bad_power", "bad_tilt")),
    (DPPOMask(), "fall", UNTIL_1),
    (DPPOMask(), "rise", UNTIL_1),
    (AWRWeight(), "temper", ABOVE_0),
    (AWRWeight(), "weight_cap", ABOVE_0),
    (MirrorDescent(), "tau", ABOVE_0),
    (MixedPolicy(), "shaping", ABOVE_0),
    (Truncated(), "weight_most", ([1.0], [0.999])),
    (Masked(), "weight_least", ([0.0, 1.0], [-1e-9, 1.001])),
    (Masked(), "weight_most", ([1.0], [0.999])),
    (HighEntropy(), "share", UNTIL_1),
    (SecondMoment(), "moment_most", ABOVE_0),
    (CLIP_COV, "cov_share", UNTIL_1),
    (CLIP_COV, "cov_low", ([4.999], [5.0])),
    (KLCov(), "cov_share", UNTIL_1),
    (KLCov(), "hold", ABOVE_0),
]
SAMPLERS: list[tuple[Sampler, str, tuple[list[float], list[float]]]] = [
    (Groups(1), "n", ([1], [0])),
    (Groups(3), "votes", ([3, 4], [2])),
    (Dynamic(2), "n", ([2], [1])),
    (Dynamic(2), "max_rounds", ([1], [0])),
    (Dynamic(2), "low", ([0.0, 0.5], [-0.001, 0.501])),
    (Dynamic(2), "high", ([0.5, 1.0], [0.499, 1.001])),
    (Dynamic(2), "demonstrations", ([0, 1], [-1])),
    (Groups(1), "demonstrations", ([0, 1], [-1])),
    (Budgeted(8), "fewest", ([2, 8], [1, 9])),
    (Budgeted(8, variance_of="group_mean"), "fewest", ([3], [2])),
    (Budgeted(8), "most", ([8], [7])),
    (Budgeted(8), "n", ([3], [2])),
    (WithGreedy(1), "n", ([1], [0])),
    (Against(), "n", ([1], [0])),
    (Against(), "reference_share", ([0.0, 1.0], [-0.001, 1.001])),
    (Referenced(2), "n", ([1], [0])),
    (Rejection(9), "keep", ([2, 9], [1, 10])),
    (Rejection(9), "reward_scale", ABOVE_0),
    (Revised(), "n", ([1], [0])),
    (Rationalised(), "n", ([1], [0])),
    (StudentsShare(), "n", ([1], [0])),
    (StudentsShare(), "student_share", ([0.0, 1.0], [-0.001, 1.001])),
    (StepLabels(), "n", ([1], [0])),
    (StepLabels(), "continuations", ([1], [0])),
    (EntropyTree(), "n", ([1], [0])),
    (EntropyTree(), "forks", ([1], [0])),
    (EntropyTree(), "arms", ([1], [0])),
    (EntropyTree(), "rounds", ([1], [0])),
    (SegmentTree(n=9), "first", ([1, 9], [0, 10])),
    (SegmentTree(first=1), "n", ([2], [1])),
    (SegmentTree(), "segment", ([1], [0])),
    (SegmentTree(), "arms", ([2], [1])),
    (LevelTree(), "n", ([2, 16], [1, 17])),
    (LevelTree(), "levels", ([2, 4], [1, 5])),
    (LevelTree(), "segment", ([1], [0])),
    (ValuedSteps(), "n", ([1], [0])),
    (ValuedSteps(), "continuations", ([1], [0])),
    (ValuedSegments(), "cutpoints", ([1], [0])),
    (ValuedSegments(), "unsure", UNTIL_1),
    (Verdicts(), "most", ([1], [0])),
    (Verdicts(), "master_keys", ([0], [-1])),
    (Chains(), "n", ([1], [0])),
    (Chains(), "most", ([1], [0])),
]
EVERY = [(name, ALGORITHMS[name], *rest) for name, *rest in BOUNDS]
EVERY += [(type(sampler).__name__, sampler, *rest) for sampler, *rest in [*PARTS, *SAMPLERS]]
EVERY += [("ConstantLength", ConstantLength(3), "max_length", ([1], [0]))]


@pytest.mark.parametrize(
    ("what", "field", "bounds"), [each[1:] for each in EVERY], ids=[f"{e[0]}.{e[2]}" for e in EVERY]
)
def test_a_bound_is_where_it_is_said(what: Any, field: str, bounds: tuple[list[float], list[float]]) -> None:
    taken, refused = bounds
    for value in taken:
        assert getattr(replace(what, **{field: value}), field) == value
    for value in refused:
        with pytest.raises(ValueError, match=f"{value:g}"):
            replace(what, **{field: value})
