"""Rewards of steps and turns: how steps are combined, that adding steps does not pay, and where reward is earned."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_rollout import Guess, episodes, task
from tiny_text import byte_level, tiny_folder

from togi import batch as batching
from togi.advantages import gae, reward_to_go
from togi.algorithms import PPO
from togi.models.scalar_heads import ScalarHead, load_scalar, save_head
from togi.rewards import ProcessModel, gate, parse_reward, process, turns
from togi.rewards.algebra import NotTrainedYet, Surroundings
from togi.rewards.reasoning_steps import COMBINATIONS
from togi.rollout import score
from togi.samplers.group import ask
from togi.tokenization import Chat
from togi.types import Group, Message, Sample, Score, Task, Trajectory, Turn

TASK = Task(id="t", prompt=(Message(role="user", content="?"),))
CHAT = Chat(byte_level(), frozenset())


@dataclass
class Says:
    """After the k-th line end of an answer, and after its end, the k-th chance as log-odds; 50 elsewhere."""

    chances: Sequence[float]

    def after(self, samples: Sequence[Sample]) -> list[np.ndarray]:
        return [self._one(sample) for sample in samples]

    def _one(self, sample: Sample) -> np.ndarray:
        said, written = np.full(len(sample.ids), 50.0), np.flatnonzero(sample.mask)[:-1]
        at = [t for t in written if CHAT.decode([sample.ids[t]]) == "\n"]
        for t, p in zip([*at, len(sample.ids) - 1], self.chances, strict=False):
            said[t] = math.log(p / (1 - p))
        return said


def wrote(text: str) -> Trajectory:
    prompt = CHAT.prompt(TASK.prompt)
    completion = CHAT.completion(text)
    return Trajectory(turns=(Turn(prompt=prompt, completion=completion, text=text, stop="eos"),), stop="eos")


def ready(reward: ProcessModel, *chances: float) -> ProcessModel:
    return replace(reward, loaded=Says(chances), chat=CHAT)


FOUR = (0.9, 0.8, 0.95, 0.6)


@pytest.mark.parametrize(("combine", "wanted"), [("min", 0.6), ("product", 0.4104), ("last", 0.6), ("mean", 0.8125)])
def test_how_steps_become_one_number(combine: str, wanted: float) -> None:
    [found] = score(ready(process("prm", combine), *FOUR), [(TASK, [wrote("a\nb\nc\nd")])])[0]
    assert found.value == pytest.approx(wanted)
    assert found.steps == pytest.approx(FOUR)
    assert found.parts == pytest.approx({"process": wanted, "process/steps": 4})


def test_adding_steps_pays_in_a_sum_and_never_in_a_minimum_or_a_product() -> None:
    p = np.array(FOUR)
    log_odds = np.log(p / (1 - p))
    assert log_odds.sum() == pytest.approx(6.93342, abs=1e-5)
    for padding in (0.55, 0.9, 0.999):
        more = np.append(p, padding)
        # The trap: whatever says nothing wrong is paid for being said.
        assert np.log(more / (1 - more)).sum() > log_odds.sum()
        assert more.sum() > p.sum()
        for combine in ("min", "product"):
            assert COMBINATIONS[combine](more)[-1] <= COMBINATIONS[combine](p)[-1]
    # These two can be raised by padding, though only up to 1; the guide says so.
    assert COMBINATIONS["last"](np.append(p, 0.999))[-1] > COMBINATIONS["last"](p)[-1]
    assert COMBINATIONS["mean"](np.append(p, 0.999))[-1] > COMBINATIONS["mean"](p)[-1]
    with pytest.raises(ValueError, match="a sum over steps pays for adding steps"):
        process("prm", combine="sum")


@pytest.mark.parametrize("combine", list(COMBINATIONS))
def test_dense_is_shaping_by_a_potential_so_that_the_attempt_is_paid_its_value(combine: str) -> None:
    trajectory = wrote("a\nb\nc\nd")
    [found] = score(ready(process("prm", combine), *FOUR), [(TASK, [trajectory])])[0]
    dense, worth = np.array(found.dense), COMBINATIONS[combine](np.array(FOUR))
    assert dense.sum() == pytest.approx(0, abs=1e-12)
    paid = dense.copy()
    paid[-1] += found.value
    assert paid[list(found.step_ends)] == pytest.approx(np.diff(worth, prepend=0.0))
    assert np.count_nonzero(np.delete(paid, list(found.step_ends))) == 0
    # What is still to come at a token is the value less the potential before its step: a baseline of the past alone.
    ahead = reward_to_go(paid)
    before = np.concatenate([[0.0], worth[:-1]])
    starts = np.concatenate([[0], np.array(found.step_ends[:-1]) + 1])
    assert ahead[starts] == pytest.approx(found.value - before)
    # A critic that knows nothing credits the tokens of a step with it, when it looks ahead to the end.
    whole = gae(paid, np.zeros(len(paid)), np.ones(len(paid)), gamma=1.0, lam=1.0)
    assert whole == pytest.approx(ahead)


def test_an_error_is_charged_where_it_is_made() -> None:
    [found] = score(ready(process("prm"), 0.9, 0.1, 0.8), [(TASK, [wrote("a\nb\nc")])])[0]
    assert found.value == pytest.approx(0.1)
    second = found.dense[found.step_ends[1]]
    assert second == pytest.approx(-0.8)
    assert second == min(found.dense[:-1])


def test_gates_and_weights_keep_the_sum_at_zero() -> None:
    reward = ready(process("prm"), *FOUR)
    for composed in (2 * reward, gate(reward, by=turns())):
        [found] = composed(TASK, [wrote("a\nb\nc\nd")])
        assert sum(found.dense) == pytest.approx(0, abs=1e-12)
        assert found.steps == pytest.approx(FOUR)


def test_an_answer_without_a_step_is_worth_nothing_and_nonsense_is_an_error() -> None:
    [found] = ready(process("prm"), 0.5)(TASK, [wrote("\n")])
    assert (found.status, found.value, found.own_fault) == ("ok", 0, "empty")
    assert "the model wrote no step to score" in found.note
    assert ready(process("prm"), math.nan)(TASK, [wrote("a")])[0].status == "error"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('process("")', "needs a name"),
        ('process("prm", combine="max")', "one of min, product, last, mean"),
        ('process("prm", separator="")', "separator that is not empty"),
    ],
)
def test_what_cannot_be_is_refused(text: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_reward(text, Path())


def test_weights_come_from_a_stage_of_the_run(tmp_path: Path) -> None:
    at = Surroundings(engine=None, chat=CHAT, folder=tmp_path, dtype=torch.float32)  # type: ignore[arg-type]
    reward = process("prm")
    with pytest.raises(NotTrainedYet, match=r"process: .* has no model of a stage prm yet"):
        reward.opened(at)
    folder = tiny_folder(tmp_path / "models" / "prm")
    head = ScalarHead(32)
    torch.nn.init.normal_(head.weight)
    save_head(head, folder)
    texts = [wrote("one is\n2 and 3\nthere"), wrote("hello")]
    first, second = reward.opened(at)(TASK, texts)
    assert len(first.steps) == 3
    assert len(second.steps) == 1
    # The number after a step does not depend on what follows, and that of the last is the whole answer's score.
    model = load_scalar(folder)
    samples = batching.samples([Group(task=TASK, trajectories=tuple(texts), scores=(Score(value=0.0),) * 2)])
    logit = [math.log(p / (1 - p)) for p in (first.steps[-1], second.steps[-1])]
    assert logit == pytest.approx(model.scores(samples).tolist(), abs=1e-4)
    cut = replace(texts[0].turns[0], completion=texts[0].turns[0].completion[: first.step_ends[0] + 1])
    [alone] = reward.opened(at)(TASK, [Trajectory(turns=(cut,), stop="length")])
    assert alone.steps == pytest.approx(first.steps[:1], abs=1e-4)


# Turns


def test_turns_are_paid_where_they_were_earned() -> None:
    play = episodes(turns(), env=Guess)[0]
    groups = play(ask([task("a")], 2))
    for found in groups[0].scores:
        assert found.value == 1.5
        assert found.parts == {"turns": 1.5}
        assert sum(found.dense) == pytest.approx(0)
    for sample in batching.samples(groups):
        [reward] = PPO(kl=0.0).token_rewards([sample], batching.trajectories([sample]), np.array([sample.reward]))
        assert reward.tolist() == pytest.approx([0, 0.5, 0, 0.5, 0, 0.5])


def test_a_turn_without_a_token_is_paid_with_the_one_before_it() -> None:
    made = [Turn(prompt=(0,), completion=ids, text="", stop="eos", reward=r) for ids, r in [((1, 2), 1.0), ((), 2.0)]]
    [found] = turns()(TASK, [Trajectory(turns=tuple(made), stop="eos")])
    assert (found.value, found.dense) == (3.0, (0.0, 0.0))
    [nothing] = turns()(TASK, [Trajectory(turns=(made[1],), stop="eos")])
    assert (nothing.value, nothing.dense) == (2.0, ())
