"""The preference family's credit and loss against hand-computed numbers, splits, padding, order and bad data."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import permutations

import numpy as np
import pytest
import torch
from conftest import tiny_model
from torch import Tensor

from togi.advantages import FLAT
from togi.algorithms import (
    ALGORITHMS,
    BCO,
    CPO,
    DPO,
    FDPO,
    IPO,
    KTO,
    LDDPO,
    PLDPO,
    RPO,
    SPPO,
    InfoNCA,
    Pairwise,
    Preference,
    ReferenceFree,
    Single,
    SLiC,
)
from togi.algorithms.preference.compared_answers import answers
from togi.batch import collate, minibatches
from togi.models.microbatch import microbatches
from togi.models.policy import LocalPolicy, Optimiser
from togi.protocols import Algorithm
from togi.recipe.algorithm_settings import configured, settings_of
from togi.recipe.stage_combinations import without_signal
from togi.samplers import Recorded, Rejection
from togi.samplers.rejection import accept
from togi.types import (
    LOGP,
    Batch,
    Group,
    Mean,
    Memory,
    Output,
    Outputs,
    Question,
    Sample,
    Score,
    Task,
    Trajectory,
    Turn,
)

VOCABULARY, PROMPT = 7, 2
FAMILY = {name: each for name, each in ALGORITHMS.items() if isinstance(each, Preference | Single)}
COMPARING = {name: each for name, each in FAMILY.items() if isinstance(each, Preference)}
PAIRWISE = {name: each for name, each in FAMILY.items() if isinstance(each, Pairwise)}


def sample(length: int, worth: float, group: int = 0, trajectory: int = 0, *, seed: int | None = None) -> Sample:
    """A prompt of two tokens and an answer; its contents depend on its place alone, or on the seed."""
    rng = np.random.default_rng((group, trajectory, length) if seed is None else seed)
    size = PROMPT + length
    mask = np.arange(size) >= PROMPT
    old, ref = (np.where(mask, -rng.random(size), 0).astype(np.float32) for _ in range(2))
    ids = rng.integers(0, VOCABULARY, size)
    return Sample(
        ids=ids, mask=mask, logp=np.zeros(size, np.float32), old_logp=old, ref_logp=ref, reward=worth, group=group,
        trajectory=trajectory, task=f"t{group}", stop="eos", recorded=True,
    )  # fmt: skip


def pairs(count: int = 4) -> list[Sample]:
    """Chosen and rejected answers of differing lengths; the order differs from task to task."""
    rows = []
    for group in range(count):
        worth = (1.0, 0.0) if group % 2 else (0.0, 1.0)
        rows += [sample(2 + (group + i) % 3 + i, worth[i], group, i) for i in range(2)]
    return rows


def rated() -> list[Sample]:
    """Tasks with two, three and four answers, some of equal worth."""
    worths = [(1.0, 0.0), (0.5, 1.0, 0.0), (0.2, 0.2, 0.9, 0.1)]
    return [sample(2 + (g + i) % 3, w, g, i) for g, row in enumerate(worths) for i, w in enumerate(row)]


class Bigram:
    """A model whose next token depends on the last one; float64."""

    def __init__(self, seed: int = 0) -> None:
        generator = torch.Generator().manual_seed(seed)
        self.table = torch.randn(VOCABULARY, VOCABULARY, generator=generator, dtype=torch.float64, requires_grad=True)

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        logp = self.table[batch.ids_BT[:, :-1]].log_softmax(-1).gather(-1, batch.ids_BT[:, 1:, None]).squeeze(-1)
        return Outputs(logp_BT=torch.nn.functional.pad(logp, (1, 0)).where(batch.mask_BT, 0.0))


Learnt = tuple[float, Tensor, dict[str, Mean]]


def learnt(algorithm: Algorithm, parts: Sequence[Sequence[Sample]], pad: int = 0) -> Learnt:
    """Loss, gradient and metrics, summed over micro-batches."""
    model, total, metrics = Bigram(), 0.0, dict[str, Mean]()
    for part in parts:
        batch = padded(collate(part), pad)
        loss = algorithm.loss(algorithm.forward(model, batch), batch)
        if loss.value.requires_grad:
            loss.value.backward()
        total += loss.value.item()
        for name, mean in loss.metrics.items():
            seen = metrics.get(name, Mean(total=0, count=0))
            metrics[name] = Mean(total=seen.total + mean.total, count=seen.count + mean.count)
    gradient = torch.zeros_like(model.table) if model.table.grad is None else model.table.grad
    return total, gradient, metrics


def padded(batch: Batch, extra: int) -> Batch:
    """The batch with further columns that hold junk outside the mask."""
    if not extra:
        return batch
    wide = torch.nn.functional.pad
    assert batch.ref_logp_BT is not None
    return replace(
        batch,
        ids_BT=wide(batch.ids_BT, (0, extra), value=1),
        mask_BT=wide(batch.mask_BT, (0, extra), value=False),
        ref_logp_BT=wide(batch.ref_logp_BT, (0, extra), value=torch.nan),
    )


def assert_same(one: Learnt, other: Learnt) -> None:
    assert one[0] == pytest.approx(other[0], rel=1e-9, abs=1e-12)
    torch.testing.assert_close(one[1], other[1], rtol=1e-9, atol=1e-12)
    assert one[2].keys() == other[2].keys()
    for name, mean in one[2].items():
        assert mean.total == pytest.approx(other[2][name].total, rel=1e-9, abs=1e-9), name
        assert mean.count == other[2][name].count, name


# Numbers: two pairs whose log-probabilities are given.

LOGP_OF = ((-10.0, -12.0), (-20.0, -25.0))
REF = ((-11.0, -11.5), (-18.5, -22.0))
LENGTHS = ((5, 8), (10, 12))


def fixture(
    algorithm: Algorithm, worths: Sequence[Sequence[float]] = ((1, 0), (1, 0))
) -> tuple[float, dict[str, float]]:
    """The loss and the metrics of the two pairs; an answer's log-probability is spread evenly over its tokens."""
    rows, spread = [], []
    for g in range(2):
        for i in range(2):
            row, n = sample(LENGTHS[g][i], worths[g][i], g, i), LENGTHS[g][i]
            ref = np.where(row.mask, REF[g][i] / n, 0).astype(np.float32)
            old = np.where(row.mask, LOGP_OF[g][i] / n, 0).astype(np.float32)
            rows.append(replace(row, ref_logp=ref, old_logp=old))
            spread.append(LOGP_OF[g][i] / n)
    batch = collate(algorithm.credit(rows, {}))
    logp = torch.tensor(spread, dtype=torch.float64)[:, None].expand(batch.mask_BT.shape).where(batch.mask_BT, 0.0)
    loss = algorithm.loss(Outputs(logp_BT=logp.clone().requires_grad_()), batch)
    return loss.value.item(), {name: mean.total / mean.count for name, mean in loss.metrics.items() if mean.count}


