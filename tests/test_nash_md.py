"""Nash-MD: the mixture that the opponent draws from, the credit by number, and two games it must win."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_model
from torch import Tensor, nn
from transformers import PreTrainedModel

from togi import batch as batching
from togi.algorithms.policy_gradient.nash_md import NashMD
from togi.engines.model_mixture import Mixture
from togi.engines.native import NativeEngine
from togi.envs import OneTurn
from togi.models.policy import LocalPolicy, Optimiser
from togi.protocols import Asked
from togi.rollout import Episodes
from togi.samplers.group import ask
from togi.samplers.opponent import Against
from togi.types import (
    LOGP,
    Batch,
    Group,
    Ids,
    Message,
    Opponent,
    Output,
    Outputs,
    Prompt,
    Question,
    Sample,
    Sampling,
    Score,
    Status,
    Task,
    Trajectory,
    Turn,
)


class Digits:
    """A chat, and a tokenizer, whose tokens are digits."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        return "".join(map(str, token_ids))

    def of(self, task: Task) -> Digits:
        return self

    def opening(self, messages: Sequence[Message]) -> str:
        return ""

    def prompt(self, messages: Sequence[Message]) -> Ids:
        return tuple(int(c) for message in messages for c in message.content)


class Fixed:
    """A model that gives every token the same probabilities."""

    device = torch.device("cpu")

    def __init__(self, probabilities: Sequence[float]) -> None:
        self.logits = torch.tensor(probabilities, dtype=torch.float64).log()
        config = SimpleNamespace(num_hidden_layers=1, vocab_size=len(probabilities))
        self.config = SimpleNamespace(get_text_config=lambda: config)

    def __call__(self, *, input_ids: Tensor, **_: Any) -> SimpleNamespace:
        return SimpleNamespace(logits=self.logits.expand(*input_ids.shape, -1) + 3)  # logits have no fixed zero


def test_the_mixture_by_number() -> None:
    mixture = Mixture(Fixed([0.7, 0.2, 0.1]), Fixed([0.2, 0.5, 0.3]), 0.125)
    ids, cache = torch.zeros(1, 1, dtype=torch.long), SimpleNamespace(layers=2, context=9)
    logits = mixture(input_ids=ids, position_ids=ids, use_cache=False, kv_cache=cache).logits  # type: ignore[arg-type]
    torch.testing.assert_close(
        logits.softmax(-1)[0, 0], torch.tensor([0.63842, 0.239215, 0.122365]).double(), atol=1e-6, rtol=0
    )


def test_models_that_cannot_be_mixed_are_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, got 1\.5"):
        Mixture(tiny_model(), tiny_model(), 1.5)
    with pytest.raises(ValueError, match="3 layers and 61 tokens, its reference 3 layers and 40 tokens"):
        Mixture(tiny_model(), tiny_model(40), 0.5)


PROMPT = (3, 1, 4, 1, 5)


def mixed_logp(model: PreTrainedModel, reference: PreTrainedModel, share: float, ids: Ids, heat: float = 1.0) -> Tensor:
    """log of the mixture after each of ``ids``, from two fresh forwards: [T, V]."""
    with torch.no_grad():
        own, other = ((m(torch.tensor([ids])).logits[0] / heat).log_softmax(-1) for m in (model, reference))
    return ((1 - share) * own + share * other).log_softmax(-1)


def engine_of(model: PreTrainedModel, reference: PreTrainedModel | None, share: float, rows: int = 128) -> NativeEngine:
    return NativeEngine(Mixture(model, reference, share), Digits(), frozenset(), batch_size=rows)


def test_greedy_takes_the_likeliest_token_of_the_mixture() -> None:
    model, reference = tiny_model(), tiny_model(seed=1)
    prompts = [Prompt(ids=PROMPT, seeds=(1,)), Prompt(ids=PROMPT[:2], seeds=(2, 3)), Prompt(ids=(7,) * 9, seeds=(4,))]
    drawn = engine_of(model, reference, 0.4, rows=2).generate(prompts, Sampling(max_tokens=12, temperature=0))
    for turn in [turn for turns in drawn for turn in turns]:
        logp_TV = mixed_logp(model, reference, 0.4, turn.prompt + turn.completion)[len(turn.prompt) - 1 : -1]
        assert logp_TV.argmax(-1).tolist() == list(turn.completion)
    alone = NativeEngine(model, Digits(), frozenset()).generate(prompts, Sampling(max_tokens=12, temperature=0))
    assert drawn[0][0].completion != alone[0][0].completion


