"""Every algorithm's credit and loss against hand-computed numbers, and against splits, padding and order."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import FrozenInstanceError, replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from togi.advantages import sequence_sum, token_mean
from togi.algorithms import (
    ALGORITHMS,
    AVERAGES,
    BASELINES,
    DAPO,
    DR_GRPO,
    GDPO,
    GRPO,
    LITE_PPO,
    REINFORCE_PP_BASELINE,
    RLOO,
    SFT,
    ConstantLength,
    NashMD,
    PolicyGradient,
    PPOClip,
    ReinforcePP,
    SequenceClip,
)
from togi.algorithms.distillation.on_policy_distillation import OnPolicyDistillation
from togi.algorithms.policy_gradient.branching import Branching
from togi.algorithms.policy_gradient.corrections import Uncorrected
from togi.algorithms.policy_gradient.token_choices import AllTokens
from togi.batch import collate, minibatches, samples
from togi.protocols import Algorithm
from togi.types import LOGP, Batch, Group, Mean, Output, Outputs, Sample, Score, Stop, Task, Trajectory, Turn

VOCABULARY = 5
PROMPT = 2
REWARDS = ([1.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 1.0])
LENGTHS = ([2, 3, 4, 1], [3, 2, 2, 1])
# Nash-MD credits one attempt of a pair only, GDPO the parts of a reward, distillation what a teacher says, trees their
# branches: these have tests of their own.
APART = (NashMD, GDPO, OnPolicyDistillation, Branching)
POLICY_GRADIENTS = [n for n, a in ALGORITHMS.items() if isinstance(a, PolicyGradient) and not isinstance(a, APART)]
# Those whose tokens of advantage 0 rest.
RESTING = [n for n in POLICY_GRADIENTS if ALGORITHMS[n].surrogate.rests]  # type: ignore[attr-defined]
TOKENWISE = ["sft", *POLICY_GRADIENTS]


def sample(length: int, reward: float = 0.0, group: int = 0, trajectory: int = 0, stop: Stop = "eos") -> Sample:
    """A prompt of two tokens and a completion; its contents depend on its place alone."""
    rng = np.random.default_rng((group, trajectory, length))
    size = PROMPT + length
    logp, old, ref = (np.where(np.arange(size) < PROMPT, 0, -rng.random(size)).astype(np.float32) for _ in range(3))
    return Sample(
        ids=rng.integers(0, VOCABULARY, size), mask=np.arange(size) >= PROMPT, logp=logp, old_logp=old, ref_logp=ref,
        reward=reward, group=group, trajectory=trajectory, task=str(group), stop=stop, baseline=0.25, entropy=-logp,
    )  # fmt: skip


def step(rewards: Sequence[Sequence[float]] = REWARDS, lengths: Sequence[Sequence[int]] = LENGTHS) -> list[Sample]:
    return [
        sample(length, reward, group, trajectory)
        for group, row in enumerate(rewards)
        for trajectory, (reward, length) in enumerate(zip(row, lengths[group], strict=True))
    ]


def advantages(algorithm: Algorithm, samples: Sequence[Sample]) -> list[float]:
    """The one advantage of every sample's trained tokens."""
    found = []
    for each in algorithm.credit(samples, {}):
        assert each.advantage is not None
        assert not each.advantage[~each.mask].any()
        [value] = set(each.advantage[each.mask].tolist())
        found.append(value)
    return found