@pytest.mark.parametrize(
    ("name", "changes", "each"),
    [
        ("dpo", {}, [0.620957, 0.620957]),
        ("cdpo", {}, [0.635957, 0.635957]),
        ("rpo", {}, [0.620957 + 2, 0.620957 + 2]),
        ("dpo_norm", {}, [0.238345, 0.474077]),
        ("robust_dpo", {"beta": 0.1}, [0.602207, 0.602207]),
        ("ipo", {}, [22.4439, 24.01]),
        ("ipo_sum", {}, [12.25, 12.25]),
        ("slic", {}, [1, 2]),
        ("rso", {"beta": 0.1}, [0.85, 0.85]),
        ("cpo", {}, [2.59814, 2.47408]),
        ("dpop", {"beta": 0.1, "penalty": 5.0}, [0.620957, 1.03749]),
        ("apo_zero", {}, [0.962523, 0.962987]),
        ("apo_down", {}, [0.987549, 0.92514]),
        ("nca", {"beta": 0.1}, [1.35082, 1.35861]),
        ("infonca", {"beta": 0.1}, [0.620957, 0.620957]),
        ("pl_dpo", {}, [0.620957, 0.620957]),
        ("exo", {}, [2.50552, 2.50552]),
        ("exo_reward", {"beta": 0.2, "beta_reward": 0.5}, [0.29602, 0.29602]),
        ("orpo", {}, [2.104206, 2.064641]),
        ("orpo", {"beta": 0.25}, [2.260514, 2.161602]),
        ("sppo", {"beta": 0.1}, [18.125, 23.125]),
        ("f_dpo", {"divergence": "reverse_kl"}, [0.620957, 0.620957]),
        ("bco", {"beta": 0.1}, [1.3166 / 2, 1.3166 / 2]),
        ("ld_dpo", {"alpha": 1.0}, [0.620957, 0.620957]),
    ],
)
def test_the_mean_over_pairs_of_the_published_loss(name: str, changes: dict[str, float], each: list[float]) -> None:
    value, _ = fixture(replace(ALGORITHMS[name], **changes))  # type: ignore[type-var]
    assert value == pytest.approx(sum(each) / 2, rel=2e-5)


def test_metrics_of_dpo() -> None:
    _, metrics = fixture(RPO)
    assert metrics == pytest.approx(
        {
            "rewards/chosen": (0.1 - 0.15) / 2,
            "rewards/rejected": (-0.05 - 0.3) / 2,
            "rewards/margins": 0.15,
            "rewards/accuracies": 1.0,
            "logps/chosen": -15,
            "logps/rejected": -18.5,
            "nll_loss": 2,
        },
        rel=1e-5,
    )


