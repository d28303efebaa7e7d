"""Turns of a conversation: each token is computed once, and what is drawn is what a fresh start would draw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import torch
from test_native_engine import engine_of, gpt2, mistral, qwen2, qwen3, shapes_seen
from transformers import PreTrainedModel

from togi.protocols import Talk
from togi.rounds import Rounds
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
ATTEMPTS: Sequence[Ids] = [(5, 6, 7, 8, 9)] * 3 + [(9, 8)] * 3
TURNS = (4, 4, 4, 2, 2, 2)  # of each attempt


def talk(talk: Talk, together: int) -> list[list[Turn]]:
    """The turns of each attempt, which is answered once so many have ended, or none is drawn any more."""
    turns: list[list[Turn]] = [[] for _ in ATTEMPTS]
    asked: dict[int, int] = {}
    tickets: list[list[int]] = [[] for _ in ATTEMPTS]
    going_on, number, answered = list(range(len(ATTEMPTS))), 0, list[int]()
    while going_on or asked:
        shared: dict[Ids, list[int]] = {}
        for who in going_on:
            last = turns[who][-1] if turns[who] else None
            reply = REPLIES[(len(turns[who]) - 1) % 3]
            shared.setdefault((*last.prompt, *last.completion, *reply) if last else ATTEMPTS[who], []).append(who)
        for each in shared.values():
            for who in each:
                asked[number] = who
                tickets[who].append(number)
                number += 1
        talk.ask(
            [Prompt(ids=i, seeds=tuple(100 * len(turns[who]) + who for who in each)) for i, each in shared.items()]
        )
        for ticket, turn in talk.draw():
            turns[asked[ticket]].append(turn)
            answered.append(asked.pop(ticket))
        going_on = []
        if len(answered) >= together or not talk.drawing:
            going_on, over = [[w for w in answered if (len(turns[w]) < TURNS[w]) == more] for more in (True, False)]
            talk.over(ticket for who in over for ticket in tickets[who])
            answered = []
    return turns


def talked(model: PreTrainedModel, *, kept: bool = True, rows: int = 8, together: int = 1) -> list[list[Turn]]:
    engine = engine_of(model, eos=(3,), batch_size=rows)
    if not kept:
        return talk(Rounds(engine, SAMPLING, None), together)
    with engine.conversation(SAMPLING, len(ATTEMPTS)) as talking:
        return talk(talking, together)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(("rows", "together"), [(8, 1), (8, 6), (4, 2), (2, 1), (1, 1)])
def test_a_conversation_draws_what_a_fresh_start_would(name: str, rows: int, together: int) -> None:
    one, other = talked(MODELS[name](), rows=rows, together=together), talked(MODELS[name](), kept=False)
    assert [len(turns) for turns in one] == list(TURNS)
    for mine, fresh in zip(one, other, strict=True):
        assert [turn.completion for turn in mine] == [turn.completion for turn in fresh]
        for turn, again in zip(mine, fresh, strict=True):
            assert turn.prompt == again.prompt
            torch.testing.assert_close(torch.tensor(turn.logp), torch.tensor(again.logp), atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize(("rows", "together"), [(8, 1), (8, 6), (4, 1)])
def test_each_token_is_computed_once(rows: int, together: int) -> None:
    model = qwen2()
    shapes = shapes_seen(model)
    turns = talked(model, rows=rows, together=together)
    computed = sum(rows * tokens for rows, tokens in shapes)
    # All tokens of each conversation but the last drawn, and the two prompts once instead of three times; the
    # second prompt waits with its keys where there are not enough rows.
    assert computed == sum(len(each[-1].prompt) + len(each[-1].completion) - 1 for each in turns) - 2 * (5 + 2)
    shapes.clear()
    talked(model, kept=False)
    assert sum(rows * tokens for rows, tokens in shapes) > 1.5 * computed


def test_nobody_waits_for_a_row_that_waits() -> None:
    """A second prompt of an attempt that has its only row, as where two players talk in turn."""
    engine = engine_of(qwen2(), eos=(), batch_size=1)
    with engine.conversation(Sampling(max_tokens=3), 1) as talking:
        drawn: list[Turn] = []
        for ids in ((5, 6), (7, 8), None):
            talking.ask([Prompt(ids=ids or (*drawn[0].prompt, *drawn[0].completion, 9), seeds=(1,))])
            while not (ended := talking.draw()):
                pass
            drawn += [turn for _, turn in ended]
    [[again]] = engine.generate([Prompt(ids=drawn[2].prompt, seeds=(1,))], Sampling(max_tokens=3))
    assert drawn[2].completion == again.completion


def test_two_who_talk_in_turn_are_drawn_together_though_rows_are_few() -> None:
    model = qwen2()
    shapes = shapes_seen(model)
    with engine_of(model, eos=(), batch_size=4).conversation(Sampling(max_tokens=5), 4) as talking:
        for start in ((5,), (7,)):  # one player after the other, in conversations of their own
            talking.ask([Prompt(ids=(*start, number), seeds=(1,)) for number in range(10, 14)])
            ended = 0
            while ended < 4:
                ended += len(talking.draw())
    assert [rows for rows, tokens in shapes if tokens == 1] == [4] * 8


def test_the_model_is_as_it_was_afterwards() -> None:
    model = qwen2()
    before = model.config._attn_implementation
    with engine_of(model).conversation(SAMPLING, 4) as talking:
        talking.ask([Prompt(ids=(5, 6), seeds=(1,))])
        talking.draw()
        assert not torch.is_inference_mode_enabled(), "what answers is not the engine's"
        assert model.config._attn_implementation != before
    assert model.config._attn_implementation == before


def test_a_prompt_that_cannot_be_is_refused_in_a_conversation_too() -> None:
    with engine_of(qwen2()).conversation(SAMPLING, 4) as talking, pytest.raises(ValueError, match="has no tokens"):
        talking.ask([Prompt(ids=(), seeds=(1,))])