class Bigram:
    """A model whose next token depends on the last one; float64."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(VOCABULARY, VOCABULARY, generator=generator, dtype=torch.float64, requires_grad=True)

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        logits = self.table[batch.ids_BT[:, :-1]]
        scored = logits.log_softmax(-1)
        logp = scored.gather(-1, batch.ids_BT[:, 1:, None]).squeeze(-1)
        logp_BT = torch.nn.functional.pad(logp, (1, 0)).where(batch.mask_BT, 0.0)
        entropy_BT = torch.nn.functional.pad(-(scored.exp() * scored).sum(-1), (1, 0)).where(batch.mask_BT, 0.0)
        return Outputs(logp_BT=logp_BT, entropy_BT=entropy_BT if "entropy" in outputs else None)


def learnt(algorithm: Algorithm, parts: Sequence[Sequence[Sample]]) -> tuple[float, Tensor, dict[str, Mean]]:
    """Loss, gradient and metrics, summed over micro-batches."""
    model, total, metrics = Bigram(), 0.0, dict[str, Mean]()
    for part in parts:
        batch = collate(part)
        loss = algorithm.loss(algorithm.forward(model, batch), batch)
        loss.value.backward()
        total += loss.value.item()
        for name, mean in loss.metrics.items():
            seen = metrics.get(name, Mean(total=0, count=0))
            metrics[name] = Mean(total=seen.total + mean.total, count=seen.count + mean.count)
    assert model.table.grad is not None
    return total, model.table.grad, metrics


def assert_same(one: tuple[float, Tensor, dict[str, Mean]], other: tuple[float, Tensor, dict[str, Mean]]) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-10, abs=1e-12)
    torch.testing.assert_close(one[1], other[1], rtol=1e-10, atol=1e-12)
    assert one[2].keys() == other[2].keys()
    for name, mean in one[2].items():
        assert mean.total == pytest.approx(other[2][name].total, abs=1e-9), name
        assert mean.count == other[2][name].count, name


# Credit


@pytest.mark.parametrize(
    ("algorithm", "expected"),
    [
        (GRPO(), [0.865875, -0.865875, -0.865875, 0.865875, -0.4999, -0.4999, -0.4999, 1.4997]),
        (DAPO, [0.865875, -0.865875, -0.865875, 0.865875, -0.4999, -0.4999, -0.4999, 1.4997]),
        (DR_GRPO, [0.5, -0.5, -0.5, 0.5, -0.25, -0.25, -0.25, 0.75]),
        (RLOO(kl=0), [0.666667, -0.666667, -0.666667, 0.666667, -0.333333, -0.333333, -0.333333, 1]),
        (LITE_PPO, [0.965905, -0.965905, -0.965905, 0.965905, -0.482953, -0.482953, -0.482953, 1.44886]),
        (REINFORCE_PP_BASELINE, [1, -1, -1, 1, -0.5, -0.5, -0.5, 1.5]),
    ],
)
def test_advantages_of_two_groups(algorithm: Algorithm, expected: list[float]) -> None:
    np.testing.assert_allclose(advantages(algorithm, step()), expected, rtol=1e-5)


def reinforce_step() -> list[Sample]:
    first, second = sample(3, 1.0, 0), sample(2, 0.0, 1)
    zero_3, zero_2 = np.zeros(5, np.float32), np.zeros(4, np.float32)
    return [
        replace(first, old_logp=np.array([0, 0, 0.1, -0.2, 0.3], np.float32), ref_logp=zero_3),
        replace(second, old_logp=np.array([0, 0, 0.2, 0.1], np.float32), ref_logp=zero_2),
    ]


def test_reinforce_pp_credits_what_is_still_to_come_and_standardises_over_tokens() -> None:
    first, second = ReinforcePP(kl=0.1).credit(reinforce_step(), {})
    assert first.advantage is not None
    assert second.advantage is not None
    np.testing.assert_allclose(first.advantage, [0, 0, 0.730175, 0.748429, 0.711921], rtol=1e-5)
    np.testing.assert_allclose(second.advantage, [0, 0, -1.11352, -1.07701], rtol=1e-5)


def test_reinforce_pp_carries_credit_over_environment_tokens_and_rewritten_histories() -> None:
    whole, other = reinforce_step()
    at = np.array([True, True, True, False, True, True])
    gap = np.zeros(6, np.float32)
    gap[[2, 4, 5]] = [0.1, -0.2, 0.3]
    mask = np.array([False, False, True, False, True, True])
    spaced = replace(whole, ids=np.zeros(6, np.int64), mask=mask, old_logp=gap, ref_logp=np.zeros(6, np.float32))
    expected = [each.advantage for each in ReinforcePP(kl=0.1).credit([whole, other], {})]
    [first, _] = ReinforcePP(kl=0.1).credit([spaced, other], {})
    assert first.advantage is not None
    assert expected[0] is not None
    np.testing.assert_allclose(first.advantage[at & mask], expected[0][2:], rtol=1e-6)

    def cut(keep: slice) -> Sample:
        part = whole.mask.copy()
        part[keep] = False
        return replace(whole, mask=part)

    early, late, last = ReinforcePP(kl=0.1).credit([cut(slice(3, None)), cut(slice(None, 3)), other], {})
    assert early.advantage is not None
    assert late.advantage is not None
    np.testing.assert_allclose(early.advantage + late.advantage, expected[0], rtol=1e-6)
    assert last.advantage is not None
    assert expected[1] is not None
    np.testing.assert_allclose(last.advantage, expected[1], rtol=1e-6)


def test_reinforce_pp_discounts_by_trained_tokens() -> None:
    rows = [sample(3, 1.0, 0), sample(1, 0.0, 1)]
    first, second = ReinforcePP(kl=0, gamma=0.5).credit(rows, {})
    returns = np.array([0.25, 0.5, 1.0, 0.0])
    expected = (returns - returns.mean()) / np.sqrt(returns.var(ddof=1) + 1e-8)
    assert first.advantage is not None
    assert second.advantage is not None
    np.testing.assert_allclose([*first.advantage[2:], *second.advantage[2:]], expected, rtol=1e-6)


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_two_samples_of_one_trajectory_share_its_advantage_and_count_once(name: str) -> None:
    algorithm = replace_fields(name, kl=0.0)
    whole = step()
    cut = [replace(whole[1], mask=np.arange(len(whole[1].ids)) == PROMPT)]
    cut.append(replace(whole[1], mask=np.arange(len(whole[1].ids)) > PROMPT))
    one, two = algorithm.credit(whole, {}), algorithm.credit([whole[0], *cut, *whole[2:]], {})
    for before, after in zip([one[0], one[1], one[1], *one[2:]], two, strict=True):
        assert before.advantage is not None
        assert after.advantage is not None
        np.testing.assert_allclose(after.advantage[after.mask], before.advantage[after.mask])
        assert after.weight == pytest.approx(before.weight)


@pytest.mark.parametrize("name", [name for name in POLICY_GRADIENTS if name not in ("reinforce_pp", "remax", "rae")])
def test_alone_in_a_group_and_equal_in_a_group_carry_no_signal(name: str) -> None:
    algorithm = replace_fields(name, kl=0.0)
    rows = step([[1.0], [0.3, 0.3 + 3e-8], [0.0, 1.0]], [[3], [2, 2], [2, 2]])
    assert advantages(algorithm, rows)[:3] == [0, 0, 0]


@pytest.mark.parametrize("reward", [0.0, 0.1, 1.0, -0.3, 1e-30, 1e9])
@pytest.mark.parametrize("name", RESTING)
def test_a_step_of_equal_rewards_moves_nothing(name: str, reward: float) -> None:
    """Not even by rounding, of which an optimiser that divides by the gradient's size makes a whole step."""
    if name == "maxrl":
        reward = abs(reward)
    algorithm = replace_fields(name, kl=0.0, entropy_bonus=0.0)
    rows = [replace(each, reward=reward, baseline=reward) for each in step()]
    for each in algorithm.credit(rows, {"rae/baseline": reward}):
        assert each.advantage is not None
        assert not each.advantage.any()
        assert each.weight == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), 1e200])