def test_metrics_of_single_answers() -> None:
    _, metrics = fixture(BCO(beta=0.1))
    told = [metrics[name] for name in ("rewards/chosen", "rewards/rejected", "logps/chosen", "logps/rejected")]
    assert told == pytest.approx([(0.1 - 0.15) / 2, (-0.05 - 0.3) / 2, -15, -18.5], rel=1e-5)


def test_rewards_of_a_loss_without_reference_are_log_probabilities() -> None:
    _, metrics = fixture(CPO())
    assert metrics["rewards/chosen"] == pytest.approx(-1.5)
    assert fixture(ALGORITHMS["slic"])[1]["rewards/chosen"] == pytest.approx(-15)
    assert fixture(ALGORITHMS["simpo"])[1]["rewards/chosen"] == pytest.approx(2 * -2)


def test_sppo_reads_win_rates() -> None:
    assert fixture(SPPO(beta=0.1), ((0.8, 0.2), (0.8, 0.2)))[0] == pytest.approx((5.125 + 10.125) / 2, rel=1e-5)
    with pytest.raises(ValueError, match="probability of winning"):
        SPPO().credit([sample(2, 1.001), sample(2, 1.0, trajectory=1)], {})


def test_length_desensitised_dpo_weighs_the_longer_answers_tail() -> None:
    """The rejected answer has 8 tokens against 5 and log-ratio -0.5, so three of its eight parts count half."""
    h_l = [-0.5 * (5 + 0.5 * 3) / 8, -3 * (10 + 0.5 * 2) / 12]
    want = np.mean([np.log1p(np.exp(-0.1 * (w - bad))) for w, bad in zip((1, -1.5), h_l, strict=True)])
    assert fixture(LDDPO())[0] == pytest.approx(want, rel=1e-5)


def test_a_soft_label_is_the_expected_loss() -> None:
    soft = fixture(DPO(soft=True), ((0.9, 0.1), (0.9, 0.1)))[0]
    assert soft == pytest.approx(0.635957, rel=2e-5)
    assert fixture(DPO(soft=True))[0] == pytest.approx(fixture(DPO())[0], rel=1e-9)
    for worths in ((0.9, 0.2), (0.3, 0.3), (1.5, -0.5)):
        with pytest.raises(ValueError, match="two chances that sum to 1"):
            fixture(DPO(soft=True), (worths, (1, 0)))


def test_even_chances_are_a_label_and_not_a_tie() -> None:
    value, metrics = fixture(DPO(soft=True), ((0.5, 0.5), (1, 0)))
    assert value == pytest.approx((np.log1p(np.exp(-0.15)) + 0.5 * 0.15 + 0.620957) / 2, rel=1e-5)
    assert metrics["rewards/chosen"] == pytest.approx(-0.15)


# Who is compared


def weights(algorithm: Algorithm, rows: Sequence[Sample]) -> list[float]:
    return [each.weight for each in algorithm.credit(rows, {})]


def test_tasks_count_alike_however_many_answers_they_have() -> None:
    """Three tasks: of two, three and four answers, the best and the worst of each, or all pairs of different worth."""
    third = 1 / 3
    assert weights(DPO(), rated()) == pytest.approx([third, third, 0, third, third, 0, 0, third, third])
    by_pairs = [third, third, *[third / 3] * 3, *[third / 5] * 4]
    assert weights(DPO(pairs="all"), rated()) == pytest.approx(by_pairs)
    assert weights(InfoNCA(), rated()) == pytest.approx([third] * 9)


def test_all_pairs_have_the_mean_loss_of_a_task() -> None:
    rows = rated()[2:5]
    credited = DPO(pairs="all").credit(rows, {})
    whole = learnt(DPO(pairs="all"), [credited])
    single = [learnt(DPO(), [DPO().credit([rows[i], rows[j]], {})])[0] for i, j in ((0, 1), (0, 2), (1, 2))]
    assert whole[0] == pytest.approx(np.mean(single), rel=1e-6)
    assert whole[2]["rewards/margins"].count == 3


def test_advantages_tell_who_won() -> None:
    credited = DPO(pairs="all").credit(rated()[2:5], {})
    told = [float(each.advantage[each.mask].mean()) for each in credited if each.advantage is not None]
    assert told == pytest.approx([0, 2 / 3, -2 / 3])


def identical() -> list[Sample]:
    first = sample(3, 1.0, 0, 0, seed=1)
    return [first, replace(first, reward=0.0, trajectory=1)]


USELESS = {
    "alone": [sample(3, 1.0, 0, 0)],
    "empty": [sample(3, 1.0, 0, 0), sample(0, 0.0, 0, 1)],
    "identical": identical(),
    "tie": [sample(3, 0.5, 0, 0), sample(2, 0.5, 0, 1)],
}


