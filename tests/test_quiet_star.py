"""Quiet-STaR: thoughts in parallel are thoughts one by one, its gradient is that of the expected loss, a model that
learned to think thinks."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_model
from safetensors.torch import load_file
from tiny_text import byte_level, tiny_folder, tiny_llama
from torch import Tensor
from toy_models import toy_model
from transformers import PreTrainedModel

from togi import losses
from togi.algorithms import QuietSTaR
from togi.batch import collate
from togi.data.token_kinds import kinds_of
from togi.engines.native import NativeEngine
from togi.engines.open_engine import open_engine
from togi.engines.thinking_engine import ThinkingEngine
from togi.engines.thoughts import think
from togi.evidence.after.measure_thoughts import ThoughtsRecord, read_thoughts
from togi.models.after_thoughts import ThinkingModel
from togi.models.load_model import load_model
from togi.models.packing import PackedModel
from togi.models.save_model import export
from togi.models.thought_head import ThoughtHead, load_thoughts, new_head, save_thoughts
from togi.models.weight_files import ModelError
from togi.recipe import RecipeError, load_recipe
from togi.run import Run, Silent
from togi.stage_state import Workshop
from togi.train import Training, train
from togi.types import AfterThoughts, Batch, Message, Outputs, Prompt, Sample, Sampling, Task, Thinking, Thoughts

LENGTH = 3


def text(*ids: int, start: int = 1) -> Sample:
    """A recorded text of which all from ``start`` on is learned."""
    row = np.array(ids)
    zeros = np.zeros(len(row), np.float32)
    return Sample(
        ids=row, mask=np.arange(len(row)) >= start, logp=zeros, reward=0.0, group=0, trajectory=0, task="t", stop="eos"
    )


def thoughts_of(sample: Sample) -> Thoughts:
    assert sample.thoughts is not None
    return sample.thoughts


def after_of(out: Outputs) -> AfterThoughts:
    assert out.after_thoughts is not None
    return out.after_thoughts


def last(head: ThoughtHead) -> torch.nn.Linear:
    """The layer of the mixing head that gives the share."""
    layer = head.mixing[-1]
    assert isinstance(layer, torch.nn.Linear)
    return layer


def wide(model: PreTrainedModel, **thinking: Any) -> tuple[PreTrainedModel, ThoughtHead]:
    """The model in float64, with a head whose share depends on what it reads."""
    model = model.to(torch.float64)
    torch.manual_seed(1)
    head = new_head(model, Thinking(**({"length": LENGTH} | thinking)))
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return model, head


def ready(algorithm: QuietSTaR, head: ThoughtHead, model: PreTrainedModel, samples: Sequence[Sample]) -> Batch:
    """A step's samples with thoughts and weights."""
    parts = think(PackedModel(model), head, algorithm.prepare(samples), [7] * 100)
    return collate(algorithm.credit(parts, {}))


