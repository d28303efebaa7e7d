"""Reward models against hand-computed numbers, splits, order and padding; they learn a toy, and bad pairs are named."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_text import byte_level, tiny_llama
from torch import Tensor, nn

from togi import batch as batching, losses
from togi.advantages import FLAT
from togi.algorithms.scorers.reward_model import RewardModel
from togi.batch import collate, minibatches
from togi.engines.native import NativeEngine
from togi.evidence.after.measure_reward import measure_reward, measure_reward_model
from togi.evidence.after.pair_agreement import agreement
from togi.models.policy import LocalPolicy, Optimiser
from togi.models.save_model import save_model
from togi.models.scalar_heads import load_scalar
from togi.rewards import reward_model
from togi.rewards.algebra import Surroundings
from togi.samplers.group import recorded
from togi.tokenization import Chat
from togi.types import LOGP, Batch, Memory, Message, Output, Outputs, Sample, Task

VOCABULARY = 7


def answer(
    worth: float, group: int = 0, trajectory: int = 0, *, ids: Sequence[int] = (), recorded: bool = True
) -> Sample:
    """A prompt of two tokens and three or more that were written; the contents depend on the place alone."""
    rng = np.random.default_rng((group, trajectory))
    row = np.array(ids or [1, 1, *rng.integers(0, VOCABULARY, 3 + trajectory)], dtype=np.int64)
    mask = np.arange(len(row)) >= 2
    return Sample(
        ids=row, mask=mask, logp=np.zeros(len(row), np.float32), reward=worth, group=group, trajectory=trajectory,
        task=f"t{group}", stop="eos", recorded=recorded,
    )  # fmt: skip


def step(*worths: Sequence[float]) -> list[Sample]:
    return [answer(worth, g, i) for g, row in enumerate(worths) for i, worth in enumerate(row)]


class Bag:
    """A model whose score is the sum of one number a token; float64."""

    def __init__(self, seed: int = 0) -> None:
        self.value = torch.randn(VOCABULARY, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        self.value.requires_grad_()

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        assert outputs == {"score"}
        score_B = torch.where(batch.mask_BT, self.value[batch.ids_BT], 0.0).sum(-1)
        return Outputs(logp_BT=torch.zeros(batch.ids_BT.shape), score_B=score_B)


def loss_of(algorithm: RewardModel, samples: Sequence[Sample], scores: Sequence[float]) -> float:
    """The loss when the sample with the k-th answer has the k-th score."""
    by_place = {(s.group, s.trajectory): score for s, score in zip(samples, scores, strict=True)}
    credited = algorithm.credit(samples, {})
    score_B = torch.tensor([by_place[s.group, s.trajectory] for s in credited], dtype=torch.float64)
    batch = collate(credited)
    return float(algorithm.loss(Outputs(logp_BT=torch.zeros(batch.ids_BT.shape), score_B=score_B), batch).value)


def gradient(algorithm: RewardModel, parts: Sequence[Sequence[Sample]]) -> tuple[float, Tensor, dict[str, float]]:
    """Loss, gradient and metrics, summed over micro-batches."""
    model, value, sums = Bag(), 0.0, dict[str, np.ndarray]()
    for part in parts:
        batch = collate(part)
        loss = algorithm.loss(algorithm.forward(model, batch), batch)
        loss.value.backward()  # type: ignore[no-untyped-call]
        value += float(loss.value.detach())
        for name, mean in loss.metrics.items():
            sums[name] = sums.get(name, np.zeros(2)) + np.array([mean.total, mean.count])
    assert model.value.grad is not None
    return value, model.value.grad, {name: float(total / count) for name, (total, count) in sums.items()}


# Numbers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"centre": 0.0}, 0.341154),
        ({"centre": 0.0, "margin": 0.5}, 0.513015),
        ({"centre": 0.01}, 0.363654),
        ({"centre": 0.01, "margin": 0.5}, 0.535515),
    ],
)
def test_bradley_terry_with_margin_and_centring(fields: dict[str, Any], wanted: float) -> None:
    assert loss_of(RewardModel(**fields), step([1, 0]), [1.2, 0.3]) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    # Rejected first, and as one of two prompts that weigh the same.
    assert loss_of(RewardModel(**fields), step([0, 1]), [0.3, 1.2]) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
    both = loss_of(RewardModel(**fields), step([1, 0], [0, 1]), [1.2, 0.3, 0.3, 1.2])
    assert both == pytest.approx(wanted, rel=1e-5, abs=1e-6)


def test_the_gradient_of_a_pair() -> None:
    samples = RewardModel(centre=0.0).credit(step([1, 0]), {})
    score_B = torch.tensor([1.2, 0.3], dtype=torch.float64, requires_grad=True)
    RewardModel(centre=0.0).loss(Outputs(logp_BT=torch.zeros(2, 6), score_B=score_B), collate(samples)).value.backward()  # type: ignore[no-untyped-call]
    assert score_B.grad is not None
    assert score_B.grad.tolist() == pytest.approx([-0.28905, 0.28905], rel=1e-5)


def test_margins_grow_with_the_difference_in_worth() -> None:
    wide = loss_of(RewardModel(margin=0.25, centre=0.0), step([3, 1]), [1.2, 0.3])
    assert wide == pytest.approx(0.513015, rel=1e-5)


def test_all_pairs_of_a_ranking_are_averaged_and_the_prompt_counts_once() -> None:
    pairs = RewardModel(centre=0.0)
    assert loss_of(pairs, step([2, 1, 0]), [2, 1, 0.5]) == pytest.approx(0.329584, rel=1e-5)
    two = loss_of(pairs, step([2, 1, 0], [1, 0]), [2, 1, 0.5, 1.2, 0.3])
    assert two == pytest.approx((0.329584 + 0.341154) / 2, rel=1e-5)


def test_plackett_luce() -> None:
    ranked = RewardModel(ranking="plackett_luce", centre=0.0)
    assert loss_of(ranked, step([2, 1, 0]), [2, 1, 0.5]) == pytest.approx(0.938446, rel=1e-5)
    assert loss_of(ranked, step([0, 2, 1]), [0.5, 2, 1]) == pytest.approx(0.938446, rel=1e-5)
    both = loss_of(ranked, step([2, 1, 0], [1, 0]), [2, 1, 0.5, 1.2, 0.3])
    assert both == pytest.approx((0.938446 + 0.341154) / 2, rel=1e-5)
    for centre in (0.0, 0.01):
        ranking = RewardModel(ranking="plackett_luce", centre=centre)
        of_two = loss_of(ranking, step([1, 0]), [1.2, 0.3])
        assert of_two == pytest.approx(loss_of(RewardModel(centre=centre), step([1, 0]), [1.2, 0.3]))


def test_ties_in_a_ranking_compare_each_tied_answer_with_the_worse_ones_only() -> None:
    ranked = RewardModel(ranking="plackett_luce", centre=0.0)
    single = [loss_of(ranked, step([1, 0]), [score, 0.5]) for score in (2.0, 1.0)]
    assert loss_of(ranked, step([1, 1, 0]), [2.0, 1.0, 0.5]) == pytest.approx(sum(single))


def test_without_ties_the_tie_safe_ranking_is_plackett_luce() -> None:
    score = torch.randn(6, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    order = torch.randperm(6, generator=torch.Generator().manual_seed(2))
    place = torch.empty(6, dtype=torch.long)
    place[order] = torch.arange(6)
    worse = place[None, :] > place[:, None]
    assert float(losses.plackett_luce_ties(score, worse).sum()) == pytest.approx(
        float(losses.plackett_luce(score[order]))
    )


def test_soft_labels_are_the_cross_entropy_to_the_chance_of_being_preferred() -> None:
    soft = RewardModel(soft=True, centre=0.0)
    chance = float(np.mean([1 / (1 + np.exp(-0.9)), 1 / (1 + np.exp(-0.3))]))
    assert chance == pytest.approx(0.642696, rel=1e-5)
    assert loss_of(soft, step([chance, 1 - chance]), [0.5, 0.0]) == pytest.approx(0.652729, rel=1e-5)
    assert loss_of(soft, step([1 - chance, chance]), [0.0, 0.5]) == pytest.approx(0.652729, rel=1e-5)
    assert loss_of(soft, step([1, 0]), [1.2, 0.3]) == pytest.approx(0.341154, rel=1e-5)
    # Undecided is a label: it draws the scores together.
    assert loss_of(soft, step([0.5, 0.5]), [1.0, 0.0]) > loss_of(soft, step([0.5, 0.5]), [0.1, 0.0])


# Properties ----------------------------------------------------------------------------------------------------------

KINDS = [
    RewardModel(margin=0.3),
    RewardModel(ranking="plackett_luce"),
    RewardModel(soft=True),
]
RANKED = ([3, 1, 2, 0], [1, 0], [0, 0, 2], [5, 5], [1])
CHANCES = ([0.3, 0.7], [1, 0], [0.5, 0.5], [0.9, 0.1], [1])


def worths_of(algorithm: RewardModel) -> Sequence[Sequence[float]]:
    return CHANCES if algorithm.soft else RANKED


@pytest.mark.parametrize("algorithm", KINDS)
def test_splitting_and_order_change_nothing(algorithm: RewardModel) -> None:
    credited = algorithm.credit(step(*worths_of(algorithm)), {})
    value, grad, metrics = gradient(algorithm, [credited])
    groups = [[s for s in credited if s.group == g] for g in sorted({s.group for s in credited})]
    shuffled = list(credited)
    random.Random(3).shuffle(shuffled)
    for parts in (groups, [shuffled], [groups[1] + groups[0], [s for g in groups[2:] for s in g]]):
        again, its_grad, its_metrics = gradient(algorithm, parts)
        assert again == pytest.approx(value)
        torch.testing.assert_close(its_grad, grad)
        assert its_metrics == pytest.approx(metrics)


@pytest.mark.parametrize("algorithm", KINDS)
def test_credit_does_not_depend_on_order(algorithm: RewardModel) -> None:
    samples = step(*worths_of(algorithm))
    backwards = algorithm.credit(samples[::-1], {})
    _, grad, _ = gradient(algorithm, [algorithm.credit(samples, {})])
    torch.testing.assert_close(gradient(algorithm, [backwards])[1], grad)


@pytest.mark.parametrize("algorithm", KINDS)
def test_padding_changes_nothing(algorithm: RewardModel) -> None:
    credited = algorithm.credit(step(*worths_of(algorithm)), {})
    longer = [answer(1, 9, 0), answer(0, 9, 1, ids=(1, 1, *range(VOCABULARY), *range(VOCABULARY)))]
    mates = [replace(each, weight=0.0) for each in longer]
    value, grad, _ = gradient(algorithm, [credited])
    padded, its_grad, _ = gradient(algorithm, [[*credited, *mates]])
    assert padded == pytest.approx(value)
    torch.testing.assert_close(its_grad, grad)


def test_several_updates_a_step_keep_groups_whole() -> None:
    algorithm = RewardModel()
    parts = minibatches(algorithm.credit(step(*RANKED), {}), 2, algorithm.unit)
    assert [{s.group for s in part} for part in parts] == [{0, 1}, {2}]
    losses_of_parts = [gradient(algorithm, [part])[0] for part in parts]
    whole = gradient(algorithm, [algorithm.credit(step(*RANKED), {})])[0]
    assert sum(losses_of_parts) / 2 == pytest.approx(whole)


# What says nothing ---------------------------------------------------------------------------------------------------


def test_ties_single_and_identical_answers_are_left_out() -> None:
    same = [answer(1, 3, 0, ids=(1, 1, 2)), answer(0, 3, 1, ids=(1, 1, 2))]
    samples = [*step([1, 0], [1, 1], [1]), *same]
    memory: Memory = {}
    credited = RewardModel().credit(samples, memory)
    assert {s.group for s in credited} == {0}
    assert all(s.weight == 1 for s in credited)
    assert memory == {
        "frac_groups_unusable": 0.75,
        "left_out/alone": 0.25,
        "left_out/empty": 0.0,
        "left_out/identical": 0.25,
        "left_out/tie": 0.25,
    }


def test_answers_stay_in_their_order() -> None:
    credited = RewardModel().credit(step([1, 1], [1, 0], [1, 1], [1, 1], [1, 0]), {})
    assert [each.group for each in credited] == [1, 1, 4, 4]


def test_one_useless_pair_does_not_spoil_a_ranking() -> None:
    third = answer(0, 0, 2, ids=tuple(answer(1, 0, 0).ids.tolist()))  # the first answer again, rated otherwise
    samples = [answer(1, 0, 0), answer(0.5, 0, 1), third]
    value = loss_of(RewardModel(centre=0.0), samples, [1.2, 0.3, 1.2])
    assert value == pytest.approx(np.mean([np.log1p(np.exp(-0.9)), np.log1p(np.exp(0.9))]))


def test_a_step_of_recorded_answers_without_a_pair_is_refused() -> None:
    with pytest.raises(ValueError, match="none of the step's 2 tasks has two different answers of different worth"):
        RewardModel().credit(step([1, 1], [1]), {})
    with pytest.raises(ValueError, match="different worth"):
        RewardModel().credit([answer(1, 0, 0, ids=(1, 1)), answer(0, 0, 1, ids=(1, 1))], {})
    with pytest.raises(ValueError, match="none of the step's 2 tasks"):
        RewardModel().credit([*step([1]), replace(answer(1, 1, 0), recorded=False)], {})
    with pytest.raises(ValueError, match="none of the step's 1 tasks"):
        RewardModel().credit(step([0.9 * FLAT, 0]), {})
    assert len(RewardModel().credit(step([FLAT, 0]), {})) == 2
    sampled = [replace(each, recorded=False) for each in step([1, 1])]
    assert RewardModel().credit(sampled, {}) == []
    assert RewardModel().credit([], {}) == []


def test_a_rewritten_history_is_scored_at_its_end_only() -> None:
    early, late = answer(1, 0, 0, ids=(1, 1, 2)), answer(1, 0, 0, ids=(1, 3, 4))
    credited = RewardModel().credit([early, late, answer(0, 0, 1)], {})
    assert [s.ids.tolist() for s in credited if s.trajectory == 0] == [[1, 3, 4]]


@pytest.mark.parametrize(
    ("worths", "says"),
    [
        ([0.7, 0.4], "worth 0.7 and 0.4"),
        ([0.3, 0.3], "worth 0.3 and 0.3"),
        ([2, -1], "worth 2 and -1"),
        ([0.2, 0.3, 0.5], "3 answers, soft labels"),
    ],
)
def test_soft_labels_must_be_chances(worths: Sequence[float], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RewardModel(soft=True).credit(step(worths), {})


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"soft": True, "margin": 0.5}, "soft labels already say"),
        ({"soft": True, "ranking": "plackett_luce"}, "soft labels already say"),
        ({"margin": 0.5, "ranking": "plackett_luce"}, "a margin is one between two answers"),
        ({"margin": -1.0}, "0 or more"),
        ({"centre": -0.1}, "0 or more"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(fields: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        RewardModel(**fields)


def test_metrics_count_pairs_whose_better_answer_is_known() -> None:
    algorithm = RewardModel(soft=True)
    credited = algorithm.credit(step([0.7, 0.3], [0.2, 0.8], [0.5, 0.5]), {})
    score_B = torch.tensor([2.5, 1.0, 3.0, 3.0, 7.0, 0.0], dtype=torch.float64)
    metrics = algorithm.loss(Outputs(logp_BT=torch.zeros(6, 6), score_B=score_B), collate(credited)).metrics
    means = {name: mean.total / mean.count for name, mean in metrics.items()}
    assert means == pytest.approx(
        {
            "rewards/accuracies": 0.75,
            "rewards/margins": 0.75,
            "rewards/chosen": 2.75,
            "rewards/rejected": 2.0,
            "score": 16.5 / 6,
        }
    )


# Learning ------------------------------------------------------------------------------------------------------------


class Recurrent(nn.Module):
    """A small recurrent net that reads a score off its last state."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embed, self.net, self.head = nn.Embedding(10, 16), nn.GRU(16, 32, batch_first=True), nn.Linear(32, 1)

    def forward(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        states = self.net(self.embed(batch.ids_BT))[0]
        last_B = torch.tensor([len(sample.ids) - 1 for sample in batch.samples])
        score_B = self.head(states[torch.arange(len(last_B)), last_B]).squeeze(-1)
        return Outputs(logp_BT=torch.zeros(batch.ids_BT.shape), score_B=score_B)


def rated(group: int, chance: bool, dice: random.Random) -> list[Sample]:
    """Two or three answers whose worth is how many nines they hold; with ``chance`` the chances that each is better."""
    rows = [[1, dice.randrange(10), *(dice.choice([3, 9]) for _ in range(5))] for _ in range(2 if chance else 3)]
    worths = [float(row[2:].count(9)) for row in rows]
    if chance:
        p = 1 / (1 + np.exp(worths[1] - worths[0]))
        worths = [p, 1 - p]
    return [answer(worth, group, i, ids=row) for i, (worth, row) in enumerate(zip(worths, rows, strict=True))]


def accuracy(model: Recurrent, samples: Sequence[Sample]) -> float:
    algorithm = RewardModel()
    batch = collate(algorithm.credit(samples, {}))
    with torch.no_grad():
        mean = algorithm.loss(algorithm.forward(model, batch), batch).metrics["rewards/accuracies"]
    return mean.total / mean.count


@pytest.mark.parametrize("algorithm", KINDS)
def test_it_learns_what_is_preferred_and_the_reverse_from_reversed_worths(algorithm: RewardModel) -> None:
    dice = random.Random(0)
    held_out = [s for group in range(100) for s in rated(group, False, dice)]
    found = {}
    for honest in (True, False):
        model = Recurrent()
        optimiser = torch.optim.Adam(model.parameters(), lr=0.01)
        for _ in range(60):
            samples = [s for group in range(16) for s in rated(group, algorithm.soft, dice)]
            if not honest:
                samples = [replace(s, reward=1 - s.reward) for s in samples]
            batch = collate(algorithm.credit(samples, {}))
            optimiser.zero_grad()
            algorithm.loss(algorithm.forward(model, batch), batch).value.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
        found[honest] = accuracy(model, held_out)
    assert found[True] > 0.95
    assert found[False] < 0.05


def test_through_the_real_policy_to_a_folder_that_pays(tmp_path: Path) -> None:
    """A tiny transformer learns to like a word, is saved, and is then a reward and measured on held-out pairs."""
    tokenizer, algorithm, dice = byte_level(), RewardModel(), random.Random(1)
    chat = Chat(tokenizer, frozenset({2}))

    def asked(number: int) -> Task:
        good, bad = (" ".join(dice.choices(["think", word], k=4)) for word in ("hello", "world"))
        recorded = tuple((Message(role="assistant", content=text),) for text in (f"{good} hello", f"{bad} world"))
        return Task(
            id=str(number), prompt=(Message(role="user", content=f"? {number}"),), recorded=recorded, worth=(1, 0)
        )

    model = tiny_llama(tied=False)
    policy = LocalPolicy(model, Optimiser(learning_rate=0.003), compute=torch.float32, heads=algorithm.heads)
    tasks, held_out = [asked(number) for number in range(64)], [asked(number) for number in range(64, 96)]
    for epoch in range(3):
        for start in range(0, 64, 8):
            credited = algorithm.credit(
                batching.samples([recorded(each, chat) for each in tasks[start : start + 8]]), {}
            )
            metrics = policy.learn(credited, algorithm)
            assert metrics["skipped_steps"] == 0, epoch
    assert metrics["rewards/accuracies"] > 0.9
    folder = tmp_path / "models" / "liking"
    with policy.full_precision() as trained:
        save_model(trained, tokenizer, folder)
    policy.save_heads(folder)
    found = agreement(measure_reward_model(load_scalar(folder), chat, held_out, name="liking", step=policy.step))
    assert found.accuracy is not None
    assert found.accuracy.point > 0.9
    at = Surroundings(
        engine=NativeEngine(model, tokenizer, chat.eos_ids), chat=chat, folder=tmp_path, dtype=torch.float32
    )
    paid = measure_reward(reward_model("liking").opened(at), chat, held_out, name="reward")
    wanted = measure_reward_model(load_scalar(folder), chat, held_out, name="reward", step=0)
    for one, other in zip(paid["pairs"], wanted["pairs"], strict=True):
        assert one["chosen_score"] == pytest.approx(other["chosen_score"], rel=1e-4, abs=1e-5)
