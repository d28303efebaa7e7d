"""Completions of a server: the turns that the native engine would have, from weights that were tried, or a refusal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from completions_server import Drawing, drawing
from judge_server import fails, serving
from test_conversation import ATTEMPTS, talk
from tiny_text import tiny_folder
from toy_run import toy_run

from togi.engines.engine_choice import AtServer, EngineChoice
from togi.engines.open_engine import check_engine, open_engine
from togi.engines.server_engine import ServerEngine
from togi.models.load_model import Loaded, Lora, load_model
from togi.models.policy import LocalPolicy, Optimiser
from togi.protocols import Conversing, LocalEngine
from togi.run import Silent
from togi.run_folder.files import read_lines
from togi.train import train
from togi.types import Prompt, Sampling, Turn

PROMPTS = [Prompt(ids=(5, 6, 7), seeds=(1, 2, 3)), Prompt(ids=(9, 8), seeds=(4,))]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_folder(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def base(folder: Path) -> Loaded:
    return load_model(str(folder))


def at(url: str, **more: Any) -> EngineChoice:
    return EngineChoice(batch_size=4, server=AtServer(base_url=url, model="base", **more))


def same(ours: list[list[Turn]], theirs: list[list[Turn]]) -> None:
    assert [len(each) for each in ours] == [len(each) for each in theirs]
    for one, other in zip([t for each in ours for t in each], [t for each in theirs for t in each], strict=True):
        assert replace(one, logp=()) == replace(other, logp=())
        assert one.logp == pytest.approx(other.logp, abs=1e-5)


@pytest.mark.parametrize(
    ("prompts", "sampling"),
    [
        (PROMPTS, Sampling(max_tokens=9)),
        (PROMPTS, Sampling(max_tokens=30, ignore_eos=True)),
        (PROMPTS, Sampling(max_tokens=9, temperature=0)),
        (PROMPTS, Sampling(max_tokens=0)),
        (PROMPTS, Sampling(max_tokens=200, stop=("e", "</a>"))),
        ([Prompt(ids=(5,) * 250, seeds=(1,)), Prompt(ids=(5,) * 256, seeds=(1,))], Sampling(max_tokens=9)),
        ([Prompt(ids=(5, 6), seeds=(1, 2), left=3)], Sampling(max_tokens=9)),
        ([], Sampling()),
    ],
)
def test_turns_are_those_of_the_same_weights_here(base: Loaded, prompts: list[Prompt], sampling: Sampling) -> None:
    told: list[tuple[int, int]] = []
    with drawing(Drawing(base)) as server:
        ours = open_engine(base, at(server.url)).generate(prompts, sampling, lambda *done: told.append(done))
    same(ours, open_engine(base).generate(prompts, sampling))
    count = sum(len(each) for each in ours)
    assert not count or told[-1] == (count, count)


def test_a_conversation_goes_on_while_others_are_drawn(base: Loaded) -> None:
    with drawing(Drawing(base)) as server:
        engine = open_engine(base, at(server.url))
        assert isinstance(engine, Conversing)
        assert isinstance(engine, LocalEngine)
        with engine.conversation(Sampling(max_tokens=7), len(ATTEMPTS)) as ours:
            turns = talk(ours, 1)
        here = open_engine(base)
        assert isinstance(here, Conversing)
        with here.conversation(Sampling(max_tokens=7), len(ATTEMPTS)) as theirs:
            same(turns, talk(theirs, 1))
        assert server.most_at_once <= 4


def test_what_is_learned_reaches_the_server(folder: Path, base: Loaded, tmp_path: Path) -> None:
    loaded, served = load_model(str(folder), lora=Lora(rank=2)), Drawing(base)
    policy = LocalPolicy(loaded.model, Optimiser(), compute=torch.float32)
    with drawing(served) as server:
        engine = open_engine(loaded, at(server.url, adapters=tmp_path))
        first = engine.generate(PROMPTS, Sampling(max_tokens=5))
        with torch.no_grad():
            for name, weight in loaded.model.named_parameters():
                if "lora_B" in name:
                    weight += torch.linspace(-1, 1, weight.numel()).view_as(weight)
        policy.step = 7
        engine.sync(policy)
        later = engine.generate(PROMPTS, Sampling(max_tokens=5))
    assert {turn.version for each in first for turn in each} == {0}
    assert {turn.version for each in later for turn in each} == {7}
    same(first, open_engine(base).generate(PROMPTS, Sampling(max_tokens=5)))
    here = open_engine(loaded)
    here.sync(policy)
    same(later, here.generate(PROMPTS, Sampling(max_tokens=5)))
    assert later != first
    [before], [now] = served.unloaded, set(served.models) - {"base"}
    assert before.endswith("-0")
    assert now.endswith("-7")
    assert [path.name for path in tmp_path.iterdir()] == [now]


def test_a_distribution_whose_probabilities_it_does_not_tell_is_refused(base: Loaded) -> None:
    warm = Sampling(max_tokens=5, temperature=0.7)
    with drawing(Drawing(base)) as server, pytest.raises(ValueError, match="--logprobs-mode processed_logprobs"):
        open_engine(base, at(server.url)).generate(PROMPTS, warm)
    with drawing(Drawing(base, processed=True)) as server:
        same(open_engine(base, at(server.url)).generate(PROMPTS, warm), open_engine(base).generate(PROMPTS, warm))


def test_other_weights_are_found_out(base: Loaded, tmp_path: Path) -> None:
    other = load_model(str(tiny_folder(tmp_path / "other", seed=1)))
    with drawing(Drawing(other)) as server, pytest.raises(ValueError, match=r"is not the one that is trained.*nats"):
        check_engine(base, at(server.url))


def test_whole_weights_that_were_learned_cannot_reach_it(base: Loaded) -> None:
    policy = LocalPolicy(base.model, Optimiser(), compute=torch.float32)
    policy.step = 1
    with drawing(Drawing(base)) as server:
        engine = open_engine(base, at(server.url))
        engine.sync(policy)
        with pytest.raises(ValueError, match=r"add \[model.lora\]"):
            engine.generate(PROMPTS, Sampling(max_tokens=5))


def set_to(name: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda choice: choice.update({name: value})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (set_to("token_ids", None), "gives no token ids"),
        (set_to("token_ids", [1.5]), "wanted at most 8 whole numbers"),
        (set_to("token_ids", [1] * 9), "9 token ids, wanted at most 8"),
        (set_to("token_ids", [10**6] * 8), "drew token 1000000, and the model's vocabulary has"),
        (set_to("token_ids", 3), "gives no token ids"),
        (set_to("prompt_token_ids", [1, 2]), "went on from a prompt of 2 tokens"),
        (set_to("logprobs", None), "0 log-probabilities for 8 tokens"),
        (set_to("logprobs", {"token_logprobs": [-1.0]}), "1 log-probabilities for 8 tokens"),
        (set_to("logprobs", {"token_logprobs": [-9999.0] * 8}), "have probably diverged"),
        (set_to("logprobs", {"token_logprobs": [None] * 8}), "have probably diverged"),
        (lambda choice: choice["token_ids"].pop(), "8 log-probabilities for 7 tokens"),
        (
            lambda choice: (choice["token_ids"].pop(), choice["logprobs"]["token_logprobs"].pop()),
            r"ended a completion after 7 of 8 tokens.*\(length\)",
        ),
    ],
)
def test_an_answer_that_cannot_be_used_is_refused(base: Loaded, spoil: Callable[[Any], None], said: str) -> None:
    with drawing(Drawing(base, spoil=spoil)) as server, pytest.raises(ValueError, match=said):
        open_engine(base, at(server.url)).generate(PROMPTS, Sampling(max_tokens=5))


def test_a_server_that_fails_is_named(base: Loaded, folder: Path) -> None:
    with serving(fails(400, body=b'{"error": {"message": "context is 8 tokens"}}')) as server:
        with pytest.raises(ValueError, match=rf"the engine at {server.url}: HTTP 400.*context is 8 tokens"):
            open_engine(base, at(server.url)).generate(PROMPTS, Sampling(max_tokens=5))
        with pytest.raises(ValueError, match=r"start vLLM with --enable-lora.*engine.adapters"):
            check_engine(load_model(str(folder), lora=Lora(rank=2)), at(server.url))


def test_it_is_not_asked_again_once_a_turn_has_failed(base: Loaded) -> None:
    with drawing(Drawing(base)) as server:
        engine = open_engine(base, at(server.url))
        assert isinstance(engine, ServerEngine)
        talking = engine.conversation(Sampling(max_tokens=5), 4)
        talking.__enter__().ask([Prompt(ids=(5,), seeds=tuple(range(50)))])
        assert not talking.__exit__(KeyError, KeyError(), None)
        assert len(server.requests) < 20
        assert engine.generate(PROMPTS, Sampling(max_tokens=5))


def test_a_run_learns_through_a_server(folder: Path, base: Loaded, tmp_path: Path) -> None:
    served = Drawing(base)
    with drawing(served) as server:
        run = toy_run(tmp_path / "run", folder, grpo_steps=2)
        lora = replace(run.model, lora=Lora(rank=2))
        train(replace(run, model=lora, engine=at(server.url), evaluation=None), Silent())
    assert {body["model"].rpartition("-")[2] for body in served.asked} >= {"0", "2"}
    steps = [row for row in read_lines(tmp_path / "run" / "metrics.jsonl") if row["stage"] == "grpo"]
    assert len(steps) == 2