def one_by_one(model: PreTrainedModel, head: ThoughtHead, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
    """The log-probability of every text token, of the tokens ahead of each thought and of the thoughts, each by a plain
    pass over its own row of what the layers read."""
    embedding, decoder, vocabulary = model.get_input_embeddings(), model.get_decoder(), model.get_output_embeddings()

    def said(rows: Tensor) -> Tensor:
        hidden: Tensor = decoder(inputs_embeds=rows[None], use_cache=False).last_hidden_state[0]
        return hidden

    def logp(hidden: Tensor, ids: Any) -> Tensor:
        said_TV = torch.log_softmax(vocabulary(hidden), -1)
        return said_TV.gather(-1, torch.as_tensor(ids)[:, None])[:, 0]

    text, ahead, own = [], [], []
    for sample in batch.samples:
        ids, thoughts = torch.as_tensor(sample.ids), thoughts_of(sample)
        without = said(embedding(ids))
        text.append(logp(without[:-1], ids[1:])[torch.as_tensor(sample.mask[1:])])
        for at, count, several in zip(thoughts.at_N, thoughts.ahead_N, thoughts.ids_NPL, strict=True):
            for thought in several:
                rows = (ids[:at], thought, ids[at : at + count - 1])
                before, inside, judges = (embedding(torch.as_tensor(part)) for part in rows)
                hidden = said(torch.cat((before, head.marks[:1], inside, head.marks[1:], judges)))
                own.append(logp(hidden[at : at + len(thought)], thought).sum())
                mixed, _ = head(without[at - 1 : at - 1 + count], hidden[-count:])
                ahead.append(logp(mixed, ids[at : at + count]))
    return torch.cat(text), torch.cat(ahead), torch.stack(own)


def forward(model: PreTrainedModel, head: ThoughtHead, batch: Batch) -> Outputs:
    return ThinkingModel(PackedModel(model), head)(batch)


TEXTS = [text(5, 9, 5, 7, 11, 9, 12), text(5, 9, 6, 13), text(8, 7, 3, 9, 9, start=3)]


@pytest.mark.parametrize(
    "kind", ["llama", "qwen2", "qwen3", "mistral", "gemma2", "gemma3_text", "gpt2", "phi3", "smollm3"]
)
def test_thoughts_in_parallel_are_thoughts_one_by_one(kind: str) -> None:
    model, head = wide(toy_model(kind, **({} if kind != "gemma2" else {"final_logit_softcapping": None})))
    batch = ready(QuietSTaR(length=LENGTH), head, model, TEXTS)
    out = forward(model, head, batch)
    after = after_of(out)
    plain, ahead, own = one_by_one(model, head, batch)
    known_BNPA = after.known_BNA[:, :, None].expand_as(after.logp_BNPA)
    close = partial(torch.testing.assert_close, rtol=0, atol=1e-5)  # norms are in float32, whatever the weights
    close(out.logp_BT[batch.mask_BT], plain)
    close(after.logp_BNPA[known_BNPA], ahead)
    close(after.own_BNP[after.known_BNA[..., 0]].flatten(), own)


def test_the_gradient_is_that_of_thoughts_one_by_one() -> None:
    model, head = wide(tiny_llama())
    algorithm = QuietSTaR(length=LENGTH, ahead=2, base=0.3, mixed=0.9, reinforce=0.7)
    batch = ready(algorithm, head, model, TEXTS)
    weights = [*model.parameters(), *head.parameters()]
    got = torch.autograd.grad(algorithm.loss(forward(model, head, batch), batch).value, weights)

    plain, ahead, own = one_by_one(model, head, batch)
    counts = [int(c) for s in batch.samples for c in thoughts_of(s).ahead_N for _ in range(algorithm.thoughts)]
    reward = torch.stack([part.sum() for part in torch.split(ahead, counts)]).view(-1, algorithm.thoughts)
    gain = (reward - reward.mean(1, keepdim=True)).detach()
    thinking = -reward.mean(1) - 0.7 * (gain * own.view_as(gain)).sum(1)
    value = 0.3 * -plain.mean() + 0.9 * thinking.mean() / 2
    for one, other in zip(got, torch.autograd.grad(value, weights), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_reinforce_is_unbiased() -> None:
    """Over all pairs of thoughts a model of few words may have, the gradient is on average that of the expected loss of
    the mixture, where every thought counts with its probability."""
    words, length = 4, 2
    model, head = wide(tiny_model(words), length=length)
    algorithm = QuietSTaR(length=length, ahead=2, base=0.0, mixed=1.0)
    [part] = algorithm.credit(algorithm.prepare([text(1, 3, 2, start=1)]), {})
    part = replace(part, mask=np.array([False, True, False]))
    weights = [*model.parameters(), *head.parameters()]
    thoughts = list(itertools.product(range(words), repeat=length))
    every = replace(thoughts_of(part), at_N=np.array([1]), ahead_N=np.array([2]), ids_NPL=np.array([thoughts]))
    batch = collate([replace(part, thoughts=every, weight=1.0)])
    out = forward(model, head, batch)
    after = after_of(out)
    chance_P = after.own_BNP[0, 0].exp()
    assert float(chance_P.sum().detach()) == pytest.approx(1)
    expected = -(chance_P * after.logp_BNPA[0, 0].sum(-1)).sum() / algorithm.ahead

    seen = []
    for pair in itertools.product(range(len(thoughts)), repeat=2):
        two = list(pair)
        drawn = replace(
            after,
            logp_BNPA=after.logp_BNPA[:, :, two],
            weight_BNPA=after.weight_BNPA[:, :, two],
            own_BNP=after.own_BNP[:, :, two],
        )
        loss = algorithm.loss(replace(out, after_thoughts=drawn), batch).value
        seen.append(chance_P[two].prod().detach() * loss)
    got = torch.autograd.grad(torch.stack(seen).sum(), weights, retain_graph=True)
    for mine, right in zip(got, torch.autograd.grad(expected, weights), strict=True):
        torch.testing.assert_close(mine, right, rtol=1e-4, atol=1e-6)


def test_numbers_of_gains_and_mixtures() -> None:
    reward = torch.tensor([[[-1.0, -1.4]]])
    torch.testing.assert_close(losses.thought_gain(reward), torch.tensor([[[0.2, -0.2]]]))
    torch.testing.assert_close(losses.thought_gain(reward, positive_only=True), torch.tensor([[[0.2, 0.0]]]))
    own = torch.tensor([[[-3.0, -5.0]]], requires_grad=True)
    value = losses.thought_reinforce(own, losses.thought_gain(reward))
    torch.testing.assert_close(value, torch.tensor([[-(0.2 * -3 - 0.2 * -5)]]))
    torch.testing.assert_close(torch.autograd.grad(value.sum(), own)[0], torch.tensor([[[-0.2, 0.2]]]))
    three = torch.tensor([[[0.0, 3.0, 6.0]]])
    torch.testing.assert_close(losses.thought_reinforce(three, losses.thought_gain(three)), torch.tensor([[-9.0]]))
    # Of two tokens ahead one is known, and then both.
    logp, known = torch.tensor([[[[-1.0, -9.0]], [[-2.0, -3.0]]]]), torch.tensor([[[True, False], [True, True]]])
    torch.testing.assert_close(losses.nll_ahead(logp, known), torch.tensor([[[1.0], [5.0]]]))


def test_the_share_mixes_log_probabilities() -> None:
    """p = p_without^0.3 p_with^0.7 / Z where the thought has 0.7."""
    without, after = torch.tensor([0.5, 0.3, 0.2]), torch.tensor([0.2, 0.7, 0.1])
    head = ThoughtHead(3, Thinking(length=1))
    torch.nn.init.constant_(last(head).bias, float(torch.logit(torch.tensor(0.7))))
    mixed, share = head(without.log()[None], after.log()[None])  # an output embedding of ones on the diagonal
    assert float(share.detach()) == pytest.approx(0.7)
    assert float(mixed[0, 0].detach()) == pytest.approx(-1.33455, abs=1e-5)
    torch.testing.assert_close(mixed.softmax(-1)[0], torch.tensor([0.283315, 0.584201, 0.132485]), rtol=0, atol=1e-6)


def test_thoughts_are_the_models_own() -> None:
    """However many are drawn side by side, a thought is the same; and its tokens come as often as the model says."""
    model, head = wide(tiny_model(5), length=2)
    algorithm, packed = QuietSTaR(length=2, thoughts=64), PackedModel(model)
    parts = algorithm.prepare([text(1, 2, 4), text(3, 2, 2, 1)])
    together = think(packed, head, parts, [3, 4])
    alone = think(packed, head, parts, [3, 4], together=1)
    for one, other in zip(together, alone, strict=True):
        assert np.array_equal(thoughts_of(one).ids_NPL, thoughts_of(other).ids_NPL)
    several = [thoughts_of(think(packed, head, parts[:1], [seed])[0]).ids_NPL[0] for seed in range(40)]
    first = np.concatenate(several)[:, 0]
    states = torch.cat((model.get_input_embeddings()(torch.tensor([1])), head.marks[:1]))
    hidden = model.get_decoder()(inputs_embeds=states[None], use_cache=False).last_hidden_state[0, -1]
    chance = torch.softmax(model.get_output_embeddings()(hidden), -1).detach().numpy()
    seen = np.bincount(first, minlength=5) / len(first)
    assert np.abs(seen - chance).max() < 4 * 0.5 / np.sqrt(len(first))


def test_random_thoughts_are_any() -> None:
    model, head = wide(tiny_model(5), random=True)
    [part] = think(
        PackedModel(model),
        head,
        QuietSTaR(length=LENGTH, thoughts=64, random=True, reinforce=0).prepare([text(1, 2)]),
        [1],
    )
    counts = np.bincount(thoughts_of(part).ids_NPL.reshape(-1), minlength=5)
    assert counts.min() > 20
    assert len(counts) == 5


def test_places_are_before_learned_tokens() -> None:
    """Texts are cut into parts whose masks do not overlap; what nobody is to learn ends what is asked."""
    sample = text(*range(40), start=3)
    sample.mask[30] = False
    first, second, third = QuietSTaR(ahead=4).prepare([sample])
    assert thoughts_of(first).at_N.tolist() == list(range(3, 19))
    assert thoughts_of(second).at_N.tolist() == [*range(19, 30), *range(31, 36)]
    assert thoughts_of(third).at_N.tolist() == list(range(36, 40))
    assert thoughts_of(second).ahead_N.tolist() == [4] * 8 + [3, 2, 1] + [4] * 5
    assert thoughts_of(third).ahead_N.tolist() == [4, 3, 2, 1]
    assert np.array_equal(first.mask | second.mask | third.mask, sample.mask)
    assert not QuietSTaR().prepare([text(1)])


def test_a_model_that_learned_to_think_thinks() -> None:
    """A token that the engine draws has the probability that the mixture gives it after one of the thoughts there are;
    what is drawn depends on its own seed alone."""
    model, head = wide(tiny_model(5), length=1)
    engine = ThinkingEngine(model, head, byte_level(), frozenset({2}), batch_size=2)
    prompts = [Prompt(ids=(1, 3, 4), seeds=(1, 2)), Prompt(ids=(0, 3), seeds=(3,))]
    sampling = Sampling(max_tokens=4, ignore_eos=True)
    turns = engine.generate(prompts, sampling)
    assert engine.generate(prompts[1:], sampling) == turns[1:]
    assert turns[0][0].completion != turns[0][1].completion
    for turn in (*turns[0], *turns[1]):
        assert turn.stop == "length"
        [part] = QuietSTaR(length=1, ahead=1).prepare([text(*turn.prompt, *turn.completion, start=len(turn.prompt))])
        every = np.tile(np.arange(5)[None, :, None], (4, 1, 1))
        after = forward(model, head, collate([replace(part, thoughts=replace(thoughts_of(part), ids_NPL=every))]))
        apart_NP = after_of(after).logp_BNPA[0, :, :, 0].detach().numpy() - np.array(turn.logp)[:, None]
        assert np.abs(apart_NP).min(axis=1).max() < 1e-5


def test_a_thought_without_a_share_changes_nothing() -> None:
    model, head = wide(tiny_llama())
    engine = ThinkingEngine(model, head, byte_level(), frozenset({2}))
    plain = NativeEngine(model, byte_level(), frozenset({2}))
    torch.nn.init.zeros_(last(head).weight)
    torch.nn.init.constant_(last(head).bias, -100.0)
    prompts, greedy = (
        [Prompt(ids=(5, 9, 7), seeds=(1,)), Prompt(ids=(), seeds=(1,))],
        Sampling(max_tokens=5, temperature=0),
    )
    assert engine.generate(prompts[:1], greedy)[0][0].completion == plain.generate(prompts[:1], greedy)[0][0].completion
    assert engine.context == plain.context - LENGTH - 2
    with pytest.raises(ValueError, match="prompt 1 has no tokens"):
        engine.generate(prompts, greedy)


TEXT = "The sum of 2 and 3 is 5."
RECIPE = """
name = "think"
[model]
source = "MODEL"
dtype = "float32"
[data.train]
file = "texts.jsonl"
[checkpoint]
every = 1
[[stage]]
algorithm = "quiet_star"
settings = { length = 2, ahead = 2 }
held_out = 0.5
steps = 2
tasks_per_step = 2
learning_rate = 1e-3
critic_learning_rate = 1e-2
"""


def recipe(folder: Path, toml: str = RECIPE) -> Path:
    model = tiny_folder(folder / "model")
    rows = [{"text": TEXT[: 12 + n], "kinds": {"late": [[6, 12]]}} for n in range(4)]
    (folder / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "think.toml").write_text(toml.replace("MODEL", str(model)))
    return folder / "think.toml"


def learned(run: Run) -> tuple[str, dict[str, Tensor], ThoughtsRecord]:
    """All that a run leaves of its stage: metrics, the model with its head, and what was measured."""
    folder = run.folder / "models" / "quiet_star"
    weights = {name: tensor for file in folder.glob("*.safetensors") for name, tensor in load_file(file).items()}
    return (
        (run.folder / "metrics.jsonl").read_text(),
        weights,
        read_thoughts(run.folder / "thoughts" / "quiet_star.json"),
    )


def test_a_stage_of_a_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It resumes to the bit after a kill, measures held-out texts by kind, and its model thinks, exported too."""
    run = load_recipe(recipe(tmp_path), folder=tmp_path / "whole").run
    train(run, Silent())
    metrics, weights, record = learned(run)
    assert set(record["kinds"]) == {"all", "late"}
    assert record["kinds"]["late"]["tokens"] < record["kinds"]["all"]["tokens"]
    assert {"marks", "model.norm.weight"} <= weights.keys()

    cut = replace(run, folder=tmp_path / "cut")
    saved = Training._save

    def save_and_die(training: Training, work: Workshop) -> None:
        saved(training, work)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(Training, "_save", save_and_die)
        with pytest.raises(KeyboardInterrupt):
            train(cut, Silent())
    train(cut, Silent())
    again = learned(cut)
    assert again[0] == metrics
    assert again[2] == record
    assert all(torch.equal(again[1][name], weight) for name, weight in weights.items())

    export(str(run.folder), tmp_path / "out")
    loaded = load_model(str(tmp_path / "out"))
    assert loaded.thoughts is not None
    assert loaded.thoughts.thinking == Thinking(length=2)
    assert isinstance(open_engine(loaded), ThinkingEngine)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("stage.quiet_star.minibatches=2", "thoughts are drawn once a step"),
        ("stage.quiet_star.epochs=2", "thoughts are drawn once a step"),
        ("stage.quiet_star.settings={ thoughts = 1 }", "thoughts is 1, wanted 2 to 64: a thought is compared"),
        ("stage.quiet_star.settings={ random = true }", "random thoughts are not the model's own"),
        ("stage.quiet_star.settings={ mixed = 0.0 }", "mixed is above 0"),
        ("stage.quiet_star.attempts=2", "learns from recorded answers"),
    ],
)
def test_what_cannot_be_thought_is_refused(change: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(recipe(tmp_path), [change])


@pytest.mark.parametrize(
    "kinds", ["hard", {"hard": [[0, 99]]}, {"hard": [[3, 3]]}, {"hard": [3]}, {"hard": [[0, True]]}]
)
def test_kinds_name_pieces_of_the_text(kinds: Any) -> None:
    task = Task(id="t", prompt=(), recorded=((Message(role="assistant", content="3+4=7"),),), info={"kinds": kinds})
    with pytest.raises(ValueError, match='task t: "kinds" names pieces of the text'):
        kinds_of(task)


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"length": 0}, "thoughts of 0 tokens"),
        ({"length": "2"}, "length '2'"),
        ({"hidden_size": 64}, "it reads 64 numbers, its model gives 32"),
        ({"random": 1}, "random 1"),
    ],
)
def test_a_damaged_head_is_refused(settings: dict[str, Any], why: str, tmp_path: Path) -> None:
    model = tiny_llama()
    save_thoughts(new_head(model, Thinking(length=2)), tmp_path)
    file = tmp_path / "thought_head.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    with pytest.raises(ModelError, match=why):
        load_thoughts(tmp_path, model)


def test_a_model_that_cannot_be_packed_cannot_think() -> None:
    model = toy_model("mamba")
    with pytest.raises(ValueError, match="cannot think before every token"):
        ThinkingModel(PackedModel(model), new_head(model, Thinking(length=2)))