@pytest.mark.parametrize("heat", [1.0, 0.7])
def test_the_log_probability_is_that_of_the_mixture(heat: float) -> None:
    model, reference = tiny_model(), tiny_model(seed=1)
    sampling = Sampling(max_tokens=10, temperature=heat)
    [turns] = engine_of(model, reference, 0.125).generate([Prompt(ids=PROMPT, seeds=tuple(range(6)))], sampling)
    for turn in turns:
        logp_TV = mixed_logp(model, reference, 0.125, turn.prompt + turn.completion, heat)[len(PROMPT) - 1 : -1]
        want = logp_TV.gather(1, torch.tensor(turn.completion)[:, None])[:, 0]
        np.testing.assert_allclose(turn.logp, want, atol=1e-5)


def test_tokens_come_as_often_as_the_mixture_says() -> None:
    model, reference, n = tiny_model(12), tiny_model(12, seed=1), 20_000
    sampling = Sampling(max_tokens=1)
    [turns] = engine_of(model, reference, 0.5, rows=4096).generate(
        [Prompt(ids=PROMPT, seeds=tuple(range(n)))], sampling
    )
    share_V = np.bincount([turn.completion[0] for turn in turns], minlength=12) / n
    want_V = mixed_logp(model, reference, 0.5, PROMPT)[-1].exp().numpy()
    assert np.all(np.abs(share_V - want_V) < 4 * np.sqrt(want_V * (1 - want_V) / n))
    own_V = mixed_logp(model, reference, 0.0, PROMPT)[-1].exp().numpy()
    assert np.abs(own_V - want_V).max() > 0.1


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_at_its_ends_the_mixture_is_one_of_the_two(share: float) -> None:
    model, reference = tiny_model(), tiny_model(seed=1)
    prompts, sampling = [Prompt(ids=PROMPT, seeds=(5, 6, 7))], Sampling(max_tokens=8)
    alone = NativeEngine(reference if share else model, Digits(), frozenset()).generate(prompts, sampling)
    drawn = engine_of(model, reference, share).generate(prompts, sampling)
    assert [turn.completion for turn in drawn[0]] == [turn.completion for turn in alone[0]]


def test_both_models_are_left_as_they_were() -> None:
    model, reference = tiny_model().train(), tiny_model(seed=1)
    before = [each.config._attn_implementation for each in (model, reference)]
    engine_of(model, reference, 0.5).generate([Prompt(ids=PROMPT, seeds=(1,))], Sampling(max_tokens=2))
    assert [each.config._attn_implementation for each in (model, reference)] == before
    assert model.training
    assert not reference.training


def test_an_adapter_is_mixed_with_its_own_base() -> None:
    peft = pytest.importorskip("peft")
    base = tiny_model()
    frozen = copy.deepcopy(base)
    model = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules="all-linear", init_lora_weights=False))
    prompts, sampling = [Prompt(ids=PROMPT, seeds=(5, 6))], Sampling(max_tokens=8)
    drawn = engine_of(model, None, 0.5).generate(prompts, sampling)
    for turn in drawn[0]:
        logp_TV = mixed_logp(model, frozen, 0.5, turn.prompt + turn.completion)[len(PROMPT) - 1 : -1]
        want = logp_TV.gather(1, torch.tensor(turn.completion)[:, None])[:, 0]
        np.testing.assert_allclose(turn.logp, want, atol=1e-5)


def sample(reward: float, log_ratio: float, trajectory: int = 0, group: int = 0) -> Sample:
    """Three trained tokens after one of prompt, whose log-ratios sum to ``log_ratio``; the prompt's say nothing."""
    mask = np.array([False, True, True, True])
    ref = np.array([9.0, -1.0, -2.0, -3.0], dtype=np.float32)
    old = (ref + np.array([0.0, 0.5, -1.0, 0.5], dtype=np.float32)).astype(np.float32)
    old[3] += log_ratio
    return Sample(
        ids=np.arange(4), mask=mask, logp=old, old_logp=old, ref_logp=ref, reward=reward,
        group=group, trajectory=trajectory, task=str(group), stop="eos",
    )  # fmt: skip


def test_the_coefficient_by_number() -> None:
    [credited] = NashMD().credit([sample(0.7, 1.5)], {})
    np.testing.assert_allclose(credited.advantage, [0, 0.188, 0.188, 0.188], atol=1e-6)
    assert credited.weight == 1.0


def test_the_opponent_is_not_trained_and_does_not_count_in_the_average() -> None:
    samples = [sample(0.7, 1.5), sample(0.3, 0.2, 1), sample(0.4, 0.0, 0, 1), sample(0.6, 0.0, 1, 1)]
    credited = NashMD().credit(samples, {})
    assert [(each.group, each.trajectory, each.weight) for each in credited] == [(0, 0, 0.5), (1, 0, 0.5)]
    assert NashMD(kl=0.0).needs == {"ref_logp"}
    assert NashMD().needs == {"ref_logp", "old_logp"}