@pytest.mark.parametrize("name", [*POLICY_GRADIENTS, *(n for n, a in ALGORITHMS.items() if isinstance(a, Branching))])
def test_rewards_that_are_no_number_are_refused(name: str, bad: float) -> None:
    rows = step()
    with pytest.raises(ValueError, match="rewards must be finite and at most"), np.errstate(all="ignore"):
        replace_fields(name, kl=0.0).credit([replace(rows[0], reward=bad), *rows[1:]], {})


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_attempts_without_a_score_change_no_credit(name: str) -> None:
    def credited(rewards: Sequence[float | None]) -> list[list[float]]:
        turn = Turn(prompt=(0,), completion=(1, 2), text="", stop="eos", logp=(-1.0, -1.0))
        lost = Score(value=float("nan"), status="error")
        scores = tuple(lost if reward is None else Score(value=reward) for reward in rewards)
        attempts = (Trajectory(turns=(turn,), stop="eos"),) * len(scores)
        group = Group(task=Task(id="t", prompt=()), trajectories=attempts, scores=scores, baseline=0.25)
        found = replace_fields(name, kl=0.0).credit(samples([group]), {})
        return [[*each.advantage.tolist(), each.weight] for each in found if each.advantage is not None]

    assert credited([None, 1.0, 0.0, None, 0.0, 1.0, 0.5]) == credited([1.0, 0.0, 0.0, 1.0, 0.5])


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_credit_does_not_depend_on_order(name: str) -> None:
    algorithm, rows = ALGORITHMS[name], step()
    order = list(range(len(rows)))
    random.Random(0).shuffle(order)
    straight, shuffled = algorithm.credit(rows, {}), algorithm.credit([rows[i] for i in order], {})
    for i, after in zip(order, shuffled, strict=True):
        assert after.advantage is not None
        assert straight[i].advantage is not None
        np.testing.assert_allclose(after.advantage, straight[i].advantage, atol=1e-6)
        assert after.weight == pytest.approx(straight[i].weight)


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_a_step_without_samples_gets_no_credit(name: str) -> None:
    assert ALGORITHMS[name].credit([], {}) == []


