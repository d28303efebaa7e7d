"""Who finds the first error? Multi-step addition with one step corrupted at a known place, on a model made in seconds.

Labels by continuation, the process reward model that learned such labels, and the implicit model that was told outcomes
alone have to name the corrupted step far more often than chance does.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM

from togi import batch as batching
from togi.algorithms import PRIME, ProcessRewardModel
from togi.engines.native import NativeEngine
from togi.envs import OneTurn
from togi.models.policy import LocalPolicy, Optimiser
from togi.protocols import Play, Texts
from togi.rollout import Episodes
from togi.samplers import StepLabels
from togi.types import Group, Ids, Message, Question, Sample, Sampling, Score, Task, Trajectory, Turn

BASE, STEPS = 7, 6
LINE, END = 2 * BASE, 2 * BASE + 1
CHANCE = 1 / STEPS
pytestmark = pytest.mark.slow


class Sums:
    """A chat whose tokens are digits, what is added each time, a line end and the end; also a tokenizer."""

    def decode(self, token_ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        return "".join("\n" if i == LINE else "" if i == END else str(i) for i in token_ids)

    def of(self, task: Task) -> Sums:
        return self

    def opening(self, messages: Sequence[Message]) -> str:
        return ""

    def prompt(self, messages: Sequence[Message]) -> Ids:
        added, first = map(int, messages[0].content.split())
        return (BASE + added, first, LINE)

    def step_ends(self, completion: Sequence[int], separator: str) -> tuple[int, ...]:
        assert separator == "\n"
        inner = [i for i, token in enumerate(completion[:-1]) if token == LINE]
        return (*inner, len(completion) - 1)


def ends_right(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    return [Score(value=float(t.turns[0].completion[-2:] == (task.answer, END))) for t in trajectories]


def question(dice: random.Random, number: int) -> Task:
    added, first = dice.randrange(1, BASE), dice.randrange(BASE)
    asked = Message(role="user", content=f"{added} {first}")
    return Task(id=str(number), prompt=(asked,), answer=(first + STEPS * added) % BASE)


def written(task: Task, wrong_at: int | None, by: int) -> Turn:
    """The answer, with a step off ``by`` and all that follows built on it."""
    added, total = map(int, task.prompt[0].content.split())
    completion: list[int] = []
    for step in range(STEPS):
        total = (total + added + (by if step == wrong_at else 0)) % BASE
        completion += [total, LINE if step < STEPS - 1 else END]
    return Turn(prompt=Sums().prompt(task.prompt), completion=tuple(completion), text="", stop="eos", logp=(-1.0,) * 12)


def answers(count: int, seed: int, *, right: bool = False) -> tuple[list[Group], list[int]]:
    """Groups of a wrong answer each (``right``: and a right one), and which step is wrong."""
    dice, groups, places = random.Random(seed), [], []
    for number in range(count):
        task, place = question(dice, number), dice.randrange(STEPS)
        turns = [written(task, place, dice.randrange(1, BASE)), *([written(task, None, 0)] if right else [])]
        trajectories = tuple(Trajectory(turns=(turn,), stop="eos") for turn in turns)
        groups.append(Group(task=task, trajectories=trajectories, scores=tuple(ends_right(task, trajectories))))
        places.append(place)
    return groups, places


@dataclass
class Given(Play):
    """Plays answers that stand already; continues them for real."""

    groups: Sequence[Group]
    play: Episodes

    @property
    def counts(self) -> dict[str, float]:
        return self.play.counts

    @property
    def chat(self) -> Texts:
        return self.play.chat

    def __call__(self, questions: Sequence[Question]) -> list[Group]:
        return self.play(questions) if any(each.beginning for each in questions) else list(self.groups)


@pytest.fixture(scope="module")
def adder() -> LlamaForCausalLM:
    """A model that was taught to add, and to go on from whatever stands there."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=2 * BASE + 2, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=4, max_position_embeddings=64, tie_word_embeddings=True, eos_token_id=END,
        bos_token_id=None, pad_token_id=None, initializer_range=0.1,
    )  # fmt: skip
    model = LlamaForCausalLM(config)
    optimiser = torch.optim.AdamW(model.parameters(), lr=5e-3)
    for _ in range(240):
        added, total = torch.randint(1, BASE, (32, 1)), torch.randint(0, BASE, (32, 1))
        sums = (total + added * torch.arange(STEPS + 1)) % BASE
        # Now and then a wrong step, so that it learns to add to what stands there and not to count from the start.
        slip = torch.randint(1, BASE, (32, 1)) * (torch.rand(32, 1) < 0.2)
        sums = (sums + slip * (torch.arange(STEPS + 1) >= torch.randint(1, STEPS + 1, (32, 1)))) % BASE
        ends = torch.full_like(sums, LINE)
        ends[:, -1] = END
        ids = torch.cat([added + BASE, torch.stack([sums, ends], -1).view(32, -1)], 1)
        logits = model(ids).logits[:, 2:-1]
        optimiser.zero_grad()
        cross_entropy(logits.flatten(0, 1), ids[:, 3:].flatten()).backward()
        optimiser.step()
    return model.eval()