@pytest.mark.parametrize("name", COMPARING)
@pytest.mark.parametrize("reason", USELESS)
def test_what_says_nothing_is_left_out_counted_and_explained(name: str, reason: str) -> None:
    algorithm, memory = COMPARING[name], Memory()
    rest = [replace(each, group=each.group + 1) for each in pairs(3)]
    credited = algorithm.credit([*USELESS[reason], *rest], memory)
    assert memory["frac_groups_unusable"] == memory[f"left_out/{reason}"] == 0.25
    assert sum(value for key, value in memory.items() if key.startswith("left_out/")) == 0.25
    assert [each.weight for each in credited if each.group == 0] == [0] * len(USELESS[reason])
    assert not any(each.advantage.any() for each in credited if each.group == 0 and each.advantage is not None)
    assert_same(learnt(algorithm, [credited]), learnt(algorithm, [algorithm.credit(rest, {})]))
    with pytest.raises(ValueError, match=f"none of the step's 1 tasks has two different answers.*1 {reason}"):
        algorithm.credit(USELESS[reason], {})
    sampled = [replace(each, recorded=False) for each in USELESS[reason]]
    assert weights(algorithm, sampled) == [0] * len(sampled)


@pytest.mark.parametrize("name", FAMILY)
def test_a_step_without_samples_gets_no_credit(name: str) -> None:
    assert FAMILY[name].credit([], {}) == []


@pytest.mark.parametrize("algorithm", [DPO(), InfoNCA(), PLDPO()])
def test_worths_that_differ_by_rounding_are_a_tie_and_others_are_not(algorithm: Preference) -> None:
    rows = [sample(3, FLAT, 0, 0), sample(2, 0.0, 0, 1)]
    credited = algorithm.credit(rows, {})
    assert [each.weight for each in credited] == [1, 1]
    value, gradient, metrics = learnt(algorithm, [credited])
    assert metrics["rewards/margins"].count == 1
    assert value > 0
    assert gradient.any()
    with pytest.raises(ValueError, match="1 tie"):
        algorithm.credit([replace(rows[0], reward=0.9 * FLAT), rows[1]], {})
    with pytest.raises(ValueError, match="1 identical"):
        algorithm.credit([identical()[0], replace(identical()[1], reward=1.0)], {})
    # Some recorded answers among sampled ones that say nothing either are told as well.
    with pytest.raises(ValueError, match="2 alone"):
        algorithm.credit([sample(3, 1.0), replace(sample(3, 1.0, 1), recorded=False)], {})


@pytest.mark.parametrize("worths", [(1.0, 0.5, 0.0), (FLAT, 0.0, 0.0)])
def test_a_best_answer_that_is_the_worst_one_again_is_no_tie(worths: tuple[float, float, float]) -> None:
    best, worst = identical()
    rows = [replace(best, reward=worths[0]), sample(2, worths[1], 0, 1), replace(worst, reward=worths[2], trajectory=2)]
    with pytest.raises(ValueError, match="1 identical"):
        DPO().credit(rows, {})


def test_an_empty_answer_does_not_spoil_its_siblings() -> None:
    rows = [sample(3, 0.4, 0, 0), sample(0, 1.0, 0, 1), sample(2, 0.1, 0, 2)]
    assert weights(DPO(), rows) == [1, 0, 1]


def test_a_ranking_with_ties_is_learnt_without_them() -> None:
    """Two tied winners over one loser: each is compared with the loser, not with the other."""
    rows = [sample(2, 1.0, 0, 0), sample(3, 1.0, 0, 1), sample(4, 0.0, 0, 2)]
    each = [learnt(PLDPO(), [PLDPO().credit([rows[i], rows[2]], {})])[0] for i in (0, 1)]
    assert learnt(PLDPO(), [PLDPO().credit(rows, {})])[0] == pytest.approx(sum(each), rel=1e-6)


def test_answers_are_the_same_in_whatever_order_samples_come() -> None:
    rows = [
        sample(2, 1.0, group, trajectory, seed=seed)
        for group, trajectory, seed in ((0, 0, 0), (0, 0, 1), (0, 1, 2), (1, 0, 3))
    ]
    found = [
        [
            (number, each.trajectory, each.text, each.length)
            for number, group in answers(order).items()
            for each in group
        ]
        for order in permutations(rows)
    ]
    assert [each[:2] + each[3:] for each in found[0]] == [(0, 0, 4), (0, 1, 2), (1, 0, 2)]
    assert all(each == found[0] for each in found)