def replace_fields(name: str, **fields: float | str | bool) -> PolicyGradient:
    algorithm = ALGORITHMS[name]
    assert isinstance(algorithm, PolicyGradient)
    return replace(algorithm, tokens=AllTokens(), **fields)  # type: ignore[arg-type]


# Averages and losses. Two attempts of 3 and 4 tokens; d = log pi - log pi_old.

OLD = np.array([[-1, -0.5, -2, 0], [-0.3, -1.2, -0.8, -1.5]])
D = np.array([[0.1, 0.3, -0.25, 0], [0.25, -0.3, 1.3, -0.05]])
MASK = np.array([[1, 1, 1, 0], [1, 1, 1, 1]], bool)


def fixture(algorithm: PolicyGradient, extra_masked_row: bool = False) -> tuple[Outputs, Batch]:
    rows = []
    for b, (n, adv) in enumerate(((3, 1.0), (4, -0.5))):
        row = sample(n, 0.0, b)
        advantage = np.where(row.mask, adv, 0).astype(np.float32)
        old = np.concatenate([np.zeros(PROMPT), OLD[b, :n]]).astype(np.float32)
        rows.append(replace(row, old_logp=old, advantage=advantage))
    if extra_masked_row:
        rows.append(replace(rows[0], mask=np.zeros(5, bool), trajectory=1))
    weight = algorithm.weights(np.array([row.mask.sum() for row in rows]))
    batch = collate([replace(row, weight=float(w)) for row, w in zip(rows, weight, strict=True)])
    assert batch.old_logp_BT is not None
    d = torch.zeros(len(rows), PROMPT + 4)
    d[:2, PROMPT:] = torch.from_numpy(D)
    return Outputs(logp_BT=(batch.old_logp_BT + d).where(batch.mask_BT, 0.0).requires_grad_()), batch


