"""What goes on from something that was drawn: it is what a fresh start would draw, and computes what is new alone."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from test_conversation import MODELS
from test_native_engine import engine_of, flat, prompts_of, qwen2, shapes_seen
from transformers import PreTrainedModel

from togi.engines.kept_sequences import KeptSequences
from togi.engines.native import NativeEngine
from togi.engines.shared_prompts import Prefix
from togi.types import Prompt, Sampling, Turn

SAMPLING = Sampling(max_tokens=9)


def forks(turns: Sequence[Turn]) -> list[Prompt]:
    """Branches of some turns: at their ends, inside of them, in their prompts, and where nothing was drawn."""
    ends = [
        turns[0].prompt + turns[0].completion,
        turns[0].prompt + turns[0].completion[:4],
        turns[0].prompt + turns[0].completion[:4] + (7, 8),
        turns[1].prompt + turns[1].completion[:1],
        turns[2].prompt[:3],
        turns[3].prompt,
        (33, 34, 35),
    ]
    return [Prompt(ids=ids, seeds=tuple(range(10 * n, 10 * n + 1 + n % 3))) for n, ids in enumerate(ends)]


def drawn(engine: NativeEngine) -> list[list[Turn]]:
    first = engine.generate(prompts_of(6, 11, 4, 8, attempts=2), SAMPLING)
    return [*first, *engine.generate(forks(flat(first)[::2]), SAMPLING)]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("rows", [16, 3, 1])
def test_branches_draw_what_a_fresh_start_would(name: str, rows: int) -> None:
    engine = engine_of(MODELS[name](), eos=(3,), batch_size=rows)
    fresh = drawn(engine)
    with engine.keeping():
        kept = drawn(engine)
    for one, other in zip(flat(kept), flat(fresh), strict=True):
        assert (one.prompt, one.completion, one.stop) == (other.prompt, other.completion, other.stop)
        torch.testing.assert_close(torch.tensor(one.logp), torch.tensor(other.logp), atol=2e-5, rtol=1e-4)


def test_a_branch_of_a_branch_computes_its_last_token_and_what_it_draws() -> None:
    model = qwen2()
    shapes, engine = shapes_seen(model), engine_of(model)

    def computed(*prompts: Prompt) -> tuple[list[Turn], int]:
        shapes.clear()
        return flat(engine.generate(list(prompts), SAMPLING)), sum(rows * tokens for rows, tokens in shapes)

    with engine.keeping():
        [trunk], tokens = computed(Prompt(ids=(1, 2, 3, 4, 5), seeds=(1,)))
        assert tokens == 5 + 8
        branches, tokens = computed(Prompt(ids=trunk.prompt + trunk.completion[:6], seeds=(2, 3)))
        assert tokens == 1 + 2 * 8
        whole = branches[1].prompt + branches[1].completion
        _, tokens = computed(Prompt(ids=whole[:-2], seeds=(4,)), Prompt(ids=(*whole, 9), seeds=(5,)))
        assert tokens == 1 + 2 + 2 * 8  # the last token drawn was not computed
    _, tokens = computed(Prompt(ids=whole[:-2], seeds=(4,)))
    assert tokens == len(whole) - 2 + 8  # nothing is kept any more


def test_a_stop_string_may_begin_in_what_an_answer_begins_with() -> None:
    engine = engine_of(qwen2())
    [[whole]] = engine.generate(prompts_of(5), Sampling(max_tokens=12))
    for at in range(2, 10):
        across = Sampling(max_tokens=12, stop=(whole.text[at - 2 : at + 2],))
        [[fresh]] = engine.generate(prompts_of(5), across)
        begun = fresh.completion[:at]
        if len(fresh.completion) <= at:  # it stands further ahead as well
            continue
        ids, left = fresh.prompt + begun, 12 - at
        [[one]] = engine.generate([Prompt(ids=ids, seeds=(0,), left=left, begun=at)], across)
        [[other]] = engine.generate([Prompt(ids=ids, seeds=(0,), left=left)], across)
        assert (begun + one.completion, one.stop) == (fresh.completion, "stop_string")
        assert other.stop != "stop_string"


def test_nothing_is_kept_while_weights_change(tiny: PreTrainedModel) -> None:
    class Policy:
        step = 1

    engine = engine_of(tiny)
    with engine.keeping(), pytest.raises(AssertionError, match="weights stay the same"):
        engine.sync(Policy())  # type: ignore[arg-type]
    engine.sync(Policy())  # type: ignore[arg-type]


def prefix(*ids: int) -> Prefix:
    """One layer whose keys are the ids and whose values are their negatives."""
    key = torch.tensor([[[float(token)] for token in ids]])
    return Prefix(keys=[key], values=[-key])


def test_the_longest_beginning_is_found_but_for_the_last_token() -> None:
    kept = KeptSequences()
    for ids in [(5, 1), (5, 2, 3, 4), (5, 2, 7), (4, 9, 9), (6,)]:
        kept.keep(ids, prefix(*ids))
    for ids, want in [
        ((5, 2, 3, 9), [5, 2, 3]),
        ((5, 2, 3, 4), [5, 2, 3]),
        ((5, 2, 7, 0, 0), [5, 2, 7]),
        ((5, 2), [5]),
        ((5, 0), [5]),
        ((4, 9, 8, 8), [4, 9]),
        ((6, 6), [6]),
    ]:
        found = kept.beginning(ids)
        assert found is not None, ids
        assert found.keys[0][0, :, 0].tolist() == want
        assert found.values[0][0, :, 0].tolist() == [-token for token in want]
    assert [kept.beginning(ids) for ids in [(5,), (7, 5, 2), (3,), (1, 2)]] == [None] * 4


def found(kept: KeptSequences, *ids: int) -> int:
    return len(kept.beginning((*ids, 0)) or ())


def test_what_comes_when_it_is_full_is_not_kept() -> None:
    kept = KeptSequences(most=6)
    for ids in [(1, 1), (2, 2), (3, 3, 3), (4, 4), (9,) * 7]:
        kept.keep(ids, prefix(*ids))
    assert [found(kept, *ids) for ids in [(1, 1), (2, 2), (3, 3, 3), (4, 4), (9, 9)]] == [2, 2, 0, 2, 0]


def test_a_sequence_that_goes_on_takes_the_place_of_its_beginning() -> None:
    kept = KeptSequences(most=5)
    for ids in [(1, 1, 1), (1, 1, 1, 2), (1, 1), (1, 1, 1, 2)]:
        kept.keep(ids, prefix(*ids))
    assert found(kept, 1, 1, 1, 2) == 4
    assert found(kept, 1, 1) == 2
    kept.keep((2,), prefix(2))
    kept.keep((1, 1, 1, 2, 3), prefix(1, 1, 1, 2, 3))  # there is no room for it beside the last
    assert [found(kept, 2), found(kept, 1, 1, 1, 2, 3)] == [1, 4]
