"""PRIME: exact by number, its implicit model learned after use, and nothing of it in the policy's gradient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import tiny_model
from numpy.typing import NDArray
from peft import LoraConfig, get_peft_model
from test_ppo import close

from togi import losses
from togi.advantages import implicit, leave_one_out, reward_to_go
from togi.algorithms import ALGORITHMS, PRIME
from togi.algorithms.policy_gradient.prime import _metrics
from togi.batch import collate, minibatches
from togi.models.policy import LocalPolicy, Optimiser
from togi.types import LOGP, Outputs, Sample

NEEDS = PRIME().needs


def attempt(
    reward: float,
    tokens: Sequence[float] | NDArray[np.float64] = (0.0, 0.0),
    *,
    group: int = 0,
    trajectory: int = 0,
    prompt: int = 2,
) -> Sample:
    """An attempt whose tokens have these log-ratios of the implicit model to the reference."""
    rng = np.random.default_rng((group, trajectory))
    ids = np.concatenate([[3 + group] * prompt, rng.integers(0, 61, len(tokens))])
    zeros = np.zeros(len(ids), np.float32)
    ratio = np.concatenate([np.zeros(prompt), tokens]).astype(np.float32)
    return Sample(
        ids=ids, mask=np.arange(len(ids)) >= prompt, logp=zeros, ref_logp=zeros, implicit_logp=ratio, reward=reward,
        group=group, trajectory=trajectory, task=str(group), stop="eos",
    )  # fmt: skip


def group_of_two(beta: float) -> list[Sample]:
    return [
        attempt(1.0, np.array([0.2, -0.1]) / beta),
        attempt(0.0, np.array([0.1, 0.3, 0.2]) / beta, trajectory=1),
    ]


def released(reward_Sn: Sequence[np.ndarray], outcome_S: Sequence[float]) -> list[np.ndarray]:
    """One group in the form of the released code, before it whitens."""
    k, means = len(reward_Sn), [each.mean() for each in reward_Sn]
    own = [each * k / (k - 1) - sum(means) / (k - 1) for each in reward_Sn]
    against = leave_one_out(outcome_S, [0] * k)
    return [reward_to_go(each) + outcome for each, outcome in zip(own, against, strict=True)]


def test_advantages_are_the_papers_and_not_those_of_the_released_code() -> None:
    rewards = [np.array([0.2, -0.1]), np.array([0.1, 0.3, 0.2])]
    first, second = implicit(rewards, [1.0, 0.0], [0, 0])
    assert first.tolist() == close([0.7, 0.7])
    assert second.tolist() == close([-0.55, -0.6, -0.85])
    code = released(rewards, [1.0, 0.0])
    assert code[0].tolist() == close([0.7, 0.55])
    assert code[1].tolist() == close([-0.55, -0.5, -0.85])
    # The leak: each token's distance to its own attempt's mean stands in the sum once more, divided by K - 1.
    for paper, other, each in zip((first, second), code, rewards, strict=True):
        assert (other - paper).tolist() == close(reward_to_go(each - each.mean()).tolist())


def test_what_an_attempt_is_held_against_does_not_contain_itself() -> None:
    rewards, rng = [np.array([0.3, 0.1]), np.array([0.2]), np.array([0.5, 0.0, 0.4])], np.random.default_rng(0)
    base = implicit(rewards, [1.0, 0.0, 0.0], [0, 0, 0])
    moved = implicit([rewards[0] + rng.normal(size=2), *rewards[1:]], [0.5, 0.0, 0.0], [0, 0, 0])
    change = implicit([rewards[0], *(each + 1 for each in rewards[1:])], [1.0, 0.0, 0.0], [0, 0, 0])
    # Its own reward moves its advantage by the reward to go, and by nothing else; its siblings' by as much a token.
    assert (change[0] - base[0]).tolist() == close([-2.0, -1.0])
    assert moved[0][0] - base[0][0] != 0
    alone = implicit([np.array([0.3, 0.1])], [1.0], [0])
    assert alone[0].tolist() == [0.0, 0.0]
    discounted = implicit(rewards[:2], [1.0, 0.0], [0, 0], gamma=0.5)
    assert discounted[0].tolist() == close([0.1 - 0.5 * 0.1 + 1.0, -0.1 + 1.0])


def test_a_token_is_worth_what_the_implicit_model_finds_likelier_than_the_reference() -> None:
    one = attempt(1.0, [0.2, -0.4])
    assert one.implicit_logp is not None
    assert PRIME(beta=0.5)._rewards(one).tolist() == close([0.1, -0.2])
    shifted = replace(one, implicit_logp=one.implicit_logp - 3, ref_logp=np.full(4, -3, np.float32))
    assert PRIME(beta=0.5)._rewards(shifted).tolist() == close([0.1, -0.2])


def test_outcomes_of_one_half_take_no_side_in_metrics() -> None:
    reward_B, outcome_B = torch.tensor([0.4, -0.2, 0.0, 0.6, 0.1]), torch.tensor([1.0, 0.0, 1.0, 0.5, 0.7])
    told = {name: each.total / each.count for name, each in _metrics(reward_B + 1, reward_B, outcome_B).items()}
    assert told == pytest.approx(
        {"implicit/loss": 1.18, "implicit/accuracy": 3 / 4, "implicit/right": 0.5 / 3, "implicit/wrong": -0.2}
    )


def test_an_attempt_without_tokens_has_a_mean_of_0() -> None:
    """The siblings of the first have means 0 and 0.6."""
    first, empty, _ = implicit([[0.4, 0.2], [], [0.6]], [1.0, 0.0, 0.0], [0, 0, 0])
    assert first.tolist() == close([0.1 - 0.1 + 1.0, -0.1 + 1.0])
    assert empty.tolist() == []


def test_the_algorithm_gives_them_to_its_tokens() -> None:
    first, second = PRIME().credit(group_of_two(0.05), {})
    assert first.advantage is not None
    assert first.advantage.tolist() == close([0, 0, 0.7, 0.7])
    assert second.advantage is not None
    assert second.advantage.tolist() == close([0, 0, -0.55, -0.6, -0.85])
    assert (first.weight * 2, second.weight * 3) == (close(0.5), close(0.5))


def test_credit_flows_through_all_parts_of_an_episode() -> None:
    whole = PRIME(beta=1.0).credit([attempt(1.0, [0.2, -0.1, 0.4]), attempt(0.0, [0.3], trajectory=1)], {})
    parts = PRIME(beta=1.0).credit(
        [attempt(1.0, [0.2, -0.1]), attempt(1.0, [0.4], prompt=5), attempt(0.0, [0.3], trajectory=1)], {}
    )
    assert whole[0].advantage is not None
    joined = [a for part in parts[:2] if part.advantage is not None for a in part.advantage[part.mask].tolist()]
    assert joined == close(whole[0].advantage[whole[0].mask].tolist())


def outputs(samples: Sequence[Sample], *, of_policy: float = -1.0) -> Outputs:
    batch = collate(samples)
    ratio_BT = torch.zeros(batch.mask_BT.shape)
    for row, sample in enumerate(samples):
        ratio_BT[row, : len(sample.ids)] = torch.from_numpy(np.asarray(sample.implicit_logp))
    logp_BT = torch.where(batch.mask_BT, of_policy, 0.0).requires_grad_()
    return Outputs(logp_BT=logp_BT, implicit_BT=ratio_BT.requires_grad_())


def test_the_implicit_model_is_a_classifier_of_outcomes() -> None:
    reward = torch.tensor([0.05 * (0.2 / 0.05 - 0.3 / 0.05)], dtype=torch.float64)
    assert float(losses.binary(torch.tensor([0.2, -0.3]), torch.tensor([1.0, 0.0])).mean()) == close(0.576247)
    assert float(reward) == close(-0.1)
    samples = [attempt(1.0, [1.5, 2.5]), attempt(0.0, [-4.0, -2.0], trajectory=1)]
    credited = [replace(each, advantage=np.zeros(4, np.float32)) for each in PRIME().credit(samples, {})]
    found = PRIME().loss(outputs(credited), collate(credited))
    assert float(found.value.detach()) == close(0.576247)
    assert found.metrics["implicit/right"].total == close(0.2)
    assert found.metrics["implicit/wrong"].total == close(-0.3)
    assert found.metrics["implicit/accuracy"].total == 2


def test_attempts_count_alike_however_they_are_split() -> None:
    samples = PRIME().credit([attempt(1.0, [1.0] * n, group=n, trajectory=i) for n in (1, 4) for i in range(2)], {})
    whole = float(PRIME().loss(outputs(samples), collate(samples)).value.detach())
    parts = sum(
        float(PRIME().loss(outputs(part), collate(part)).value.detach()) for part in ([samples[0]], samples[1:])
    )
    assert parts == close(whole)
    halves = minibatches(samples, 2, "sample")
    both = sum(float(PRIME().loss(outputs(part), collate(part)).value.detach()) for part in halves) / 2
    assert both == close(whole)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"beta": 0.0}, "beta must be above 0"),
        ({"gamma": 0.0}, "gamma must be above 0"),
        ({"kl": 0.1, "kl_place": "reward", "kl_estimator": "k1"}, 'set kl_place = "loss"'),
    ],
)
def test_settings_that_cannot_be(settings: dict[str, float], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        PRIME(**settings)  # type: ignore[arg-type]


def test_outcomes_are_chances() -> None:
    with pytest.raises(ValueError, match=r"learns outcomes between 0 .* got 1\.2"):
        PRIME().credit([attempt(1.2)], {})
    assert PRIME().credit([], {}) == []


# With the policy


def policy(compute: torch.dtype = torch.float64, *, lora: bool = False, rate: float = 0.05) -> LocalPolicy:
    model = tiny_model(dtype=compute if compute == torch.float64 else torch.float32)
    if lora:
        torch.manual_seed(0)
        model = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj", "down_proj"]))
    optimiser = Optimiser(learning_rate=1e-3, critic_learning_rate=rate)
    return LocalPolicy(model, optimiser, compute=compute, reference="copy", heads="implicit")


def step(trained: LocalPolicy, samples: Sequence[Sample]) -> dict[str, float]:
    return dict(trained.learn(PRIME().credit(trained.annotate(samples, NEEDS), {}), PRIME()))


def attempts() -> list[Sample]:
    rng = np.random.default_rng(1)
    return [attempt(float(i % 2), rng.normal(size=3 + i), group=g, trajectory=i) for g in range(2) for i in range(4)]


@pytest.mark.parametrize("compute", [torch.float64, torch.bfloat16])
def test_the_first_step_is_paid_by_outcomes_alone_since_the_model_is_still_the_reference(compute: torch.dtype) -> None:
    trained = policy(compute)
    for sample in trained.annotate(attempts(), NEEDS):
        assert sample.implicit_logp is not None
        np.testing.assert_array_equal(sample.implicit_logp, sample.ref_logp)
    before = trained.annotate(attempts(), NEEDS)
    metrics = step(trained, attempts())
    assert abs(metrics["implicit/right"]) < 1e-6
    # Learned after use: only the next step reads what this one taught.
    after = trained.annotate(attempts(), NEEDS)
    assert any((a.implicit_logp != b.implicit_logp).any() for a, b in zip(before, after, strict=True))  # type: ignore[union-attr]
    for a, b in zip(before, after, strict=True):
        np.testing.assert_array_equal(a.ref_logp, b.ref_logp)


def test_it_learns_which_answers_are_right_and_leaves_the_policy_alone() -> None:
    trained, others = policy(), policy(rate=0.0)
    for _ in range(30):
        metrics = step(trained, attempts())
    assert metrics["implicit/accuracy"] == 1.0
    assert metrics["implicit/loss"] < 0.3
    assert metrics["implicit/right"] > 1 > -1 > metrics["implicit/wrong"]
    # One step from the same weights: the policy moves alike, whatever the implicit model's learning rate is.
    first, second = policy(), others
    one, two = step(first, attempts()), step(second, attempts())
    assert (one["grad_norm"], one["critic_grad_norm"]) == (two["grad_norm"], two["critic_grad_norm"])
    for (name, p), q in zip(first.model.named_parameters(), second.model.parameters(), strict=True):
        assert torch.equal(p, q), name


@pytest.mark.parametrize(("compute", "lora"), [(torch.float64, False), (torch.bfloat16, False), (torch.float32, True)])
def test_saving_and_loading_goes_on_to_the_bit(compute: torch.dtype, lora: bool, tmp_path: Path) -> None:
    first = policy(compute, lora=lora)
    step(first, attempts())
    first.save(tmp_path)
    second = policy(compute, lora=lora)
    second.load(tmp_path)
    for _ in range(2):
        assert step(first, attempts()) == step(second, attempts())
    with pytest.raises(ValueError, match="other parameters than this model"):
        LocalPolicy(tiny_model(), Optimiser(), compute=torch.float64).load(tmp_path)


def test_adapters_are_copied_and_what_is_frozen_is_shared() -> None:
    trained = policy(torch.float32, lora=True)
    assert trained._packed_implicit is not None
    own = {id(p) for p in trained.model.parameters() if not p.requires_grad}
    assert {id(p) for p in trained._packed_implicit._model.parameters() if not p.requires_grad} == own
    assert {n for part in trained._parts[1:] for n in part.master} == {
        f"implicit.{n}" for n, p in trained.model.named_parameters() if p.requires_grad
    }


def test_without_an_implicit_model_it_is_refused() -> None:
    plain = LocalPolicy(tiny_model(), Optimiser(), compute=torch.float64)
    batch = collate([attempt(1.0)])
    with pytest.raises(ValueError, match="build the policy with heads 'implicit'"):
        plain.outputs(batch, frozenset({"implicit"}))
    assert plain.outputs(batch, LOGP).implicit_BT is None
    assert ALGORITHMS["prime"].heads == "implicit"