@pytest.mark.parametrize("extra", [False, True])
@pytest.mark.parametrize(
    ("average", "plain", "higher"),
    [
        ("token_mean", 0.0383292, 0.0269006),
        ("sequence_mean", -0.0949608, -0.108294),
        ("sequence_sum", 0.134152, 0.094152),
        ("constant_length", 0.016769, 0.011769),
    ],
)
def test_clipped_losses_under_every_average(average: str, plain: float, higher: float, extra: bool) -> None:
    """A sequence without trained tokens counts in no denominator."""
    for clip_high, expected in ((0.2, plain), (0.28, higher)):
        algorithm = GRPO(kl=0, average=AVERAGES[average](8), surrogate=PPOClip(clip_high=clip_high))
        assert algorithm.loss(*fixture(algorithm, extra)).value.item() == pytest.approx(expected, rel=1e-4)


def test_gradient_is_zero_exactly_where_the_clip_acts_and_the_metrics_say_so() -> None:
    algorithm = GRPO(kl=0, average=lambda length_S: np.ones(len(length_S)))
    out, batch = fixture(algorithm)
    loss = algorithm.loss(out, batch)
    loss.value.backward()
    assert out.logp_BT.grad is not None
    expected = torch.tensor([[-1.10517, 0, -0.778801, 0], [0.642013, 0, 1.83465, 0.475615]])
    torch.testing.assert_close(out.logp_BT.grad[:, PROMPT:], expected, rtol=1e-4, atol=1e-6)
    assert loss.metrics["clip_ratio/high_mean"] == Mean(total=1, count=7)
    assert loss.metrics["clip_ratio/low_mean"] == Mean(total=1, count=7)
    assert loss.metrics["clip_ratio/region_mean"] == Mean(total=2, count=7)


def test_rloo_clips_the_ratio_of_whole_answers() -> None:
    """Sums of d: 0.15 and 1.2, so the ratios are e^0.15 (inside) and e^1.2 (outside, but A < 0: not silenced)."""
    algorithm = RLOO(kl=0)
    out, batch = fixture(algorithm)
    loss = algorithm.loss(out, batch)
    assert loss.value.item() == pytest.approx((-np.exp(0.15) + 0.5 * np.exp(1.2)) / 2, rel=1e-5)
    assert loss.metrics["clip_ratio/region_mean"] == Mean(total=0, count=2)
    tight = replace(algorithm, surrogate=SequenceClip(clip_high=0.1)).loss(out, batch)
    assert tight.value.item() == pytest.approx((-1.1 + 0.5 * np.exp(1.2)) / 2, rel=1e-5)
    assert tight.metrics["clip_ratio/high_mean"] == Mean(total=1, count=2)


@pytest.mark.parametrize("name", RESTING)
def test_the_first_update_is_the_plain_policy_gradient(name: str) -> None:
    algorithm = replace_fields(name, kl=0.0, entropy_bonus=0.0, drop_truncated=False)
    algorithm = replace(algorithm, old_policy="trainer", correction=Uncorrected())
    credited = [replace(each, old_logp=None) for each in algorithm.credit(step(), {})]
    model, batch = Bigram(), collate(credited)
    (-(model(batch).logp_BT * batch.advantage_BT).sum(1) * batch.weight_B).sum().backward()
    _, gradient, metrics = learnt(algorithm, [credited])
    assert model.table.grad is not None
    torch.testing.assert_close(gradient, model.table.grad)
    assert not any(each.total for name, each in metrics.items() if name.startswith("clip_ratio/"))


def test_old_log_probabilities_make_the_ratio() -> None:
    """Once the weights have moved, leaving them out would silently give another loss."""
    credited = DR_GRPO.credit(step(), {})
    with_old, without = learnt(DR_GRPO, [credited]), learnt(DR_GRPO, [[replace(s, old_logp=None) for s in credited]])
    assert with_old[0] != pytest.approx(without[0], rel=1e-3)


# What must not matter


@pytest.mark.parametrize("name", TOKENWISE)
def test_micro_batches_and_padding_change_nothing(name: str) -> None:
    algorithm = ALGORITHMS[name]
    credited = algorithm.credit(step(), {})
    whole = learnt(algorithm, [credited])
    for size in (1, 2, 3):
        assert_same(whole, learnt(algorithm, [credited[i : i + size] for i in range(0, len(credited), size)]))
    shuffled = random.Random(1).sample(credited, len(credited))
    assert_same(whole, learnt(algorithm, [shuffled]))


