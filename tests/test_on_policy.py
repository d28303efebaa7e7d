"""Whether answers are such as the model itself would write: the verdict by numbers, and the numbers by a model."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_text import byte_level, tiny_llama

from togi.engines.native import NativeEngine
from togi.evidence.before.pairs_on_policy import Likelihoods, likelihood_findings, own_likelihoods
from togi.models.packing import PackedModel
from togi.tokenization import Chat
from togi.types import Message, Task


def pair(number: int, chosen: str, rejected: str, worth: tuple[float, float] = (1.0, 0.0)) -> Task:
    return Task(
        id=str(number),
        prompt=(Message(role="user", content=f"question {number}"),),
        recorded=tuple((Message(role="assistant", content=text),) for text in (chosen, rejected)),
        worth=worth,
    )


def around(mean: float, count: int = 50) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.random.default_rng(0).normal(mean, 0.3, count)


@pytest.mark.parametrize(
    ("chosen", "rejected", "level", "title"),
    [
        (-2.5, -2.4, "warn", "neither chosen nor rejected"),
        (-2.5, -1.1, "ok", "the rejected answers are such as the model itself writes, the chosen ones are not"),
        (-0.9, -2.5, "ok", "the chosen answers are such as the model itself writes, the rejected ones are not"),
        (-1.1, -0.8, "ok", "the pairs are on-policy"),
        (-0.2, -0.3, "ok", "the pairs are on-policy"),
    ],
)
def test_off_policy_pairs(chosen: float, rejected: float, level: str, title: str) -> None:
    (found,) = likelihood_findings(
        Likelihoods(chosen_P=around(chosen), rejected_P=around(rejected), own_M=around(-1.0))
    )
    assert found.level == level
    assert found.title.startswith(title)
    assert f"chosen {around(chosen).mean():.2f}, rejected {around(rejected).mean():.2f}" in found.detail
    assert (level == "warn") == ('"collect"' in found.advice)


def test_likelihoods_without_numbers_are_refused() -> None:
    with pytest.raises(ValueError, match="got 1, 0 and 1"):
        likelihood_findings(Likelihoods(chosen_P=np.ones(1), rejected_P=np.ones(0), own_M=np.ones(1)))


def test_likelihoods_are_measured_on_both_sides_and_on_own_answers() -> None:
    tokenizer = byte_level()
    model = tiny_llama()
    chat = Chat(tokenizer, frozenset())
    engine = NativeEngine(model, tokenizer, chat.eos_ids)
    tasks = [pair(i, "hello " * (i + 1), "there") for i in range(6)]
    tasks.append(pair(9, "hello world", "hello there", worth=(0.0, 1.0)))
    one = own_likelihoods(tasks, PackedModel(model), engine, chat, seed=1, tokens_per_microbatch=100)
    assert len(one.chosen_P) == len(one.rejected_P) == 7
    assert 1 <= len(one.own_M) <= 7
    assert np.all(one.own_M < 0)
    # The last task by hand: its better answer is the second one.
    prompt, completion = chat.prompt(tasks[-1].prompt), chat.completion("hello there")
    ids = torch.tensor([[*prompt, *completion]])
    with torch.no_grad():
        logp = model(ids).logits[0].log_softmax(-1)
    expected = np.mean([float(logp[len(prompt) - 1 + i, token]) for i, token in enumerate(completion)])
    assert math.isclose(one.chosen_P[-1], expected, rel_tol=1e-4)
    few = own_likelihoods(tasks, PackedModel(model), engine, chat, pairs=2)
    assert len(few.chosen_P) == 2
    with pytest.raises(ValueError, match="no task has two recorded answers"):
        own_likelihoods([], PackedModel(model), engine, chat)