def test_an_answer_in_two_samples_is_one_answer() -> None:
    rows = rated()
    whole = rows[0]
    late = np.arange(len(whole.ids)) > PROMPT
    cut = [replace(whole, mask=whole.mask & ~late), replace(whole, mask=whole.mask & late)]
    for name, algorithm in FAMILY.items():
        credited = algorithm.credit([*cut, *rows[1:]], {})
        assert [each.weight for each in credited[:2]] == [credited[0].weight] * 2
        one, two = learnt(algorithm, [algorithm.credit(rows, {})]), learnt(algorithm, [credited])
        assert one[0] == pytest.approx(two[0], rel=1e-6), name
        torch.testing.assert_close(one[1], two[1])


# What must not matter


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("rows", [pairs(5), rated()], ids=["pairs", "rated"])
def test_splits_padding_and_order_change_nothing(name: str, rows: list[Sample]) -> None:
    algorithm = FAMILY[name]
    credited = algorithm.credit(rows, {})
    whole = learnt(algorithm, [credited])
    for budget in (1, 12, 30):
        parts = microbatches(credited, budget, algorithm.unit)
        assert_same(whole, learnt(algorithm, [[credited[i] for i in part] for part in parts]))
    shuffled = random.Random(1).sample(credited, len(credited))
    assert_same(whole, learnt(algorithm, [shuffled]))
    assert_same(whole, learnt(algorithm, [credited], pad=3))
    again = algorithm.credit(random.Random(2).sample(rows, len(rows)), {})
    assert_same(whole, learnt(algorithm, [again]))


@pytest.mark.parametrize("name", FAMILY)
def test_minibatches_have_the_size_of_a_whole_step_on_average(name: str) -> None:
    algorithm = FAMILY[name]
    credited = algorithm.credit(pairs(6), {})
    parts = minibatches(credited, 3, algorithm.unit)
    assert [len(part) for part in parts] == [4, 4, 4]
    gradients = [learnt(algorithm, [part])[1] for part in parts]
    torch.testing.assert_close(sum(gradients) / 3, learnt(algorithm, [credited])[1])


@pytest.mark.parametrize("name", FAMILY)
def test_which_answer_comes_first_changes_nothing(name: str) -> None:
    algorithm = FAMILY[name]
    swapped = [replace(each, trajectory=1 - each.trajectory) for each in pairs()]
    one, two = (algorithm.credit(rows, {}) for rows in (pairs(), swapped))
    assert_same(learnt(algorithm, [one]), learnt(algorithm, [two]))


@pytest.mark.parametrize("name", FAMILY)
@pytest.mark.parametrize("junk", [torch.nan, -torch.inf])
def test_junk_outside_the_mask_changes_nothing(name: str, junk: float) -> None:
    algorithm = FAMILY[name]
    batch = collate(algorithm.credit(rated(), {}))
    clean = Bigram()(batch).logp_BT.detach()
    results = []
    for filling in (0.0, junk):
        logp = clean.where(batch.mask_BT, filling).requires_grad_()
        loss = algorithm.loss(Outputs(logp_BT=logp), batch)
        loss.value.backward()
        assert logp.grad is not None
        assert not logp.grad[~batch.mask_BT].any()
        results.append((loss.value.item(), logp.grad, dict(loss.metrics)))
    assert_same(results[0], results[1])


@pytest.mark.parametrize("name", FAMILY)
def test_a_batch_with_nothing_to_compare_has_no_loss(name: str) -> None:
    batch = collate([replace(each, weight=0.0) for each in pairs(1)])
    loss = FAMILY[name].loss(Bigram()(batch), batch)
    assert loss.value == 0
    assert not loss.metrics


@pytest.mark.parametrize("name", FAMILY)
def test_a_reference_is_asked_for_exactly_where_it_is_read(name: str) -> None:
    algorithm = FAMILY[name]
    credited = algorithm.credit(pairs(), {})
    moved = [replace(each, ref_logp=each.ref_logp - 0.3 * each.mask * (1 + each.reward)) for each in credited]  # type: ignore[operator]
    same = learnt(algorithm, [credited])[0] == learnt(algorithm, [moved])[0]
    assert same == ("ref_logp" not in algorithm.needs) == isinstance(algorithm, ReferenceFree)


def test_the_reference_gets_no_gradient_and_the_start_of_dpo_is_even() -> None:
    """Where policy and reference agree, every pair's loss is log 2 and the gradient that of the two likelihoods."""
    rows = pairs()
    batch = collate(DPO().credit(rows, {}))
    logp = Bigram()(batch).logp_BT
    even = DPO().loss(Outputs(logp_BT=logp), replace(batch, ref_logp_BT=logp.detach()))
    assert even.value.item() == pytest.approx(np.log(2))
    assert even.metrics["rewards/accuracies"] == Mean(total=2, count=4)


# Single answers