@pytest.mark.parametrize("name", TOKENWISE)
def test_garbage_outside_the_mask_changes_nothing(name: str) -> None:
    algorithm = ALGORITHMS[name]
    batch = collate(algorithm.credit(step(), {}))
    clean = algorithm.forward(Bigram(), batch)
    entropy = None if clean.entropy_BT is None else clean.entropy_BT.detach()
    results = []
    for filling in (0.0, float("nan"), float("-inf")):
        logp = clean.logp_BT.detach().where(batch.mask_BT, filling).requires_grad_()
        loss = algorithm.loss(Outputs(logp_BT=logp, entropy_BT=entropy), batch)
        loss.value.backward()
        assert logp.grad is not None
        assert not logp.grad[~batch.mask_BT].any()
        results.append((loss.value.item(), logp.grad, dict(loss.metrics)))
    assert_same(results[0], results[1])
    assert_same(results[0], results[2])


@pytest.mark.parametrize("name", POLICY_GRADIENTS)
def test_a_micro_batch_without_trained_tokens_has_gradient_zero(name: str) -> None:
    algorithm = replace_fields(name, entropy_bonus=0.1)
    empty = [replace(each, mask=np.zeros_like(each.mask)) for each in algorithm.credit(step(), {})[:2]]
    loss, gradient, metrics = learnt(algorithm, [empty])
    assert loss == 0
    assert not gradient.any()
    assert all(mean == Mean(total=0, count=0) for mean in metrics.values())


@pytest.mark.parametrize("name", ["grpo", "dapo", "lite_ppo", "rloo"])
def test_minibatches_have_the_size_of_a_whole_step_on_average(name: str) -> None:
    algorithm = ALGORITHMS[name]
    credited = algorithm.credit(step(), {})
    parts = minibatches(credited, 4, algorithm.unit)
    assert len(parts) == 4
    gradients = [learnt(algorithm, [part])[1] for part in parts]
    torch.testing.assert_close(sum(gradients) / 4, learnt(algorithm, [credited])[1])


def test_attempts_without_signal_weigh_nothing_unless_something_else_acts_on_them() -> None:
    rows = step([[1.0, 0.0], [1.0, 1.0]], [[2, 3], [4, 1]])
    weights = [each.weight for each in LITE_PPO.credit(rows, {})]
    assert weights == pytest.approx([0.1, 0.1, 0, 0])
    assert all(each.weight == pytest.approx(0.1) for each in replace(LITE_PPO, kl=0.1).credit(rows, {}))
    assert all(each.weight == pytest.approx(0.1) for each in replace(LITE_PPO, entropy_bonus=0.1).credit(rows, {}))
    credited = LITE_PPO.credit(rows, {})
    torch.testing.assert_close(learnt(LITE_PPO, [credited])[1], learnt(LITE_PPO, [credited[:2]])[1])


def test_dropping_truncated_attempts_is_deleting_them_from_the_loss_but_not_from_the_baseline() -> None:
    rows = step()
    rows[2] = replace(rows[2], stop="length")
    rows[5] = replace(rows[5], stop="context")
    for average in (token_mean, sequence_sum, ConstantLength(8)):
        keep, drop = (replace(DAPO, average=average, drop_truncated=each) for each in (False, True))
        dropped = drop.credit(rows, {})
        others = [each for i, each in enumerate(dropped) if i not in (2, 5)]
        assert [dropped[2].weight, dropped[5].weight] == [0, 0]
        weights = average(np.array([each.mask.sum() for each in others]))
        assert [each.weight for each in others] == pytest.approx(weights.tolist())
        assert advantages(drop, rows) == advantages(keep, rows)


# KL and entropy, exactly: a three-way softmax, all three tokens weighted by their probability.

Z, Z_REF = torch.tensor([1.0, 0, -1], dtype=torch.float64), torch.tensor([0.5, 0.5, -1], dtype=torch.float64)
REVERSE, FORWARD = [0.192749, -0.17382, -0.0189295], [0.215425, -0.205088, -0.010337]


