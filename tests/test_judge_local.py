"""A model in this process as judge: probabilities equal to a plain forward pass, with and without reasons."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from judge_doubles import TASK, attempts
from tiny_text import byte_level, tiny_folder, tiny_llama

from togi.askers.asker import AskerWarning, Request
from togi.askers.local_model import LocalModel, exclusive, open_model
from togi.engines.native import NativeEngine
from togi.models.load_model import Loaded
from togi.protocols import Engine, Policy
from togi.rewards.algebra import Surroundings
from togi.rewards.judge import judge, preference
from togi.tokenization import Chat
from togi.types import Message, Prompt, Sampling, Turn

PAIR = ("1", "2")
RATINGS = tuple(str(i) for i in range(1, 11))
pytestmark = pytest.mark.filterwarnings("ignore:the model hardly ever answers")


@pytest.fixture
def at(tmp_path: Path) -> Surroundings:
    tokenizer, model = byte_level(), tiny_llama().double()
    return Surroundings(
        engine=NativeEngine(model, tokenizer, frozenset({2})),
        chat=Chat(tokenizer, frozenset({2})),
        folder=tmp_path,
        dtype=torch.float64,
    )


def asker(at: Surroundings) -> LocalModel:
    assert isinstance(at.engine, NativeEngine)
    return LocalModel(at.engine.model, at.engine, at.chat, at.engine.context)


def question(text: str, options: tuple[str, ...] = ("1", "2"), *, reason: bool = False, tokens: bool = True) -> Request:
    message = Message(role="user", content=text)
    return Request(messages=(message,), options=options, reason=reason, tokens=tokens, max_tokens=6)


def plain(at: Surroundings, context: Sequence[int], text: str) -> float:
    """log p(text | context) by a forward pass of its own."""
    assert isinstance(at.engine, NativeEngine)
    ids = at.chat.tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logits = at.engine.model(torch.tensor([[*context, *ids]])).logits[0, len(context) - 1 : -1]
    return float(torch.log_softmax(logits, -1)[range(len(ids)), ids].sum())


def test_probabilities_equal_a_plain_forward(at: Surroundings) -> None:
    asked = [question("Which?"), question("Which one is better, then?"), question("Rate.", RATINGS)]
    replies = asker(at).ask(asked)
    for each, reply in zip(asked, replies, strict=True):
        context = at.chat.prompt(each.messages)
        expected = {option: plain(at, context, option) for option in each.options}
        if "10" in expected:
            expected["1"] = math.log(math.exp(expected["1"]) - math.exp(expected["10"]))
        assert dict(reply.logp) == pytest.approx(expected, abs=1e-9)
    assert [asker(at).ask([each])[0].logp for each in asked] == [pytest.approx(dict(r.logp)) for r in replies]


def test_a_longer_verdict_is_not_counted_twice() -> None:
    one, ten, two = (5,), (5, 6), (7,)
    logp = [math.log(p) for p in (0.5, 0.2, 0.3)]
    assert [math.exp(value) for value in exclusive([one, ten, two], logp)] == pytest.approx([0.3, 0.2, 0.3])
    assert exclusive([one, ten], [-1.0, -1.0]) == [-math.inf, -1.0]


def test_reasons_come_first_and_the_verdict_is_scored_after_them(at: Surroundings) -> None:
    each = question("Which?", reason=True)
    (reply,) = asker(at).ask([each])
    (((turn,),)) = at.engine.generate(
        [Prompt(ids=at.chat.prompt(each.messages), seeds=(0,))], Sampling(max_tokens=6, temperature=0.0)
    )
    written = turn.completion[:-1] if turn.stop == "eos" else turn.completion
    context = [*turn.prompt, *written, *at.chat.tokenizer.encode("\nVerdict:", add_special_tokens=False)]
    assert dict(reply.logp) == pytest.approx({option: plain(at, context, f" {option}") for option in each.options})


def test_text_verdicts_are_what_the_model_writes(at: Surroundings) -> None:
    each = question("Which?", tokens=False)
    (reply,) = asker(at).ask([each])
    (((turn,),)) = at.engine.generate(
        [Prompt(ids=at.chat.prompt(each.messages), seeds=(0,))], Sampling(max_tokens=6, temperature=0.0)
    )
    assert (reply.text, reply.logp) == (turn.text, {})


def test_a_question_that_does_not_fit_is_an_error_and_the_others_go_on(at: Surroundings) -> None:
    replies = asker(at).ask([question("x " * 300), question("Which?")])
    assert [reply.status for reply in replies] == ["error", "ok"]
    assert "no room in the model's context of 256" in replies[0].note


class Words:
    """An engine that is no module: it only writes."""

    version = 0

    def generate(self, prompts: Sequence[Prompt], sampling: Sampling, progress: object = None) -> list[list[Turn]]:
        return [[Turn(prompt=prompt.ids, completion=(5,), text="Verdict: 2", stop="eos")] for prompt in prompts]

    def sync(self, policy: Policy) -> None: ...


def test_an_engine_that_only_writes_gives_text_verdicts(at: Surroundings) -> None:
    engine: Engine = Words()
    there = Surroundings(engine=engine, chat=at.chat, folder=at.folder, dtype=at.dtype)
    scores = preference(verdict="text").opened(there)(TASK, attempts("a", "b"))
    assert [(score.value, score.parts["preference_flipped"]) for score in scores] == [(0.5, 1.0)] * 2
    with pytest.raises(ValueError, match='use verdict="text"'):
        preference().opened(there)(TASK, attempts("a", "b"))


def short_preference(at: Surroundings) -> preference:
    """Its prompt fits the tiny model's context."""
    (at.folder / "pair.txt").write_text("{answer_1}\n{answer_2}")
    return preference(template="pair.txt", base=at.folder)