def test_kto_by_hand() -> None:
    """h is 1 and -0.5 for the desirable answers, 0.3 for the other; unrelated answers moved by 0.2, -0.1 and 0.5."""
    rows = [single(h, worth, g) for g, (h, worth) in enumerate(((1.0, 1.0), (-0.5, 1.0), (0.3, 0.0)))]
    moved = [replace(single(h, 0.0, g), trajectory=-1) for g, h in enumerate((0.2, -0.1, 0.5))]
    for weight, want in ((1.0, 0.500001), (1.33, 0.555276)):
        algorithm = KTO(undesirable_weight=weight)
        credited = algorithm.credit([*rows, *moved], {})
        assert len(credited) == 3
        batch = collate(credited)
        loss = algorithm.loss(Outputs(logp_BT=batch.old_logp_BT), batch)
        assert loss.value.item() == pytest.approx(want, rel=1e-5)
        assert loss.metrics["reference_point"].total / 3 == pytest.approx(0.2)
        assert loss.metrics["rewards/chosen"].total == pytest.approx(0.05)


def single(h: float, worth: float, group: int) -> Sample:
    row = sample(2, worth, group)
    old = np.where(row.mask, -1, 0).astype(np.float32)
    return replace(row, old_logp=old, ref_logp=np.where(row.mask, -1 - h / 2, 0).astype(np.float32))


def test_the_reference_point_of_kto_is_never_below_zero() -> None:
    moved = [replace(single(-3.0, 0.0, g), trajectory=-1) for g in range(2)]
    credited = KTO().credit([single(1.0, 1.0, 0), single(1.0, 0.0, 1), *moved], {})
    assert [each.baseline for each in credited] == [0, 0]
    assert KTO().reference_point([single(1.0, 1.0, 0)], {}) == 0


def test_kto_pairs_each_prompt_with_the_next_tasks_answer() -> None:
    rows = [replace(each, old_logp=None, ref_logp=None) for each in pairs(3)]
    prepared = KTO().prepare(rows)
    assert prepared[: len(rows)] == rows
    added = prepared[len(rows) :]
    assert len(added) == len(rows)
    for own, made in zip(rows, added, strict=True):
        assert made.group == own.group
        assert made.trajectory < 0
        assert made.weight == 0
        assert (made.ids[:PROMPT] == own.ids[:PROMPT]).all()
        following = [each.ids[PROMPT:] for each in rows if each.group == (own.group + 1) % 3]
        answer = made.ids[PROMPT:]
        assert any(np.array_equal(answer, each[: len(answer)]) for each in following)
        assert len(made.ids) <= max(len(each.ids) for each in rows)
        assert made.mask[PROMPT:].all()
        assert not made.mask[:PROMPT].any()


def test_an_unrelated_answer_is_cut_to_the_longest_attempt() -> None:
    """Five tokens of prompt and one of answer, and one of prompt and six of answer: seven is the most."""
    rows = [
        replace(each, mask=np.arange(len(each.ids)) >= n) for each, n in ((sample(4, 1, 0), 5), (sample(5, 0, 1), 1))
    ]
    cut, short = KTO().prepare(rows)[2:]
    assert cut.ids.tolist() == [*rows[0].ids[:5], *rows[1].ids[1:3]]
    assert cut.mask.tolist() == [False] * 5 + [True] * 2
    assert short.ids.tolist() == [rows[1].ids[0], rows[0].ids[5]]
    assert cut.recorded
    assert short.recorded


def test_kto_refuses_a_step_of_one_task() -> None:
    with pytest.raises(ValueError, match="tasks_per_step to at least 2"):
        KTO().prepare(pairs(1))


def test_the_worth_decides_what_is_desirable() -> None:
    rows = [sample(2, worth, g) for g, worth in enumerate((0.7, 0.5, 0.49))]
    told = [each.advantage.tolist() for each in KTO().credit(rows, {})]  # type: ignore[union-attr]
    assert told == [[0, 0, 1, 1], [0, 0, 1, 1], [0, 0, -1, -1]]
    assert KTO(desirable_from=0.6).credit(rows, {})[1].advantage[-1] == -1  # type: ignore[index]


@pytest.mark.parametrize("algorithm", [KTO(), BCO()])
def test_single_answers_that_are_empty_are_left_out(algorithm: Single) -> None:
    memory = Memory()
    rows = [sample(0, 1.0, 0), sample(2, 1.0, 1), sample(3, 0.0, 2)]
    assert [each.weight for each in algorithm.credit(rows, memory)] == [0, 0.5, 0.5]
    assert memory["left_out/empty"] == pytest.approx(1 / 3)
    with pytest.raises(ValueError, match="empty"):
        algorithm.credit(rows[:1], {})
    assert algorithm.credit([replace(rows[0], recorded=False)], {})[0].weight == 0
    with pytest.raises(ValueError, match="empty"):
        algorithm.credit([rows[0], replace(rows[0], recorded=False)], {})
    algorithm.credit([rows[0], sample(2, 1.0, 0, 1)], memory)
    assert memory["left_out/empty"] == 0


