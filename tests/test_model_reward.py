"""Reward models as rewards: what is scored, how members are combined, where weights come from, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_text import byte_level, tiny_folder
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from togi.algorithms.scorers.reward_model import RewardModel
from togi.batch import collate
from togi.models.scalar_heads import ScalarHead, load_scalar, save_head
from togi.models.weight_files import ModelError
from togi.rewards import RewardModels, ensemble, parse_reward, reward_model
from togi.rewards.algebra import NotTrainedYet, Surroundings
from togi.rollout import score
from togi.tokenization import Chat
from togi.types import LOGP, Batch, Message, Output, Outputs, Sample, Task, Trajectory, Turn

TASK = Task(id="train:1", prompt=(Message(role="user", content="?"),))


@dataclass
class Summing:
    """Scores a sample by the sum of one number a token; remembers how often it was asked."""

    value: Sequence[float]
    calls: int = 0

    def scores(self, samples: Sequence[Sample]) -> NDArray[np.float64]:
        self.calls += 1
        return np.array([sum(self.value[token] for token in sample.ids) for sample in samples], dtype=np.float64)


def wrote(*completion: int, prompt: Sequence[int] = (0,)) -> Trajectory:
    return Trajectory(turns=(Turn(prompt=tuple(prompt), completion=completion, text="", stop="eos"),), stop="eos")


def ready(reward: RewardModels, *values: Sequence[float]) -> RewardModels:
    return replace(reward, loaded=tuple(Summing(each) for each in values))


# What is scored ------------------------------------------------------------------------------------------------------


def test_all_trajectories_of_all_tasks_are_scored_at_once_as_the_engine_wrote_them() -> None:
    reward = ready(reward_model("rm"), [0, 1, 10, 100])
    asked = [(TASK, [wrote(1), wrote(2, 3)]), (TASK, []), (TASK, [wrote(3, prompt=(0, 2))])]
    found = score(reward, asked)
    assert [[each.value for each in group] for group in found] == [[1.0, 110.0], [], [110.0]]
    assert found[0][1].parts == {"reward_model": 110.0}
    assert [scorer.calls for scorer in reward.loaded if isinstance(scorer, Summing)] == [1]
    assert reward(TASK, [wrote(1)])[0].value == 1.0


def test_the_whole_conversation_is_read_to_its_last_token() -> None:
    turns = (
        Turn(prompt=(0,), completion=(1,), text="", stop="eos"),
        Turn(prompt=(0, 1, 2), completion=(3,), text="", stop="eos"),
    )
    reward = ready(reward_model("rm"), [0, 1, 10, 100])
    assert reward(TASK, [Trajectory(turns=turns, stop="eos")])[0].value == 111.0


def test_an_attempt_without_a_token_abstains() -> None:
    reward = ready(reward_model("rm", name="helpful"), [0, 1])
    silent, spoken = reward(TASK, [wrote(), wrote(1)])
    assert (silent.status, silent.note) == ("abstain", "helpful: the model wrote nothing to score")
    assert math.isnan(silent.value)
    assert spoken.value == 1.0
    assert reward(TASK, [wrote()])[0].status == "abstain"


def test_a_score_that_is_no_number_is_an_error_not_a_reward() -> None:
    [found] = ready(ensemble("a", "b"), [0, 1], [0, math.inf])(TASK, [wrote(1)])
    assert (found.status, found.note) == ("error", "ensemble: a reward model gave [1.0, inf]")


def test_without_weights_nothing_is_scored() -> None:
    with pytest.raises(ValueError, match="has no weights yet"):
        reward_model("rm")(TASK, [wrote(1)])


# Combining -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("combine", "k", "wanted"),
    [("mean", 1.0, 3.0), ("min", 1.0, 1.0), ("deviation", 1.0, 1.0), ("deviation", 0.5, 2.0), ("deviation", 0.0, 3.0)],
)
def test_members_are_combined_and_kept(combine: str, k: float, wanted: float) -> None:
    reward = ready(ensemble("a", "runs/b", "c", combine=combine, k=k), [0, 1], [0, 3], [0, 5])
    [found] = reward(TASK, [wrote(1)])
    assert found.value == pytest.approx(wanted)
    assert found.parts == pytest.approx(
        {"ensemble": wanted, "ensemble/a": 1.0, "ensemble/b": 3.0, "ensemble/c": 5.0, "ensemble/deviation": 2.0}
    )


def test_members_of_one_name_keep_their_paths() -> None:
    [found] = ready(ensemble("x/rm", "y/rm"), [0, 1], [0, 3])(TASK, [wrote(1)])
    assert found.parts.keys() == {"ensemble", "ensemble/x/rm", "ensemble/y/rm", "ensemble/deviation"}


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ('ensemble("a")', "at least 2 reward models, got 1"),
        ('ensemble("a", "a")', "different reward models"),
        ('ensemble("a", 2)', '"models" is of type str; got 2'),
        ('ensemble("a", "b", combine="max")', "one of mean, min, deviation; got 'max'"),
        ('ensemble("a", "b", combine="deviation", k=-1)', "0 or more; got -1"),
        ('ensemble("a", "b", k=2)', 'k means something with combine = "deviation" alone'),
        ('ensemble("a", "b", models="c")', "unexpected keyword argument"),
        ('ensemble("a", "b", deviation=2)', r"ensemble\(models, ..., combine='mean', k=1.0, name='ensemble'\)"),
        ('reward_model("")', "needs a name"),
        ('reward_model("a", base="/")', 'no parameter "base"'),
        ('reward_model("a") + reward_model("b")', "two different rewards are named"),
    ],
)
def test_an_expression_that_cannot_work_is_refused(expression: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        parse_reward(expression, Path())


def test_an_expression_only_names_models() -> None:
    reward = parse_reward('ensemble("a", "b", combine="min") - 0.1 * reward_model("no such folder")', Path("/nowhere"))
    assert [leaf.name for leaf in reward.leaves] == ["ensemble", "reward_model"]


# Weights -------------------------------------------------------------------------------------------------------------


class NoEngine:
    """Nothing here is sampled."""

    version = 0


def surroundings(folder: Path, tokenizer: PreTrainedTokenizerFast | None = None) -> Surroundings:
    chat = Chat(tokenizer or byte_level(), frozenset({2}))
    return Surroundings(engine=NoEngine(), chat=chat, folder=folder, dtype=torch.float32)  # type: ignore[arg-type]


def reward_model_folder(path: Path, seed: int = 0) -> Path:
    tiny_folder(path, seed=seed)
    head = ScalarHead(32)
    with torch.no_grad():
        head.weight.copy_(torch.randn(32, generator=torch.Generator().manual_seed(seed)))
    save_head(head, path)
    return path


def test_a_name_is_a_stage_of_the_run_before_it_is_a_folder(tmp_path: Path) -> None:
    run, base = tmp_path / "run", tmp_path / "base"
    stage = reward_model_folder(run / "models" / "rm", seed=1)
    other = reward_model_folder(base / "rm", seed=2)
    reward_model_folder(base / "older" / "models" / "rm", seed=3)
    trajectory = wrote(5, 6, 2, prompt=(1, 7))
    found = {}
    for name in ("rm", "./rm", "older", str(other)):
        opened = parse_reward(f'reward_model("{name}")', base).opened(surroundings(run))
        [found[name]] = [each.value for each in opened(TASK, [trajectory])]
    assert found["./rm"] == found[str(other)]
    assert len(set(found.values())) == 3
    sample = Sample(
        ids=np.array([1, 7, 5, 6, 2]), mask=np.arange(5) > 1, logp=np.zeros(5, np.float32), reward=0.0, group=0,
        trajectory=0, task="", stop="eos",
    )  # fmt: skip
    assert load_scalar(stage).scores([sample])[0] == pytest.approx(found["rm"], rel=1e-5)


def test_a_score_does_not_depend_on_what_it_is_scored_with(tmp_path: Path) -> None:
    reward_model_folder(tmp_path / "models" / "a", seed=1)
    reward_model_folder(tmp_path / "models" / "b", seed=2)
    opened = ensemble("a", "b").opened(surroundings(tmp_path))
    rng = np.random.default_rng(0)
    attempts = [wrote(*rng.integers(3, 300, n).tolist(), prompt=(1, 9, 4)) for n in (1, 4, 30)]
    together = [each.value for each in opened(TASK, attempts)]
    assert [opened(TASK, [each])[0].value for each in attempts] == pytest.approx(together, rel=1e-4)


def test_a_stage_that_is_still_to_be_trained_and_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(NotTrainedYet, match="no model of a stage rm yet"):
        reward_model("rm").opened(surroundings(tmp_path))
    with pytest.raises(ValueError, match="there is no folder") as caught:
        reward_model("runs/rm", base=tmp_path).opened(surroundings(tmp_path))
    assert not isinstance(caught.value, NotTrainedYet)


def test_a_language_model_is_no_reward_model(tmp_path: Path) -> None:
    tiny_folder(tmp_path / "models" / "sft")
    with pytest.raises(ModelError, match="no reward model"):
        reward_model("sft").opened(surroundings(tmp_path))


def test_a_reward_model_of_another_tokenizer_is_refused(tmp_path: Path) -> None:
    reward_model_folder(tmp_path / "models" / "rm")
    other = byte_level()
    other.add_tokens(["<|mine|>"])
    with pytest.raises(ModelError, match="another tokenizer"):
        reward_model("rm").opened(surroundings(tmp_path, other))


def test_a_damaged_head_is_named(tmp_path: Path) -> None:
    folder = reward_model_folder(tmp_path / "models" / "rm")
    (folder / "scalar_head.safetensors").write_bytes(b"garbage")
    with pytest.raises(ModelError, match="damaged"):
        reward_model("rm").opened(surroundings(tmp_path))


# Over-optimisation ---------------------------------------------------------------------------------------------------

WORDS, SEEN, LENGTH = 40, 10, 6


class Bag:
    """A reward model whose score is the sum of one learned number a token, random where nothing was learned."""

    def __init__(self, seed: int) -> None:
        self.value = torch.randn(WORDS, generator=torch.Generator().manual_seed(seed), requires_grad=True)

    def __call__(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        score_B = torch.where(batch.mask_BT, self.value[batch.ids_BT], 0.0).sum(-1)
        return Outputs(logp_BT=torch.zeros(batch.ids_BT.shape), score_B=score_B)


def trained(seed: int) -> Tensor:
    """A member trained on pairs of answers in words that were seen, where more nines are better."""
    model, algorithm, dice = Bag(seed), RewardModel(), np.random.default_rng(seed)
    optimiser = torch.optim.Adam([model.value], lr=0.05)
    for _ in range(80):
        rows = np.concatenate([np.zeros((32, 1), np.int64), dice.integers(1, SEEN, (32, LENGTH))], axis=1)
        samples = [
            Sample(ids=row, mask=np.arange(len(row)) > 0, logp=np.zeros(len(row), np.float32), group=number // 2,
                   reward=float((row == 9).sum()), trajectory=number % 2, task="", stop="eos", recorded=True)
            for number, row in enumerate(rows)
        ]  # fmt: skip
        batch = collate(algorithm.credit(samples, {}))
        optimiser.zero_grad()
        algorithm.loss(algorithm.forward(model, batch), batch).value.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return model.value.detach()


def test_the_minimum_of_an_ensemble_does_not_fall_for_words_that_only_some_members_like() -> None:
    """A policy that looks for what the mean likes finds a word no member has seen; the guards rank it below the good
    answer that all members know."""
    members = [trained(seed).tolist() for seed in range(4)]
    good = wrote(*[9] * LENGTH)
    strange = [wrote(*[word] * 3 * LENGTH) for word in range(SEEN, WORDS)]
    ranked = {}
    for combine, k in (("mean", 1.0), ("min", 1.0), ("deviation", 2.0)):
        reward = ready(ensemble("a", "b", "c", "d", combine=combine, k=k), *members)
        ranked[combine] = [each.value for each in reward(TASK, [good, *strange])]
    assert max(range(len(ranked["mean"])), key=ranked["mean"].__getitem__) != 0
    assert max(range(len(ranked["min"])), key=ranked["min"].__getitem__) == 0
    assert max(range(len(ranked["deviation"])), key=ranked["deviation"].__getitem__) == 0
    # On what they know the members agree, and caution costs nothing.
    seen = [wrote(*[9] * count, *[1] * (LENGTH - count)) for count in range(LENGTH + 1)]
    for combine in ("mean", "min", "deviation"):
        values = [each.value for each in ready(ensemble("a", "b", "c", "d", combine=combine), *members)(TASK, seen)]
        assert values == sorted(values)