def test_the_policy_judges_with_the_weights_it_has(at: Surroundings) -> None:
    reward = short_preference(at).opened(at)
    first = reward(TASK, attempts("a", "b"))
    assert first == reward(TASK, attempts("a", "b"))
    assert sum(score.value for score in first) == pytest.approx(1.0)
    assert isinstance(at.engine, NativeEngine)
    with torch.no_grad():
        for parameter in at.engine.model.parameters():
            parameter.mul_(1.2)
    assert reward(TASK, attempts("a", "b"))[0].value != first[0].value


def test_another_model_is_opened_once(at: Surroundings, tmp_path: Path) -> None:
    source = str(tiny_folder(tmp_path / "judge"))
    one = open_model(source, at.dtype, at.device)
    assert open_model(source, at.dtype, at.device) is one
    (tmp_path / "grade.txt").write_text("{rubric}\n{answer}")
    spec = judge("Is it short?", model=source, scale=5, template="grade.txt", base=tmp_path)
    grades = spec.opened(at)(TASK, attempts("a", "b"))
    assert all(score.status == "ok" and -1 <= score.value <= 1 for score in grades)


def test_a_judge_that_was_not_going_to_answer_is_named(at: Surroundings) -> None:
    assert isinstance(at.engine, NativeEngine)
    with torch.no_grad():
        at.engine.model.get_output_embeddings().weight[
            at.chat.tokenizer.encode("1") + at.chat.tokenizer.encode("2")
        ] *= 0
        at.engine.model.get_output_embeddings().weight *= 5
    with pytest.warns(AskerWarning, match="hardly ever answers in the form"):
        asker(at).ask([question("Which?")])


@pytest.mark.model
def test_the_bundled_model_gives_soft_labels_in_both_orders(smollm2: Loaded, tmp_path: Path) -> None:
    there = Surroundings(
        engine=NativeEngine(smollm2.model, smollm2.tokenizer, smollm2.eos_ids),
        chat=Chat(smollm2.tokenizer, smollm2.eos_ids),
        folder=tmp_path,
        dtype=torch.float32,
    )
    texts = ("7", "I like trains.")
    one, other = preference().opened(there)(TASK, attempts(*texts))
    assert math.isfinite(one.value)
    assert 0 < one.value < 1
    assert one.value + other.value == pytest.approx(1.0)
    assert one.parts["preference_flipped"] in (0.0, 1.0)