def test_bco_remembers_both_classes() -> None:
    algorithm, memory = BCO(beta=0.1, decay=0.9), Memory()
    algorithm.credit([single(1.0, 1.0, 0)], memory)
    assert memory["bco_delta"] == 0
    algorithm.credit([single(-3.0, 0.0, 0)], memory)
    assert (memory["bco_desirable"], memory["bco_undesirable"]) == pytest.approx((0.1, -0.3))
    assert memory["bco_delta"] == pytest.approx((0.1 - 0.3) / 2)
    credited = algorithm.credit([single(2.0, 1.0, 0), single(-1.0, 0.0, 1)], memory)
    want = ((0.9 * 0.1 + 0.1 * 0.2) + (0.9 * -0.3 + 0.1 * -0.1)) / 2
    assert memory["bco_delta"] == pytest.approx(want)
    assert [each.baseline for each in credited] == pytest.approx([want, want])


# Fields


@pytest.mark.parametrize(
    "make",
    [
        lambda: DPO(beta=0),
        lambda: DPO(nll=-1),
        lambda: DPO(label_smoothing=0.6),
        lambda: FDPO(alpha=1.0),
        lambda: LDDPO(alpha=2),
        lambda: SPPO(soft=True),
        lambda: SLiC(delta=-1),
        lambda: KTO(desirable_weight=0),
        lambda: BCO(decay=1),
        lambda: InfoNCA(alpha=0),
        lambda: IPO(beta=-1),
        lambda: Rejection(4, keep=5),
        lambda: Rejection(4, keep=2, reward_scale=0),
    ],
)
def test_numbers_that_make_no_sense_are_refused(make: object) -> None:
    with pytest.raises(ValueError, match=r"got|soft"):
        make()  # type: ignore[operator]


@pytest.mark.parametrize("name", FAMILY)
def test_groups_are_never_split_and_offline_is_the_default(name: str) -> None:
    assert FAMILY[name].unit == "group"
    assert isinstance(FAMILY[name].sampler, Recorded) or name in ("online_dpo", "rso")


@pytest.mark.parametrize("name", FAMILY)
def test_recipes_find_a_signal_in_two_attempts(name: str) -> None:
    algorithm = FAMILY[name]
    assert not without_signal(algorithm, 2)
    assert without_signal(algorithm, 1) == isinstance(algorithm, Preference)
    assert settings_of(configured(algorithm, {"beta": 0.7}, attempts=None, max_tokens=5))["beta"] == 0.7


@pytest.mark.parametrize("name", FAMILY)
def test_the_first_step_through_the_real_policy(name: str) -> None:
    """Policy and reference are the same weights: every log-ratio is 0, and the packed forward agrees with the loss."""
    algorithm = FAMILY[name]
    policy = LocalPolicy(tiny_model(), Optimiser(), compute=torch.float64, reference="copy")
    rows = [replace(each, old_logp=None, ref_logp=None) for each in rated()]
    samples = algorithm.credit(policy.annotate(algorithm.prepare(rows), algorithm.needs), {})
    [part] = minibatches(samples, 1, algorithm.unit)
    metrics = policy.learn(part, algorithm)
    assert metrics["grad_norm"] > 0
    assert policy.step == 1
    if "ref_logp" in algorithm.needs:
        assert metrics["rewards/chosen"] == pytest.approx(0, abs=1e-6)
    if name in ("dpo", "cdpo", "online_dpo", "ld_dpo", "dpo_norm", "f_dpo", "dpop"):
        assert metrics["loss"] == pytest.approx(np.log(2), abs=1e-6)


# Rejection sampling


def test_acceptance_probabilities() -> None:
    got = [accept(reward, 1.0, 0.5) for reward in (1.0, 0.5, 0.2)]
    assert got == pytest.approx([1, 0.367879, 0.201897], rel=1e-5)


@dataclass
class Paid:
    """A play whose attempts differ by one token and have the given rewards."""

    rewards: Sequence[float]
    lost: int = 0
    counts: dict[str, float] = field(default_factory=dict)

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        return [self._group(question.task) for question in questions]

    def _group(self, task: Task) -> Group:
        scores = [Score(value=reward) for reward in self.rewards]
        scores += [Score(value=float("nan"), status="error")] * self.lost
        attempts = tuple(Trajectory(turns=(Turn(prompt=(0,), completion=(i,), text="", stop="eos"),), stop="eos") for i in range(len(scores)))  # fmt: skip # noqa: E501
        return Group(task=task, trajectories=attempts, scores=tuple(scores))


def tasks(start: int = 0) -> Iterator[Task]:
    return (Task(id=str(i), prompt=()) for i in range(start, 10**9))


