"""The engine against transformers' own generation, against fresh forwards, and against its promises."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from conftest import tiny_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    MistralConfig,
    MistralForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from togi.engines import packed_linear
from togi.engines.key_value_cache import KeyValueCache
from togi.engines.native import NativeEngine, _sampling_mode
from togi.engines.packed_linear import can_pack, packed_weights
from togi.types import Prompt, Sampling, Turn

SIZES = {
    "vocab_size": 61,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 256,
    "initializer_range": 0.3,
}


class Letters:
    """A decoder that spells token 0 as a, 1 as b and so on, with 59 a special token and 60 half a character."""

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> str:
        assert skip_special_tokens
        text = "".join("@" if token == 60 else chr(97 + token) for token in token_ids if token != 59)
        return text.replace("@@", "é").replace("@", "\ufffd")


def shapes_seen(model: PreTrainedModel) -> list[tuple[int, int]]:
    """The shape of every input the model will be called with, as a list that fills up."""
    shapes: list[tuple[int, int]] = []
    model.register_forward_pre_hook(
        lambda _, __, given: shapes.append(tuple(given["input_ids"].shape)), with_kwargs=True
    )
    return shapes


def qwen2() -> PreTrainedModel:
    torch.manual_seed(1)
    return Qwen2ForCausalLM(Qwen2Config(**SIZES)).eval()


def qwen3() -> PreTrainedModel:
    torch.manual_seed(2)
    return Qwen3ForCausalLM(Qwen3Config(**SIZES, head_dim=16)).eval()


def gpt2() -> PreTrainedModel:
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=61, n_embd=32, n_layer=2, n_head=4, n_positions=256, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


def mistral(window: int | None) -> PreTrainedModel:
    torch.manual_seed(4)
    return MistralForCausalLM(MistralConfig(**SIZES, sliding_window=window)).eval()


def engine_of(model: PreTrainedModel, eos: Sequence[int] = (), **options: int) -> NativeEngine:
    return NativeEngine(model, Letters(), frozenset(eos), **options)


def prompts_of(*lengths: int, attempts: int = 1) -> list[Prompt]:
    return [
        Prompt(
            ids=tuple((7 * number + 3 * place) % 58 + 1 for place in range(length)),
            seeds=tuple(range(100 * number, 100 * number + attempts)),
        )
        for number, length in enumerate(lengths)
    ]


def flat(turns: list[list[Turn]]) -> list[Turn]:
    return [turn for each in turns for turn in each]


def greedy_reference(model: PreTrainedModel, ids: tuple[int, ...], tokens: int, eos: list[int] | None) -> list[int]:
    out = model.generate(
        input_ids=torch.tensor([ids]),
        attention_mask=torch.ones(1, len(ids), dtype=torch.long),
        max_new_tokens=tokens,
        do_sample=False,
        eos_token_id=eos,
        pad_token_id=0,
    )
    return out[0, len(ids) :].tolist()


@pytest.mark.parametrize(
    "make",
    [lambda: tiny_model(dtype=torch.float32), qwen2, qwen3, gpt2, lambda: mistral(None)],
    ids=["llama", "qwen2", "qwen3", "gpt2", "mistral"],
)
def test_greedy_equals_transformers(make) -> None:
    model = make()
    prompts = prompts_of(1, 9, 4, 23, 4, attempts=2)
    turns = engine_of(model, (2, 5), batch_size=3).generate(prompts, Sampling(max_tokens=24, temperature=0))
    lengths = set()
    for prompt, both in zip(prompts, turns, strict=True):
        want = greedy_reference(model, prompt.ids, 24, [2, 5])
        assert [list(turn.completion) for turn in both] == [want, want]
        assert {turn.stop for turn in both} == {"eos" if want[-1] in (2, 5) else "length"}
        lengths.add(len(want))
    assert both[0].prompt == prompts[-1].ids


@pytest.mark.parametrize("temperature", [0.0, 1.0, 0.7])
def test_log_probabilities_are_those_of_a_fresh_forward(tiny: PreTrainedModel, temperature: float) -> None:
    prompts = prompts_of(3, 11, 6, attempts=3)
    sampling = Sampling(max_tokens=17, temperature=temperature)
    for turn in flat(engine_of(tiny, (2,), batch_size=4).generate(prompts, sampling)):
        with torch.no_grad():
            logits = tiny(torch.tensor([turn.prompt + turn.completion])).logits[0]
        logp = (logits / turn.temperature).log_softmax(-1)[len(turn.prompt) - 1 : -1]
        want = logp.gather(1, torch.tensor(turn.completion)[:, None])[:, 0]
        assert torch.allclose(torch.tensor(turn.logp), want.float(), atol=1e-6)
        assert turn.temperature == (temperature or 1.0)


def test_a_rollout_depends_on_its_own_seed_alone(tiny: PreTrainedModel) -> None:
    prompts = prompts_of(5, 17, 2, 9, attempts=4)
    sampling = Sampling(max_tokens=15)
    together = engine_of(tiny, batch_size=5).generate(prompts, sampling)
    alone = engine_of(tiny, batch_size=1)
    for prompt, turns in zip(prompts, together, strict=True):
        for seed, turn in zip(prompt.seeds, turns, strict=True):
            assert alone.generate([Prompt(ids=prompt.ids, seeds=(seed,))], sampling)[0][0].completion == turn.completion
        assert len({turn.completion for turn in turns}) == 4
    assert engine_of(tiny).generate(prompts[::-1], sampling)[::-1] == together
    large = [Prompt(ids=prompts[0].ids, seeds=(2**64 + 7, -1))]
    assert len({turn.completion for turn in flat(engine_of(tiny).generate(large, sampling))}) == 2


def test_one_prefill_serves_all_attempts_and_waiting_sequences_enter_at_once(tiny: PreTrainedModel) -> None:
    shapes = shapes_seen(tiny)
    prompts = prompts_of(4, 7, attempts=5)
    turns = engine_of(tiny, (2, 8, 20), batch_size=3).generate(prompts, Sampling(max_tokens=30))
    assert shapes[0] == (1, 4 + 7)  # both prompts, once, without padding
    steps = [rows for rows, width in shapes[1:] if width == 1]
    assert len(steps) == len(shapes) - 1
    assert sum(steps) == sum(len(turn.completion) - 1 for turn in flat(turns))  # the first token needs no step
    full = [rows == 3 for rows in steps]
    assert full == sorted(full, reverse=True)  # never a free row while something waits
    assert len({len(turn.completion) for turn in flat(turns)}) > 3


@pytest.mark.parametrize("batch_size", [1, 2, 3, 5, 16])
def test_prompts_of_one_attempt_and_of_several_go_together(tiny: PreTrainedModel, batch_size: int) -> None:
    lengths, attempts = (5, 2, 9, 40, 3, 17), (1, 3, 1, 4, 2, 1)
    prompts = [
        Prompt(ids=prompt.ids, seeds=tuple(range(n))) for prompt, n in zip(prompts_of(*lengths), attempts, strict=True)
    ]
    # Tokens 40 and above end a completion, so that rows are given up and taken again at different times.
    eos = list(range(40, 61))
    drawn = engine_of(tiny, eos, batch_size=batch_size).generate(prompts, Sampling(max_tokens=12))
    alone = engine_of(tiny, eos, batch_size=1)
    for prompt, turns in zip(prompts, drawn, strict=True):
        for seed, turn in zip(prompt.seeds, turns, strict=True):
            assert (
                turn.completion
                == alone.generate([Prompt(ids=prompt.ids, seeds=(seed,))], Sampling(max_tokens=12))[0][0].completion
            )
    assert len({turn.completion for turn in flat(drawn)}) > 6


def test_attempts_at_one_prompt_share_its_keys(tiny: PreTrainedModel) -> None:
    def decoded(*, shared: bool) -> tuple[torch.Tensor, int]:
        cache = KeyValueCache(3, 6, 256)
        with torch.inference_mode(), _sampling_mode(tiny):
            for number, length in enumerate((50, 7)):
                prompt = torch.tensor(prompts_of(length)[0].ids)
                cache.begin_prefill([length])
                tiny(input_ids=prompt[None], position_ids=torch.arange(length)[None], use_cache=False, kv_cache=cache)
                prefix = cache.end_prefill()[0]
                rows = range(3 * number, 3 * number + 3)
                cache.place(prefix, rows[:2], shared=shared)
                cache.place(prefix, rows[2:], shared=shared)
            position = np.repeat((50, 7), 3)
            cache.begin_decode(np.arange(len(position)), position, torch.device("cpu"))
            given = {"input_ids": torch.arange(6)[:, None], "position_ids": torch.from_numpy(position)[:, None]}
            return tiny(**given, use_cache=False, kv_cache=cache).logits, cache.capacity

    (together, few), (apart, many) = decoded(shared=True), decoded(shared=False)
    torch.testing.assert_close(together, apart)
    assert (few, many) == (16, 64)


def test_same_prompts_are_computed_once(tiny: PreTrainedModel) -> None:
    shapes = shapes_seen(tiny)
    ids = prompts_of(6)[0].ids
    prompts = [Prompt(ids=ids, seeds=(seed,)) for seed in (3, 4)]
    apart = engine_of(tiny).generate(prompts, Sampling(max_tokens=5))
    assert shapes[0] == (1, 6)
    together = engine_of(tiny).generate([Prompt(ids=ids, seeds=(3, 4))], Sampling(max_tokens=5))
    assert flat(apart) == flat(together)


def test_the_context_is_never_exceeded(tiny: PreTrainedModel) -> None:
    prompts = prompts_of(9, 10, 11, 12, 30)
    engine = engine_of(tiny, max_context=12)
    turns = flat(engine.generate(prompts, Sampling(max_tokens=2)))
    assert [(len(turn.completion), turn.stop) for turn in turns] == [
        (2, "length"),
        (2, "length"),
        (1, "context"),
        (0, "context"),
        (0, "context"),
    ]
    nothing = flat(engine.generate(prompts, Sampling(max_tokens=0)))
    assert [(turn.completion, turn.stop) for turn in nothing] == [((), "length")] * 5


def test_nothing_to_do(tiny: PreTrainedModel) -> None:
    engine = engine_of(tiny)
    assert engine.generate([], Sampling()) == []
    assert engine.generate([Prompt(ids=(1,), seeds=())], Sampling()) == [[]]
    (turn,) = flat(engine.generate(prompts_of(3), Sampling(max_tokens=0)))
    assert (turn.completion, turn.logp, turn.text, turn.stop) == ((), (), "", "length")


def test_the_cache_grows_and_is_used_again(tiny: PreTrainedModel) -> None:
    engine = engine_of(tiny, batch_size=4)
    short = engine.generate(prompts_of(3, attempts=2), Sampling(max_tokens=4))
    long = engine.generate(prompts_of(3, 200, attempts=2), Sampling(max_tokens=250))
    assert [len(turn.completion) for turn in flat(long)] == [250, 250, 56, 56]
    assert long == engine_of(tiny, batch_size=4).generate(prompts_of(3, 200, attempts=2), Sampling(max_tokens=250))
    assert engine.generate(prompts_of(3, attempts=2), Sampling(max_tokens=4)) == short


def test_a_much_longer_sequence_leaves_no_trace(tiny: PreTrainedModel) -> None:
    sampling = Sampling(max_tokens=4, temperature=0)
    *_, after = engine_of(tiny, batch_size=2).generate(prompts_of(200, 3, 5, 6), sampling)
    assert after[0].completion == engine_of(tiny).generate(prompts_of(200, 3, 5, 6)[-1:], sampling)[0][0].completion
    assert list(after[0].completion) == greedy_reference(tiny, prompts_of(200, 3, 5, 6)[-1].ids, 4, None)


def test_stop_strings_cut_the_text_and_keep_the_tokens(tiny: PreTrainedModel) -> None:
    prompts = prompts_of(5, 8, attempts=4)
    whole = flat(engine_of(tiny).generate(prompts, Sampling(max_tokens=40)))
    tested = 0
    for index, free in enumerate(whole):
        stop = Letters().decode(free.completion[7:10], skip_special_tokens=True)
        if "\ufffd" in stop or not stop:
            continue
        sampling = Sampling(max_tokens=40, stop=("never", stop))
        turn = flat(engine_of(tiny, batch_size=5).generate(prompts, sampling))[index]
        texts = [Letters().decode(free.completion[:end], skip_special_tokens=True) for end in range(41)]
        length = next(end for end in range(41) if stop in texts[end].rstrip("\ufffd"))
        assert turn.completion == free.completion[:length]
        assert len(turn.logp) == length <= 10
        assert turn.stop == "stop_string"
        assert turn.text == free.text[: free.text.index(stop)]
        tested += 1
    assert tested > 3


def test_end_tokens_end_and_can_be_ignored(tiny: PreTrainedModel) -> None:
    prompts = prompts_of(5, 8, 13, attempts=8)
    eos = (2, 7, 20, 33)
    turns = flat(engine_of(tiny, eos).generate(prompts, Sampling(max_tokens=30)))
    endings = set()
    for turn in turns:
        assert not set(turn.completion[:-1]) & set(eos)
        assert (turn.completion[-1] in eos) == (turn.stop == "eos")
        if turn.stop == "eos":
            endings.add(turn.completion[-1])
            assert turn.text == Letters().decode(turn.completion[:-1], skip_special_tokens=True)
    assert len(endings) > 1
    ignored = flat(engine_of(tiny, eos).generate(prompts, Sampling(max_tokens=30, ignore_eos=True)))
    assert [len(turn.completion) for turn in ignored] == [30] * 24
    assert any(set(turn.completion) & set(eos) for turn in ignored)
    assert all(
        long.completion[: len(turn.completion)] == turn.completion for long, turn in zip(ignored, turns, strict=True)
    )


def test_a_vocabulary_of_one() -> None:
    model = tiny_model(vocabulary=3)
    model.resize_token_embeddings(1)
    (turn,) = flat(engine_of(model).generate([Prompt(ids=(0,), seeds=(1,))], Sampling(max_tokens=3)))
    assert (turn.completion, turn.logp) == ((0, 0, 0), (0.0, 0.0, 0.0))


def test_the_model_is_given_back_as_it_was(tiny: PreTrainedModel) -> None:
    tiny.set_attn_implementation("eager")
    tiny.train()
    tiny.model.layers[1].eval()
    modes = [module.training for module in tiny.modules()]

    def interrupt(done: int, wanted: int) -> None:
        assert (done, wanted) == (1, 3)
        assert not tiny.training
        raise KeyboardInterrupt

    engine = engine_of(tiny, batch_size=1)
    prompts = prompts_of(4, attempts=3)
    with pytest.raises(KeyboardInterrupt):
        engine.generate(prompts, Sampling(max_tokens=3), interrupt)
    assert tiny.config._attn_implementation == "eager"
    assert [module.training for module in tiny.modules()] == modes
    seen: list[tuple[int, int]] = []
    engine.generate(prompts, Sampling(max_tokens=3), lambda done, wanted: seen.append((done, wanted)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    assert tiny.config._attn_implementation == "eager"
    tiny(torch.tensor([[1, 2]])).logits.sum().backward()  # nothing of inference mode is left behind


def test_weights_are_shared_and_the_version_is_taken(tiny: PreTrainedModel) -> None:
    engine = engine_of(tiny)
    before = engine.generate(prompts_of(4), Sampling(max_tokens=9))
    with torch.no_grad():
        tiny.model.embed_tokens.weight.mul_(-0.5)

    class Trained:
        step = 7

    engine.sync(Trained())
    after = engine.generate(prompts_of(4), Sampling(max_tokens=9))
    assert (before[0][0].version, after[0][0].version, engine.version) == (0, 7, 7)
    assert before[0][0].completion != after[0][0].completion


def test_outputs_that_are_not_finite_are_named_and_leave_no_trace(tiny: PreTrainedModel) -> None:
    engine = engine_of(tiny)
    want = engine.generate(prompts_of(4, 9), Sampling(max_tokens=9))
    weight = tiny.model.norm.weight
    kept = weight.detach().clone()
    with torch.no_grad():
        weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="not finite"):
        engine.generate(prompts_of(4, 9), Sampling(max_tokens=9))
    with torch.no_grad():
        weight.copy_(kept)
    assert engine.generate(prompts_of(4, 9), Sampling(max_tokens=9)) == want


def test_bfloat16_follows_its_own_fresh_forward() -> None:
    model = tiny_model(dtype=torch.bfloat16)
    for turn in flat(engine_of(model, batch_size=3).generate(prompts_of(5, 12, attempts=3), Sampling(max_tokens=12))):
        with torch.no_grad():
            logits = model(torch.tensor([turn.prompt + turn.completion])).logits[0].float()
        logp = logits.log_softmax(-1)[len(turn.prompt) - 1 : -1]
        want = logp.gather(1, torch.tensor(turn.completion)[:, None])[:, 0]
        assert (torch.tensor(turn.logp) - want).abs().mean() < 0.1


def test_what_cannot_be_sampled_is_refused(tiny: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="no tokens"):
        engine_of(tiny).generate([Prompt(ids=(), seeds=(1,))], Sampling())
    with pytest.raises(ValueError, match="vocabulary has 61"):
        engine_of(tiny).generate([Prompt(ids=(3, 61), seeds=(1,))], Sampling())
    with pytest.raises(ValueError, match="between 2 and the model's own 256"):
        engine_of(tiny, max_context=257)
    with pytest.raises(ValueError, match="batch_size is 0"):
        engine_of(tiny, batch_size=0)


def test_weights_are_left_as_they_are_where_nothing_packs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packed_linear, "can_pack", lambda: False)
    model = tiny_model(dtype=torch.bfloat16)
    with packed_weights(model.modules(), rows=8):
        assert not any("forward" in vars(layer) for layer in model.modules())
    turns = flat(engine_of(model).generate(prompts_of(5, 3), Sampling(max_tokens=4)))
    assert [len(turn.completion) for turn in turns] == [4, 4]


@pytest.mark.skipif(not can_pack(), reason="nothing packs weights in bfloat16 here")
def test_packed_weights_give_the_same_products_and_are_put_away() -> None:
    model = tiny_model(dtype=torch.bfloat16)
    x = torch.randn(3, 5, 32, generator=torch.Generator().manual_seed(0)).bfloat16()
    layer = model.model.layers[0].mlp.gate_proj
    plain = layer(x)
    with packed_weights(model.modules(), rows=8), torch.inference_mode():
        assert "forward" in vars(layer)
        packed = layer(x)
    assert "forward" not in vars(layer)
    torch.testing.assert_close(packed, plain, rtol=2e-2, atol=2e-2)
    layer.weight.data.mul_(2)
    with packed_weights(model.modules(), rows=8), torch.inference_mode():
        torch.testing.assert_close(layer(x), 2 * packed, rtol=2e-2, atol=2e-2)