def label(
    model: LlamaForCausalLM, groups: Sequence[Group], labels: str = "hard", continuations: int = 8
) -> list[Group]:
    chat = Sums()
    play = Episodes(
        engine=NativeEngine(model, chat, frozenset({END})), chat=chat, env=OneTurn, reward=ends_right,  # type: ignore[arg-type]
        sampling=Sampling(max_tokens=2 * STEPS),
    )  # fmt: skip
    sampler = StepLabels(n=1, continuations=continuations, labels=labels)  # type: ignore[arg-type]
    return sampler(cycle([groups[0].task]), 1, Given(groups, play))


def found(named: Sequence[int | None], places: Sequence[int]) -> float:
    return float(np.mean([one == other for one, other in zip(named, places, strict=True)]))


def per_step(sample: Sample, values: np.ndarray) -> np.ndarray:
    return values[sample.mask].reshape(STEPS, 2).sum(-1)


def test_labels_by_continuation_name_the_corrupted_step(adder: LlamaForCausalLM) -> None:
    groups, places = answers(60, seed=1)
    named = [next((k for k, worth in enumerate(g.scores[0].steps) if worth == 0), None) for g in label(adder, groups)]
    assert found(named, places) > 0.8 > 4 * CHANCE
    falls = [int(np.argmin(np.diff(g.scores[0].steps, prepend=1.0))) for g in label(adder, groups, "soft")]
    assert found(falls, places) > 0.8


def test_the_model_that_learned_such_labels_names_it(adder: LlamaForCausalLM) -> None:
    """Labels are those of continuations; nobody told it where the errors are."""
    optimiser = Optimiser(learning_rate=5e-3, tokens_per_microbatch=5000)
    policy = LocalPolicy(copy.deepcopy(adder), optimiser, compute=torch.float32, heads="shared")
    algorithm = ProcessRewardModel()
    samples = batching.samples(label(adder, answers(250, seed=2)[0], continuations=4))
    for part in _parts(samples, 50, steps=280):
        policy.learn(algorithm.credit(part, {}), algorithm)
    groups, places = answers(80, seed=3)
    held_out = batching.samples(groups)
    with torch.no_grad():
        batch = batching.collate(held_out)
        after_BT = batching.after(policy.outputs(batch, algorithm.outputs), batch).numpy()
    # After each step; the other tokens are not asked.
    logits = [row[: len(s.ids)][s.mask][1::2] for row, s in zip(after_BT, held_out, strict=True)]
    named = [next((k for k, x in enumerate(each) if x < 0), None) for each in logits]
    assert found(named, places) > 3 * CHANCE


def test_the_implicit_model_that_was_told_outcomes_alone_names_it(adder: LlamaForCausalLM) -> None:
    """Where the log-odds of ending right fall. What follows an error falls as well, so the step that first loses a
    quarter of what is lost in all is the one named."""
    optimiser = Optimiser(learning_rate=0.0, critic_learning_rate=5e-3, tokens_per_microbatch=5000)
    policy = LocalPolicy(copy.deepcopy(adder), optimiser, compute=torch.float32, reference="copy", heads="implicit")
    algorithm = PRIME(beta=0.5)
    samples = policy.annotate(batching.samples(answers(300, seed=4, right=True)[0]), algorithm.needs)
    for part in _parts(samples, 50, steps=60):
        metrics = policy.learn(algorithm.credit(part, {}), algorithm)
    groups, places = answers(80, seed=5)
    credited = policy.annotate(batching.samples(groups), algorithm.needs)
    rewards = [per_step(s, s.implicit_logp - s.ref_logp) for s in credited if s.implicit_logp is not None]
    named = [int(np.argmax(np.cumsum(each) <= each.sum() / 4)) for each in rewards]
    assert metrics["implicit/accuracy"] > 0.9
    assert found(named, places) > 0.8 > 4 * CHANCE


def _parts(samples: Sequence[Sample], size: int, *, steps: int) -> Iterator[list[Sample]]:
    """Whole groups of two, drawn anew each time."""
    dice = random.Random(0)
    groups = [list(samples[i : i + 2]) for i in range(0, len(samples), 2)]
    for _ in range(steps):
        yield [sample for group in dice.sample(groups, size // 2) for sample in group]
