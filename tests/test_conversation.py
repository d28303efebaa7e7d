"""Turns of a conversation: each token is computed once, and what is drawn is what a fresh start would draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext

import pytest
import torch
from test_native_engine import engine_of, gpt2, mistral, qwen2, qwen3, shapes_seen
from transformers import PreTrainedModel

from togi.engines import native
from togi.engines.kept_sequences import KeptSequences
from togi.engines.shared_prompts import Prefix
from togi.types import Ids, Prompt, Sampling, Turn

MODELS: dict[str, Callable[[], PreTrainedModel]] = {
    "qwen2": qwen2,
    "qwen3": qwen3,
    "gpt2": gpt2,
    "mistral": lambda: mistral(None),
    "window": lambda: mistral(6),
}
SAMPLING = Sampling(max_tokens=7)
REPLIES: Sequence[Ids] = ((11, 12, 13), (20,), tuple(range(30, 50)))


def talked(model: PreTrainedModel, *, kept: bool, rows: int = 8) -> list[list[Turn]]:
    """Three attempts at each of two prompts, over four turns; the second prompt's attempts end after two."""
    engine = engine_of(model, eos=(3,), batch_size=rows)
    contexts: list[Ids] = [(5, 6, 7, 8, 9)] * 3 + [(9, 8)] * 3
    seen = []
    with engine.conversation() if kept else nullcontext():
        for turn in range(4):
            live = contexts if turn < 2 else contexts[:3]
            by_prompt: dict[Ids, list[int]] = {}
            for number, ids in enumerate(live):
                by_prompt.setdefault(ids, []).append(number)
            prompts = [
                Prompt(ids=ids, seeds=tuple(100 * turn + each for each in who)) for ids, who in by_prompt.items()
            ]
            drawn = engine.generate(prompts, SAMPLING)
            turns = {
                n: one
                for who, given in zip(by_prompt.values(), drawn, strict=True)
                for n, one in zip(who, given, strict=True)
            }
            seen.append([turns[number] for number in range(len(live))])
            contexts = [(*one.prompt, *one.completion, *REPLIES[turn % 3]) for one in seen[-1]]
    return seen


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [8, 2])
def test_a_conversation_draws_what_a_fresh_start_would(name: str, rows: int) -> None:
    one, other = (talked(MODELS[name](), kept=kept, rows=rows) for kept in (True, False))
    for mine, fresh in zip(one, other, strict=True):
        assert [turn.completion for turn in mine] == [turn.completion for turn in fresh]
        for turn, again in zip(mine, fresh, strict=True):
            assert turn.prompt == again.prompt
            torch.testing.assert_close(torch.tensor(turn.logp), torch.tensor(again.logp), atol=2e-5, rtol=1e-4)


def test_each_token_is_computed_once() -> None:
    model = qwen2()
    shapes = shapes_seen(model)
    turns = talked(model, kept=True)
    computed = sum(rows * tokens for rows, tokens in shapes)
    last = turns[-1] + turns[1][3:]
    # All tokens of each conversation but the last drawn, and the two prompts once instead of three times.
    assert computed == sum(len(turn.prompt) + len(turn.completion) - 1 for turn in last) - 2 * (5 + 2)
    shapes.clear()
    talked(model, kept=False)
    assert sum(rows * tokens for rows, tokens in shapes) > 1.5 * computed


def test_without_room_all_is_computed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "KEPT", 10**15)
    one, other = talked(qwen2(), kept=True), talked(qwen2(), kept=False)
    assert [[turn.completion for turn in each] for each in one] == [
        [turn.completion for turn in each] for each in other
    ]


def test_nothing_outlives_the_conversation() -> None:
    engine = engine_of(qwen2())
    with engine.conversation():
        engine.generate([Prompt(ids=(5, 6), seeds=(1,))], SAMPLING)
        assert engine._kept is not None
    assert engine._kept is None
    with pytest.raises(RuntimeError, match="stop"), engine.conversation():
        raise RuntimeError("stop")
    assert engine._kept is None


def prefix(length: int) -> Prefix:
    return Prefix(keys=[torch.zeros(1, length, 2)], values=[torch.zeros(1, length, 2)])


def test_the_longest_beginning_is_taken_and_the_rest_dropped() -> None:
    kept = KeptSequences(10_000)
    kept.keep((1, 2, 3), prefix(2))
    kept.keep((1, 2, 3, 4, 5), prefix(4))
    kept.keep((7, 8, 9), prefix(2))
    found = kept.take([(1, 2, 3, 4, 9), (1, 2, 9), (1, 2), (7, 9)])
    assert {ids: len(each) for ids, each in found.items()} == {(1, 2, 3, 4, 9): 4, (1, 2, 9): 2}
    assert kept.take([(7, 8, 9, 1)]) == {}


def test_what_does_not_fit_is_not_kept() -> None:
    kept = KeptSequences(16 * 3)  # bytes: a token has 16
    kept.keep((1, 2, 3), prefix(2))
    assert not kept.full
    kept.keep((4, 5, 6), prefix(2))
    assert kept.full, "nothing more need be copied"
    assert list(kept.take([(1, 2, 3, 4), (4, 5, 6, 7)])) == [(1, 2, 3, 4)]
    assert not kept.full


def test_the_same_sequence_takes_room_once() -> None:
    kept = KeptSequences(16 * 3)
    for _ in range(3):
        kept.keep((1, 2, 3), prefix(2))
    assert not kept.full