def kept(sampler: Rejection, play: Paid, want: int) -> list[list[int]]:
    groups = sampler(tasks(), want, play)  # type: ignore[arg-type]
    return [[trajectory.turns[0].completion[0] for trajectory in group.trajectories] for group in groups]


def test_rejection_keeps_what_was_scored_with_its_score_and_counts_the_rest() -> None:
    play = Paid([1.0, 0.5, 0.2, 0.9], lost=1)
    groups = Rejection(5, keep=2)(tasks(), 3, play)  # type: ignore[arg-type]
    for group in groups:
        told = [(t.turns[0].completion[0], s.value) for t, s in zip(group.trajectories, group.scores, strict=True)]
        assert [status.status for status in group.scores] == ["ok", "ok", "error"]
        assert all(play.rewards[i] == value for i, value in told[:2])
        assert told[2][0] == 4
    assert play.counts["rejection/reward"] == pytest.approx(0.65)
    assert play.counts["rejection/rounds"] >= 1


@pytest.mark.parametrize(
    ("rewards", "keep", "accepted"),
    [
        ([1.0, 1.0, 1.0, 1.0], 3, ([0, 1, 2], 1)),
        ([1.0, 0.0, 0.0, 0.0], 2, ([0, 1], 2)),  # the others pass when the best has gone
        ([0.0, 1.0, 1.0, 0.0], 2, ([1, 2], 1)),
    ],
)
def test_rejection_keeps_no_more_than_asked_of_those_that_pass_together(
    rewards: list[float], keep: int, accepted: tuple[list[int], int]
) -> None:
    assert Rejection(4, keep=keep, reward_scale=1e-3)._accepted(rewards, 0) == accepted


def test_rejection_keeps_the_order_of_attempts() -> None:
    worth = [1.0 if i in (2, 9) else 0.0 for i in range(12)]
    assert kept(Rejection(12, keep=2, reward_scale=1e-3), Paid(worth), 1) == [[2, 9]]


def test_the_chance_of_rejection_is_another_for_other_attempts() -> None:
    worth = [0.1, 0.9, 0.5, 0.3, 0.8, 0.2]
    chosen = [kept(Rejection(6, keep=3), Paid([*worth, last]), 20) for last in (0.4, 0.401)]
    assert chosen[0] != chosen[1]


def test_rejection_counts_rounds_and_what_was_paid_before() -> None:
    play = Paid([1.0, 1.0, 0.0, 0.0])
    Rejection(4, keep=4, reward_scale=1e-3)(tasks(), 2, play)  # type: ignore[arg-type]
    assert play.counts == {"rejection/rounds": 2.0, "rejection/reward": 0.5}  # the zeros pass when the ones are gone
    nobody = Paid([], lost=2)
    Rejection(4, keep=2)(tasks(), 1, nobody)  # type: ignore[arg-type]
    assert nobody.counts == {"rejection/rounds": 0.0}


def test_rejection_depends_on_the_group_alone() -> None:
    sampler, play = Rejection(6, keep=3), Paid([0.1, 0.9, 0.5, 0.3, 0.8, 0.2])
    first = kept(sampler, play, 20)
    np.random.seed(0)
    assert kept(sampler, play, 20) == first
    assert len({tuple(each) for each in first}) > 5


def test_a_round_accepts_each_attempt_with_its_own_probability() -> None:
    """One round is enough for three attempts only if the second and the third pass by themselves."""
    sampler = Rejection(3, keep=3)
    drawn = [sampler._accepted([1.0, 0.5, 0.2], seed) for seed in range(2000)]
    assert all(sorted(accepted) == [0, 1, 2] for accepted, _ in drawn)
    assert np.mean([rounds == 1 for _, rounds in drawn]) == pytest.approx(0.367879 * 0.201897, abs=0.02)


def test_what_is_kept_is_the_tilted_policy() -> None:
    """Many attempts of three kinds, few kept: their shares go as exp(R / scale)."""
    worth = np.array([1.0, 0.5, 0.2])
    rewards = np.tile(worth, 200)
    sampler, count = Rejection(600, keep=60), np.zeros(3)
    for seed in range(60):
        order = np.random.default_rng(seed).permutation(600)
        accepted, _ = sampler._accepted(rewards[order].tolist(), seed)
        count += np.bincount(order[accepted] % 3, minlength=3)
    want = np.exp(worth / 0.5) / np.exp(worth / 0.5).sum()
    np.testing.assert_allclose(count / count.sum(), want, atol=0.02)


def test_a_small_scale_keeps_the_best() -> None:
    assert kept(Rejection(6, keep=2, reward_scale=1e-3), Paid([0.1, 0.9, 0.5, 0.3, 0.8, 0.2]), 3) == [[1, 4]] * 3