def test_a_reward_that_is_no_probability_is_refused() -> None:
    with pytest.raises(ValueError, match=r"between 0 and 1, and task 0 got 1\.001"):
        NashMD().credit([sample(1.001, 0.0)], {})


def test_the_gradient_is_the_papers() -> None:
    credited = NashMD(kl=0.1).credit([sample(0.9, 0.7), sample(0.2, -0.4, 0, 1)], {})
    logp = torch.tensor(np.stack([each.old_logp for each in credited])).requires_grad_()
    batch = batching.collate(credited)
    NashMD(kl=0.1).loss(Outputs(logp_BT=logp), batch).value.backward()
    # d loss / d log pi of each token: minus the coefficient, averaged over the two answers.
    want = [[0, *[-(0.9 - 0.5 - 0.1 * 0.7) / 2] * 3], [0, *[-(0.2 - 0.5 + 0.1 * 0.4) / 2] * 3]]
    torch.testing.assert_close(logp.grad, torch.tensor(want), atol=1e-6, rtol=0)


@dataclass
class Judged:
    """A play whose pairs are scored as written."""

    scores: Sequence[tuple[Score, Score]]
    asked: list[tuple[list[str], Opponent | None]] = field(default_factory=list)
    counts: dict[str, float] = field(default_factory=dict)

    def attempts(self, questions: Sequence[Question]) -> list[tuple[Trajectory, ...]]:
        [by] = {question.by for question in questions}
        self.asked.append(([question.task.id for question in questions], by))
        return [(Trajectory(turns=(), stop="eos"),) for _ in questions]

    def scored(self, asked: Sequence[Asked]) -> list[Group]:
        return [
            Group(task=task, trajectories=tuple(both), scores=given)
            for (task, both), given in zip(asked, self.scores, strict=True)
        ]


def lost(status: Status) -> Score:
    return Score(value=float("nan"), status=status, note="gone")


def test_an_attempt_whose_opponent_failed_is_compared_with_nobody() -> None:
    given = [
        (Score(value=0.8), Score(value=0.2)),
        (Score(value=0.5), lost("error")),
        (lost("timeout"), Score(value=0.9)),
    ]
    play = Judged([*given, (Score(value=0.4), Score(value=0.6))])
    groups = Against(2, reference_share=0.3)(iter([Task(id="a", prompt=()), Task(id="b", prompt=())]), 2, play)  # type: ignore[arg-type]
    names = ["a", "a", "b", "b"]
    assert play.asked == [(names, None), (names, Opponent(reference_share=0.3))]
    assert [group.scores[0].status for group in groups] == ["ok", "abstain", "timeout", "ok"]
    assert play.counts == {"nash/win_rate": pytest.approx(0.6)}


def test_without_a_reference_there_is_no_opponent() -> None:
    engine = NativeEngine(tiny_model(10), Digits(), frozenset())
    play = Episodes(engine=engine, chat=Digits(), env=OneTurn, reward=more_of_its_own, sampling=Sampling())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="has no reference"):
        Against()(iter(TASKS), 1, play)


# --- games -----------------------------------------------------------------------------------------------------------

TASKS = [Task(id=f"t{i}", prompt=(Message(role="text", content=str(i)),), answer=5 + i) for i in range(3)]