def tokens() -> list[Sample]:
    """The three one-token attempts, annotated by Z and Z_REF."""
    logp, ref = Z.log_softmax(0).numpy(), Z_REF.log_softmax(0).numpy()
    mask = np.array([False, True])
    return [
        replace(
            sample(0, trajectory=y), ids=np.array([0, y]), mask=mask, logp=np.array([0, logp[y]], np.float32),
            old_logp=np.array([0, logp[y]], np.float32), ref_logp=np.array([0, ref[y]], np.float32),
            advantage=np.zeros(2, np.float32), weight=float(np.exp(logp[y])),
        )
        for y in range(3)
    ]  # fmt: skip


def expected_gradient(algorithm: PolicyGradient, samples: Sequence[Sample]) -> NDArray[np.float64]:
    z = Z.clone().requires_grad_()
    batch = collate(samples)
    scored = z.log_softmax(0)
    logp_BT = torch.stack([torch.zeros(3, dtype=torch.float64), scored], dim=1)
    entropy = -(scored.exp() * scored).sum()
    entropy_BT = torch.stack([torch.zeros(3, dtype=torch.float64), entropy.expand(3)], dim=1)
    algorithm.loss(Outputs(logp_BT=logp_BT, entropy_BT=entropy_BT), batch).value.backward()
    assert z.grad is not None
    return z.grad.numpy()


@pytest.mark.parametrize(("estimator", "truth"), [("k2", REVERSE), ("k3_ratio", REVERSE), ("k3", FORWARD)])
@pytest.mark.parametrize("annotated", [True, False])
def test_the_gradient_of_kl_in_the_loss(estimator: str, truth: list[float], annotated: bool) -> None:
    algorithm = replace_fields("grpo", kl=0.5, kl_estimator=estimator)
    rows = tokens() if annotated else [replace(each, old_logp=None) for each in tokens()]
    np.testing.assert_allclose(expected_gradient(algorithm, rows), 0.5 * np.array(truth), rtol=1e-4)


def test_the_gradient_of_k1_in_the_reward() -> None:
    """Without a baseline, so that the expectation is exact: each token is charged 0.5 (log pi - log ref)."""
    algorithm = RLOO(kl=0.5)
    rows = [replace(each, advantage=each.mask * -algorithm.penalty(each).sum().astype(np.float32)) for each in tokens()]
    np.testing.assert_allclose(expected_gradient(algorithm, rows), 0.5 * np.array(REVERSE), rtol=1e-4)


def test_the_gradient_of_the_entropy_bonus() -> None:
    algorithm = GRPO(kl=0, entropy_bonus=0.1)
    expected = -0.1 * np.array([-0.282587, 0.14077, 0.141817])
    np.testing.assert_allclose(expected_gradient(algorithm, tokens()), expected, rtol=1e-4)


def test_kl_in_the_reward_is_summed_over_the_answer_before_the_baseline() -> None:
    rows = [replace(each, ref_logp=np.zeros_like(each.logp)) for each in step([[1.0, 0.0]], [[3, 2]])]
    kl = [0.1 * float(each.old_logp[each.mask].sum()) for each in rows if each.old_logp is not None]
    gap = (1.0 - kl[0]) - (0.0 - kl[1])
    np.testing.assert_allclose(advantages(RLOO(kl=0.1), rows), [gap, -gap], rtol=1e-6)
    # REINFORCE++ charges each token for what follows it instead, so its advantages vary within an answer.
    [first, _] = ReinforcePP(kl=0.1).credit(rows, {})
    assert first.advantage is not None
    assert len(set(first.advantage[first.mask].tolist())) == 3