def more_of_its_own(task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
    """The answer with more of the task's own token is preferred; nobody says how good an answer is by itself."""
    own, other = (sum(i == task.answer for i in t.turns[-1].completion) for t in trajectories)
    first = 0.5 + 0.5 * np.sign(own - other)
    return [Score(value=first), Score(value=1 - first)]


def test_it_learns_what_is_preferred_through_the_real_engine_and_policy() -> None:
    model, algorithm = tiny_model(10, dtype=torch.float32), NashMD(sampler=Against(8))
    frozen = copy.deepcopy(model)
    policy = LocalPolicy(model, Optimiser(learning_rate=0.01), compute=torch.float32, reference="copy")
    engine = NativeEngine(model, Digits(), frozenset())
    play = Episodes(
        engine=engine, chat=Digits(), env=OneTurn, reward=more_of_its_own, sampling=Sampling(max_tokens=3), seed=1,  # type: ignore[arg-type]
        opponent=lambda share: engine_of(model, frozen, share),
    )  # fmt: skip

    def hits() -> float:
        found = zip(TASKS, play.at(10_000).attempts(ask(TASKS, 32)), strict=True)
        return float(np.mean([i == task.answer for task, each in found for t in each for i in t.turns[0].completion]))

    assert hits() < 0.3
    stream = cycle(TASKS)
    for step in range(25):
        groups = algorithm.sampler(stream, 3, play.at(step))
        samples = algorithm.credit(policy.annotate(batching.samples(groups), algorithm.needs), {})
        policy.learn(samples, algorithm)
        engine.sync(policy)
    assert hits() > 0.8


class Table(nn.Module):
    """A policy of one move: a row of logits."""

    def __init__(self, probabilities: Sequence[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(probabilities).log())

    def forward(self, batch: Batch, outputs: frozenset[Output] = LOGP) -> Outputs:
        logp_BT = self.logits.log_softmax(-1)[batch.ids_BT].where(batch.mask_BT, 0.0)
        return Outputs(logp_BT=logp_BT)


@dataclass
class Moves:
    """An engine that draws one move from a function's probabilities, each with its own seed."""

    probabilities: Callable[[], Tensor]
    version: int = 0

    def generate(
        self, prompts: Sequence[Prompt], sampling: Sampling, progress: Callable[[int, int], None] | None = None
    ) -> list[list[Turn]]:
        reach = self.probabilities().cumsum(-1).tolist()
        return [[self._turn(prompt.ids, reach, seed) for seed in prompt.seeds] for prompt in prompts]

    def _turn(self, prompt: Ids, reach: Sequence[float], seed: int) -> Turn:
        move = min(int(np.searchsorted(reach, (seed % 2**53) / 2**53)), len(reach) - 1)
        return Turn(prompt=prompt, completion=(move,), text=str(move), stop="eos", logp=(-1.0,))

    def sync(self, policy: object) -> None: ...


@dataclass
class Game:
    """Preferences between moves: entry [a, b] is the probability that a is preferred to b."""

    preferred: Sequence[Sequence[float]]

    def __call__(self, task: Task, trajectories: Sequence[Trajectory]) -> list[Score]:
        a, b = (t.turns[-1].completion[0] for t in trajectories)
        return [Score(value=self.preferred[a][b]), Score(value=self.preferred[b][a])]


def played(
    game: Game, start: Sequence[float], reference: Sequence[float], algorithm: NashMD, steps: int
) -> list[float]:
    """The policy's probabilities after ``steps`` steps."""
    table, mu = Table(start), torch.tensor(reference)
    optimiser = torch.optim.SGD(table.parameters(), lr=2.0)

    def mixed(share: float) -> Moves:
        return Moves(lambda: ((1 - share) * table.logits.detach().log_softmax(-1) + share * mu.log()).softmax(-1))

    play = Episodes(
        engine=mixed(0.0), chat=Digits(), env=OneTurn, reward=game, sampling=Sampling(), opponent=mixed,  # type: ignore[arg-type]
    )  # fmt: skip
    stream: Iterator[Task] = cycle(TASKS[:1])
    for step in range(steps):
        samples = batching.samples(algorithm.sampler(stream, 1, play.at(step)))
        own = table.logits.detach().log_softmax(-1)
        samples = [
            replace(
                each,
                old_logp=np.where(each.mask, own[each.ids], 0).astype(np.float32),
                ref_logp=np.where(each.mask, mu.log()[each.ids], 0).astype(np.float32),
            )
            for each in samples
        ]
        batch = batching.collate(algorithm.credit(samples, {}))
        optimiser.zero_grad()
        algorithm.loss(algorithm.forward(table, batch), batch).value.backward()
        optimiser.step()
    return table.logits.detach().softmax(-1).tolist()


UNIFORM = [1 / 3] * 3


def test_where_preferences_go_in_a_circle_it_finds_the_balance_that_plain_self_play_misses() -> None:
    circle = Game([[0.5, 0.9, 0.1], [0.1, 0.5, 0.9], [0.9, 0.1, 0.5]])
    found = played(circle, [0.8, 0.1, 0.1], UNIFORM, NashMD(sampler=Against(64), kl=0.1), 80)
    np.testing.assert_allclose(found, UNIFORM, atol=0.12)
    itself = NashMD(sampler=Against(64, reference_share=0.0), kl=0.0)
    assert max(played(circle, [0.8, 0.1, 0.1], UNIFORM, itself, 80)) > 0.7


def test_a_move_preferred_to_every_other_wins_over_a_circle_and_over_the_reference() -> None:
    best = [[0.5, 0.9, 0.1, 0.3], [0.1, 0.5, 0.9, 0.3], [0.9, 0.1, 0.5, 0.3], [0.7, 0.7, 0.7, 0.5]]
    start = [0.4, 0.3, 0.25, 0.05]
    assert played(Game(best), start, start, NashMD(sampler=Against(64)), 100)[3] > 0.9