def test_metrics_are_token_means() -> None:
    algorithm = GRPO(entropy_bonus=0.01)
    credited = algorithm.credit(step(), {})
    batch = collate(credited)
    _, _, metrics = learnt(algorithm, [credited])
    out = algorithm.forward(Bigram(), batch)
    assert out.entropy_BT is not None
    assert batch.old_logp_BT is not None
    assert batch.ref_logp_BT is not None
    m = batch.mask_BT
    d = (out.logp_BT - batch.ref_logp_BT)[m]
    expected = {
        "kl": torch.exp(-d) - 1 + d,
        "entropy": out.entropy_BT[m],
    }
    for name, values in expected.items():
        assert metrics[name].total / metrics[name].count == pytest.approx(values.mean().item(), rel=1e-6), name
        assert (metrics[name].count, type(metrics[name].count)) == (18, float)


# Construction


def test_needs_follow_from_fields() -> None:
    assert GRPO(kl=0).needs == frozenset()
    assert GRPO().needs == {"ref_logp"}
    assert RLOO().needs == {"ref_logp", "old_logp"}
    assert ReinforcePP(kl=0).needs == frozenset()
    assert replace(DAPO, entropy_bonus=0.01).outputs == {"logp", "entropy"}
    assert SFT().needs == frozenset()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kl_estimator": "k1"}, 'expected gradient of 0: set kl_place = "reward"'),
        ({"kl_estimator": "k3", "kl_place": "reward"}, 'set kl_estimator = "k1"'),
        ({"kl_estimator": "k2", "kl_place": "reward"}, 'set kl_estimator = "k1"'),
        ({"kl_estimator": "k3_ratio", "kl_place": "reward"}, 'set kl_estimator = "k1"'),
        ({"kl": -0.1}, "below 0"),
    ],
)
def test_what_cannot_work_is_refused_with_its_remedy(fields: dict[str, float | str], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        replace_fields("grpo", **fields)


@pytest.mark.parametrize("gamma", [0.0, 1.1])
def test_a_discount_outside_its_range_is_refused(gamma: float) -> None:
    with pytest.raises(ValueError, match="gamma"):
        ReinforcePP(gamma=gamma)


def test_a_place_without_a_penalty_is_not_refused() -> None:
    assert replace_fields("grpo", kl=0.0, kl_place="reward").needs == frozenset()


def test_constant_length_needs_a_length() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ConstantLength(0)


def test_defaults_are_the_papers() -> None:
    assert isinstance(ALGORITHMS["grpo"], GRPO)
    assert (ALGORITHMS["grpo"].kl, ALGORITHMS["grpo"].kl_estimator, ALGORITHMS["grpo"].kl_place) == (0.04, "k3", "loss")
    assert (DAPO.surrogate, DAPO.kl, DAPO.average) == (PPOClip(clip_low=0.2, clip_high=0.28), 0.0, token_mean)
    assert (RLOO().kl, RLOO().kl_place) == (0.03, "reward")
    assert set(BASELINES) >= {"group_mean_std", "group_centred", "group_mean_batch_std", "leave_one_out"}
    with pytest.raises(FrozenInstanceError):
        DAPO.kl = 1.0  # type: ignore[misc]


# SFT


def test_sft_is_the_mean_negative_log_likelihood_of_completion_tokens() -> None:
    credited = SFT().credit(step(), {})
    batch = collate(credited)
    loss, _, _ = learnt(SFT(), [credited])
    assert loss == pytest.approx(-Bigram()(batch).logp_BT[batch.mask_BT].mean().item())


def test_sft_learns_the_best_of_judged_answers() -> None:
    chosen, rejected = step()[:2]
    credited = SFT().credit([replace(chosen, reward=1.0, group=0), replace(rejected, reward=0.0, group=0)], {})
    assert [each.reward for each in credited] == [1.0]


def test_sft_refuses_a_step_without_supervised_tokens() -> None:
    empty = [replace(each, mask=np.zeros_like(each.mask)) for each in step()]
    with pytest.raises(ValueError, match="none of the step's 3 samples has a completion token"):
        SFT().credit(empty, {})
    with pytest.raises(ValueError, match="none of the step's 0 samples"):
        SFT().credit([], {})
