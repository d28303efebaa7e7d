"""The packed forward equals the padded one, in values and in gradients, whatever is shared."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import permutations
from typing import Any

import numpy as np
import pytest
import torch
from conftest import tiny_model
from hypothesis import given, settings, strategies as st
from torch import Tensor
from transformers import (
    Gemma2Config,
    Gemma2ForCausalLM,
    Gemma3ForCausalLM,
    Gemma3TextConfig,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)

from togi.batch import collate
from togi.models import packing, projection, trie
from togi.models.load_model import Loaded
from togi.models.packing import PackedModel, of_logits, padded_outputs
from togi.models.projection import divergence_from_uniform, token_log_probs
from togi.models.scalar_heads import ScalarHead
from togi.models.trie import layout, packed_length
from togi.types import LOGP, Output, Outputs, Sample


def sample(ids: Sequence[int], prompt: int, *, group: int = 0, temperature: float = 1.0) -> Sample:
    mask = np.arange(len(ids)) >= prompt
    return Sample(
        ids=np.asarray(ids, np.int64),
        mask=mask,
        logp=np.zeros(len(ids), np.float32),
        reward=0.0,
        group=group,
        trajectory=0,
        task="t",
        stop="eos",
        temperature=temperature,
    )


def tokens(count: int, seed: int) -> list[int]:
    return np.random.default_rng(seed).integers(0, 61, count).tolist()


def group() -> list[Sample]:
    prompt = tokens(11, 0)
    return [sample(prompt + tokens(n, 10 + n), 11) for n in (5, 1, 9, 7)]


def history() -> list[Sample]:
    whole = tokens(30, 1)
    turns = []
    for end in (9, 18, 30):
        turn = sample(whole[:end], end - 4)
        turns.append(turn)
    # One sample with two answers and the text between them masked.
    both = sample(whole, 5)
    both.mask[9:14] = False
    return [*turns, both]


def branches() -> list[Sample]:
    trunk, left, right = tokens(6, 2), tokens(5, 3), tokens(4, 4)
    return [
        sample(trunk + left + tokens(3, 5), 6),
        sample(trunk + left + tokens(6, 6), 6),
        sample(trunk + right + tokens(2, 7), 6),
        sample(trunk + left[:2] + tokens(4, 8), 6),
        sample(trunk + right, 6),
    ]


def mixed() -> list[Sample]:
    return [*group(), sample(tokens(3, 9), 1, group=1), *branches(), sample([5], 0, group=2), *history()]


def different_temperatures() -> list[Sample]:
    return [sample(s.ids.tolist(), 6, temperature=0.5 + i % 2) for i, s in enumerate(branches() + branches())]


CASES = {
    "group": group(),
    "history": history(),
    "branches": branches(),
    "identical": [group()[0]] * 3,
    "single": [sample([3, 0, 5, 0, 7, 9], 2)],  # 0 is the padding token, which an embedding gives no gradient
    "mixed": mixed(),
    "temperatures": different_temperatures(),
}


def truly_double(model: PreTrainedModel) -> PreTrainedModel:
    """The model with torch's own RMSNorm: transformers' computes in float32 whatever it is given."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child).__name__.endswith("RMSNorm"):
                norm = torch.nn.RMSNorm(child.weight.shape[0], eps=child.variance_epsilon, dtype=torch.float64)
                setattr(module, name, norm)
    return model


def random_head(width: int = 32) -> ScalarHead:
    head = ScalarHead(width).double()
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for p in head.parameters():
            p.copy_(torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return head


def gradients(model: torch.nn.Module, out: Outputs) -> list[Tensor]:
    """Of a sum in which every token, its entropy, its value and every score counts differently."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(out.logp_BT.shape, generator=generator, dtype=torch.float64)
    value = weight.new_zeros(())
    scales = (weight, weight.flip(0), weight.flip(1), weight[:, 0])
    for part, scale in zip((out.logp_BT, out.entropy_BT, out.value_BT, out.score_B), scales, strict=True):
        if part is not None:
            value = value + (scale * part).sum()
    return list(torch.autograd.grad(value, list(model.parameters()), allow_unused=True, materialize_grads=True))


ASKED: dict[str, frozenset[Output]] = {
    "logp": LOGP,
    "entropy": frozenset({"logp", "entropy"}),
    "value": frozenset({"value"}),
    "score": frozenset({"score"}),
    "all": frozenset({"logp", "entropy", "value", "score"}),
}


@pytest.mark.parametrize("asked", ASKED)
@pytest.mark.parametrize("case", CASES)
def test_packed_equals_padded(tiny: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, case: str, asked: str) -> None:
    monkeypatch.setattr(projection, "CHUNK_ELEMENTS", 61 * 7)
    monkeypatch.setattr(trie, "_MAX_QUERIES", 8)
    monkeypatch.setattr(trie, "_CALL_IN_PAIRS", 50)
    model, head, outputs = truly_double(tiny), random_head(), ASKED[asked]
    batch = collate(CASES[case])
    ours = PackedModel(model, head)
    assert ours.packs
    packed = ours(batch, outputs)
    padded = padded_outputs(model, batch, outputs, head)
    torch.testing.assert_close(packed.logp_BT.double(), padded.logp_BT.double(), rtol=1e-10, atol=1e-10)
    scored_BT = batch.mask_BT & (torch.arange(batch.mask_BT.shape[1]) > 0)
    assert (packed.logp_BT != 0).equal(scored_BT & ("logp" in outputs))
    for name, ours_, theirs in (
        ("entropy", packed.entropy_BT, padded.entropy_BT),
        ("value", packed.value_BT, padded.value_BT),
        ("score", packed.score_B, padded.score_B),
    ):
        assert (ours_ is not None) == (theirs is not None) == (name in outputs)
        if ours_ is not None:
            torch.testing.assert_close(ours_, theirs, rtol=1e-10, atol=1e-10)
    if packed.value_BT is not None:
        assert (packed.value_BT != 0).equal(scored_BT)
    both = torch.nn.ModuleList([model, head])
    for one, other in zip(gradients(both, packed), gradients(both, padded), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("asked", ["logp", "entropy"])
@pytest.mark.parametrize("elements", [1 << 26, 61 * 7])
def test_a_second_backward_pass_gives_the_same(
    tiny: PreTrainedModel, monkeypatch: pytest.MonkeyPatch, elements: int, asked: str
) -> None:
    monkeypatch.setattr(projection, "CHUNK_ELEMENTS", elements)
    model = truly_double(tiny)
    packed = PackedModel(model)(collate(mixed()), ASKED[asked])
    value = packed.logp_BT.square().sum() + (0.0 if packed.entropy_BT is None else packed.entropy_BT.sum())
    once, twice = (torch.autograd.grad(value, list(model.parameters()), retain_graph=True) for _ in range(2))
    for one, other in zip(once, twice, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_asked_for_and_not_learned_from_changes_no_gradient(tiny: PreTrainedModel) -> None:
    model, head, batch = truly_double(tiny), random_head(), collate(mixed())
    packed, padded = PackedModel(model, head)(batch, ASKED["all"]), padded_outputs(model, batch, ASKED["all"], head)
    assert packed.value_BT is not None
    assert padded.value_BT is not None
    weights = list(model.get_decoder().parameters())
    ours = torch.autograd.grad(packed.value_BT.square().sum(), weights, retain_graph=True)
    theirs = torch.autograd.grad(padded.value_BT.square().sum(), weights, retain_graph=True)
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
    both = packed.value_BT.square().sum() + packed.logp_BT.sum()
    wanted = torch.autograd.grad(padded.value_BT.square().sum() + padded.logp_BT.sum(), weights)
    for one, other in zip(torch.autograd.grad(both, weights), wanted, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def test_a_value_is_that_of_the_state_before_its_token_and_a_score_of_the_last(tiny: PreTrainedModel) -> None:
    head = random_head()
    made = mixed()
    out = PackedModel(tiny, head)(collate(made), ASKED["all"])
    assert out.value_BT is not None
    assert out.score_B is not None
    for b, each in enumerate(made):
        states = tiny.get_decoder()(input_ids=torch.from_numpy(each.ids)[None]).last_hidden_state[0]
        wanted = states @ head.weight + head.bias
        torch.testing.assert_close(out.score_B[b], wanted[-1])
        for t in np.flatnonzero(each.mask):
            if t:
                torch.testing.assert_close(out.value_BT[b, t], wanted[t - 1])


def test_layers_without_a_vocabulary_give_scalars_alone(tiny: PreTrainedModel) -> None:
    head, batch = random_head(), collate(mixed())
    whole, layers = PackedModel(tiny, head), PackedModel(tiny.get_decoder(), head)
    assert layers.packs
    assert layers(batch, ASKED["score"]).score_B.equal(whole(batch, ASKED["score"]).score_B)  # type: ignore[union-attr,arg-type]
    with pytest.raises(ValueError, match="no output embedding"):
        PackedModel(tiny.get_decoder())


def test_a_scalar_without_a_head_is_refused(tiny: PreTrainedModel) -> None:
    with pytest.raises(ValueError, match="heads 'shared' or 'own'"):
        PackedModel(tiny)(collate(group()), ASKED["value"])


def test_sliding_windows_are_kept() -> None:
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=61, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, use_sliding_window=True, sliding_window=4, max_window_layers=1, initializer_range=0.3,
    )  # fmt: skip
    model = truly_double(Qwen2ForCausalLM(config).to(torch.float64).eval())
    batch = collate(mixed())
    packed, padded = PackedModel(model)(batch), padded_outputs(model, batch)
    torch.testing.assert_close(packed.logp_BT, padded.logp_BT, rtol=1e-10, atol=1e-10)
    for one, other in zip(gradients(model, packed), gradients(model, padded), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)


def changing(model: torch.nn.Module, change: Callable[[torch.Tensor], torch.Tensor]) -> torch.nn.Module:
    """The model, with what its configuration does not name done to its logits."""

    def hook(_: torch.nn.Module, __: object, said: Any) -> Any:
        said.logits = change(said.logits)
        return said

    model.register_forward_hook(hook)
    return model


def test_a_model_that_changes_its_logits_in_a_way_of_its_own_is_padded(tiny: PreTrainedModel) -> None:
    model, batch = changing(tiny, lambda logits: logits / 3), collate(mixed())
    packed = PackedModel(model)
    assert not packed.packs
    assert packed(batch).logp_BT.equal(padded_outputs(model, batch).logp_BT)
    head = random_head()
    padded = padded_outputs(model, batch, ASKED["value"], head).value_BT
    assert PackedModel(model, head)(batch, ASKED["value"]).value_BT.equal(padded)  # type: ignore[union-attr,arg-type]
    assert PackedModel(tiny.get_decoder(), head).packs
    assert not PackedModel(model.to(torch.bfloat16)).packs


GEMMA = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "head_dim": 8, "tie_word_embeddings": True, "initializer_range": 0.3,
}  # fmt: skip


def test_a_model_that_caps_its_logits_in_a_way_of_its_own_is_padded_however_small_they_are() -> None:
    torch.manual_seed(0)
    small = {**GEMMA, "initializer_range": 0.02, "final_logit_softcapping": None}
    model, batch = Gemma2ForCausalLM(Gemma2Config(**small)).eval(), collate(mixed())
    assert PackedModel(model).packs
    packed = PackedModel(changing(model, lambda logits: 30 * torch.tanh(logits / 30)))
    assert not packed.packs
    assert packed(batch).logp_BT.equal(padded_outputs(model, batch).logp_BT)


def test_an_output_embedding_of_another_kind_is_padded(tiny: PreTrainedModel) -> None:
    """It says the same until it is trained, as an adapter's does."""

    class Adapted(torch.nn.Linear):
        pass

    tiny.lm_head.__class__ = Adapted
    assert not PackedModel(tiny).packs


def test_an_embedding_that_is_scaled_is_read_by_the_model_itself() -> None:
    torch.manual_seed(0)
    model, batch = Gemma3ForCausalLM(Gemma3TextConfig(**GEMMA)).double().eval(), collate(mixed())
    packed = PackedModel(model)
    assert packed.packs
    ours, theirs = packed(batch), padded_outputs(model, batch)
    torch.testing.assert_close(ours.logp_BT, theirs.logp_BT, rtol=1e-5, atol=1e-5)
    for one, other in zip(gradients(model, ours), gradients(model, theirs), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("tokens", [None, 50, 99])
def test_a_certainty_is_over_tokens_alone(tiny: PreTrainedModel, tokens: int | None) -> None:
    """-log V - the mean of log p over the first V of a row; it carries no gradient."""
    batch, asked = collate(mixed()), frozenset[Output]({"logp", "certainty"})
    logp_BTV = tiny(input_ids=batch.ids_BT).logits.log_softmax(-1)
    count = min(tokens or 61, 61)
    wanted_BT = -math.log(count) - logp_BTV[..., :count].mean(-1)
    for out in (PackedModel(tiny, tokens=tokens)(batch, asked), padded_outputs(tiny, batch, asked, tokens=tokens)):
        assert out.certainty_BT is not None
        assert not out.certainty_BT.requires_grad
        scored_BT = batch.mask_BT[:, 1:]
        torch.testing.assert_close(out.certainty_BT[:, 1:][scored_BT], wanted_BT[:, :-1][scored_BT])
        assert out.entropy_BT is None
        assert not out.certainty_BT[:, 1:][~scored_BT].any()


def test_what_a_mask_rules_out_is_no_part_of_a_distribution() -> None:
    logits = torch.tensor([1.0, 3.0, 0.0]).log()
    assert float(divergence_from_uniform(logits.log_softmax(-1))) == pytest.approx(0.143841, abs=1e-6)
    out = of_logits(logits.expand(1, 2, 3), collate([sample([0, 1], 1)]), frozenset({"logp", "entropy", "certainty"}))
    assert (out.logp_BT[0, 1], out.entropy_BT[0, 1]) == pytest.approx((math.log(0.75), 0.562335), abs=1e-6)  # type: ignore[index]
    assert float(out.certainty_BT[0, 1]) == pytest.approx(0.143841, abs=1e-6)  # type: ignore[index]


@pytest.mark.model
def test_a_real_model_is_packed_in_half_precision_too(smollm2: Loaded) -> None:
    assert PackedModel(copy.deepcopy(smollm2.model).to(torch.bfloat16)).packs


def test_a_batch_that_scores_nothing_gives_zeros(tiny: PreTrainedModel) -> None:
    out = PackedModel(tiny)(collate([sample([5], 0), sample([1, 2, 3], 3)]))
    assert out.logp_BT.equal(torch.zeros_like(out.logp_BT))


def test_the_models_own_attention_is_put_back(tiny: PreTrainedModel) -> None:
    batch = collate(group())
    before = padded_outputs(tiny, batch).logp_BT
    own = tiny.config._attn_implementation
    PackedModel(tiny)(batch)
    assert tiny.config._attn_implementation == own
    assert tiny.model.config._attn_implementation == own
    assert padded_outputs(tiny, batch).logp_BT.equal(before)
    with pytest.raises(IndexError):
        PackedModel(tiny)(collate([sample([1, 2, 999], 1)]))
    assert tiny.config._attn_implementation == own


rows = st.lists(st.lists(st.integers(0, 2), min_size=1, max_size=9), min_size=1, max_size=8)


@settings(max_examples=200, deadline=None)
@given(rows)
def test_every_distinct_prefix_is_laid_out_once(ids: list[list[int]]) -> None:
    samples = [sample(row, 0) for row in ids]
    laid_out = layout(samples)
    prefixes = {tuple(row[: t + 1]) for row in ids for t in range(len(row))}
    assert len(laid_out.ids_N) == len(prefixes) == packed_length(samples)
    owner: dict[int, tuple[int, ...]] = {}
    for row, nodes in zip(ids, laid_out.nodes, strict=True):
        assert laid_out.ids_N[nodes].tolist() == row
        assert laid_out.position_N[nodes].tolist() == list(range(len(row)))
        for t, node in enumerate(nodes.tolist()):
            assert owner.setdefault(node, tuple(row[: t + 1])) == tuple(row[: t + 1])
    queries = [node for piece in laid_out.pieces for node in piece.path[piece.start :].tolist()]
    assert sorted(queries) == list(range(len(prefixes)))
    for piece in laid_out.pieces:
        assert owner[int(piece.path[-1])] == tuple(laid_out.ids_N[piece.path].tolist())


def test_layout_does_not_depend_on_order() -> None:
    samples = branches()
    wanted = layout(samples).ids_N.tolist()
    for order in permutations(range(len(samples))):
        assert layout([samples[i] for i in order]).ids_N.tolist() == wanted


def test_a_prompt_is_computed_once() -> None:
    prompt = tokens(50, 0)
    samples = [sample([*prompt, i, *tokens(63, i)], 50) for i in range(8)]
    assert packed_length(samples) == 50 + 8 * 64


def test_bfloat16_is_near_float32() -> None:
    model = tiny_model(dtype=torch.float32)
    batch = collate(mixed())
    wide = PackedModel(model)(batch).logp_BT
    packed = PackedModel(model.to(torch.bfloat16))
    assert packed.packs
    narrow = packed(batch).logp_BT
    assert narrow.dtype == torch.float32
    assert (wide - narrow).abs().mean().item() < 0.1


@pytest.mark.parametrize("temperature", [0.7, 0.9, 1.3])
def test_a_temperature_is_not_rounded_to_bfloat16(temperature: float) -> None:
    """Rounded, it would be another temperature, and move every log-probability in the same direction."""
    packed = PackedModel(tiny_model(dtype=torch.float32).to(torch.bfloat16))

    def said(temperature: float) -> Tensor:
        return packed(collate([replace(each, temperature=temperature) for each in mixed()])).logp_BT

    assert not said(temperature).equal(said(float(torch.tensor(temperature).to(torch.bfloat16))))


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_a_coefficient_is_not_rounded_to_bfloat16(sign: float) -> None:
    """The gradient of a row's logits sums to 0, which a weight of ones reads. Rounded, 1 + 2^-8 would be 1 for the
    tokens that were not chosen, and leave 2^-8 times the sum of their probabilities."""
    generator = torch.Generator().manual_seed(0)
    x_MD, weight_VD = (torch.randn(n, 8, generator=generator).bfloat16() for n in (256, 61))
    weight_VD[:, 0] = 1.0
    token_M = torch.randint(61, (256,), generator=generator)
    logp_M, *_ = token_log_probs(x_MD.requires_grad_(), weight_VD, torch.arange(256), token_M, entropy=False)
    (sign * (1 + 2**-8) * logp_M).sum().backward()  # type: ignore[no-untyped-call]
    assert x_MD.grad is not None
    assert abs(float(x_MD.grad[:, 0].double().mean())) < 2**-11


@pytest.mark.parametrize("rest", [0.0, 1e-39, -1e-20, 1e-3])
def test_coefficients_of_a_row_may_cancel(rest: float) -> None:
    """Three tokens of one row: what is left of their sum scales nothing out of float32."""
    generator = torch.Generator().manual_seed(0)
    weight_VD, token_P = torch.randn(5, 4, generator=generator, requires_grad=True), torch.tensor([0, 1, 2])
    coefficient_P, row_P = torch.tensor([1.0, -1.0, rest]), torch.zeros(3, dtype=torch.long)
    x_MD = torch.randn(1, 4, generator=generator, requires_grad=True)
    logp_P, entropy_M, certainty_M = token_log_probs(x_MD, weight_VD, row_P, token_P, entropy=False)
    assert (entropy_M.tolist(), certainty_M.tolist()) == ([0.0], [0.0])
    wanted_P = torch.log_softmax(x_MD @ weight_VD.T, -1)[0, :3]
    ours, theirs = (torch.autograd.grad((coefficient_P * each).sum(), (x_MD, weight_VD)) for each in (logp_P, wanted_P))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other)


def letters(*rows: str) -> list[Sample]:
    return [sample([ord(letter) for letter in row], 0) for row in rows]


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [
        (["abc", "abd", "ax"], ["|a", "a|b", "ab|c", "ab|d", "a|x"]),
        (["ab", "ab"], ["|ab"]),
        (["ab", "abcd"], ["|ab", "ab|cd"]),
        (["abcd", "abce", "ab", "x"], ["|ab", "ab|c", "abc|d", "abc|e", "|x"]),
        (["ac", "bc", "bd"], ["|ac", "|b", "b|c", "b|d"]),
        (["abcdefg"], ["|abc", "abc|def", "abcdef|g"]),  # three queries at most
        (["abcdefg", "abcdexy"], ["|abc", "abc|de", "abcde|f", "abcdef|g", "abcde|xy"]),
    ],
)
def test_paths_are_cut_where_others_leave_them(
    monkeypatch: pytest.MonkeyPatch, rows: list[str], pieces: list[str]
) -> None:
    monkeypatch.setattr(trie, "_MAX_QUERIES", 3)
    laid_out = layout(letters(*rows))
    said = []
    for piece in laid_out.pieces:
        text = "".join(map(chr, laid_out.ids_N[piece.path]))
        said.append(f"{text[: piece.start]}|{text[piece.start :]}")
    assert said == pieces


@pytest.mark.parametrize(
    ("rows", "call", "most", "shapes"),
    [
        (["a" * 10, "b" * 10, "c" * 10], 0, 300, [(3, 10, 10)]),
        (["a" * 10, "b" * 10, "c" * 10], 0, 299, [(2, 10, 10), (1, 10, 10)]),
        # 2 x 12 x 12 are 44 pairs more than 10 x 10 and 12 x 12, and 3 x 14 x 14 then 104 more than they are.
        (["a" * 10, "b" * 12], 44, 999, [(2, 12, 12)]),
        (["a" * 10, "b" * 12], 43, 999, [(1, 10, 10), (1, 12, 12)]),
        (["a" * 14, "b" * 12, "c" * 10], 104, 999, [(3, 14, 14)]),
        (["a" * 14, "b" * 12, "c" * 10], 103, 999, [(2, 12, 12), (1, 14, 14)]),
        (["a" * 14, "b" * 12, "c" * 10], 104, 587, [(2, 12, 12), (1, 14, 14)]),
        # 3 queries of 7 keys, 4 of 4, 5 of 9: two of 4 by 7 are 19 more, and three of 5 by 9 then 34 more.
        (["ppppxyz", "ppppvwstu"], 34, 999, [(3, 5, 9)]),
        (["ppppxyz", "ppppvwstu"], 33, 999, [(2, 4, 7), (1, 5, 9)]),
        (["ppppxyz", "ppppvwstu"], 18, 999, [(1, 3, 7), (1, 4, 4), (1, 5, 9)]),
    ],
)
def test_pieces_share_a_call_where_padding_is_cheaper(
    monkeypatch: pytest.MonkeyPatch, rows: list[str], call: int, most: int, shapes: list[tuple[int, int, int]]
) -> None:
    for name, value in (("_SIDE", 1), ("_CALL_IN_PAIRS", call), ("_MAX_PAIRS", most)):
        monkeypatch.setattr(trie, name, value)
    blocks = trie.plan(layout(letters(*rows)).pieces, torch.device("cpu")).blocks
    assert [(*block.query_RQ.shape, block.key_RK.shape[1]) for block in blocks] == shapes


@pytest.mark.parametrize(("tokens", "spare"), [("abc", 5), ("abcdefgh", 0), ("abcdefghi", 7)])
def test_a_layout_is_filled_to_a_round_number_by_what_nobody_reads(
    monkeypatch: pytest.MonkeyPatch, tokens: str, spare: int
) -> None:
    monkeypatch.setattr(trie, "NODES", 8)
    monkeypatch.setattr(trie, "_SIDE", 8)
    laid_out = layout(letters(tokens))
    filled = trie.filled(laid_out)
    count = len(tokens)
    assert filled.ids_N.tolist() == [*laid_out.ids_N, *[0] * spare]
    assert filled.position_N.tolist() == [*range(count), *range(spare)]
    assert filled.nodes == laid_out.nodes
    assert [piece.path.tolist() for piece in filled.pieces[1:]] == ([[*range(count, count + spare)]] if spare else [])
    blocks = trie.plan(filled.pieces, torch.device("cpu")).blocks
    assert all(size % 8 == 0 for block in blocks for size in (block.query_RQ.shape[1], block.key_RK.shape[1]))
    used = torch.cat([block.query_RQ[block.used_RQ] for block in blocks])
    assert sorted(used.tolist()) == list(range(count + spare))


def test_a_row_is_projected_once_and_rows_are_filled_to_a_round_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """The nodes of "abc" and "abd" are a, b, c, d; after b two tokens are scored, and c by a second temperature."""
    monkeypatch.setattr(packing, "NODES", 4)
    rows = [*letters("abc", "abd"), replace(letters("abc")[0], temperature=0.5)]
    for each in rows:
        each.mask[:2] = False
    scored = packing._scored(layout(rows), collate(rows), torch.device("cpu"))
    assert scored.node_M.tolist() == [1, 1, 0, 0]
    assert scored.temperature_M.tolist() == [0.5, 1.0, 1.0, 1.0]
    assert (scored.row_P.tolist(), scored.token_P.tolist()) == ([0, 1, 1], [ord(letter) for letter in "ccd"])
    assert (scored.b.tolist(), scored.t.tolist(), scored.pair.tolist()) == ([0, 1, 2], [2, 2, 2], [1, 2, 0])


@pytest.mark.parametrize(
    ("elements", "chunks"),
    [
        (70, [(0, 10, 0, 4)]),
        (69, [(0, 5, 0, 3), (5, 10, 3, 4)]),
        (35, [(0, 5, 0, 3), (5, 10, 3, 4)]),
        (34, [(0, 3, 0, 2), (3, 6, 2, 3), (6, 10, 3, 4)]),
    ],
)
def test_rows_are_cut_into_equal_chunks_with_what_is_read_of_them(
    monkeypatch: pytest.MonkeyPatch, elements: int, chunks: list[tuple[int, int, int, int]]
) -> None:
    """10 rows of 7 logits; four pairs look at rows 0, 2, 4 and 9."""
    monkeypatch.setattr(projection, "CHUNK_ELEMENTS", elements)
    found = projection._chunks(torch.zeros(10, 3), torch.zeros(7, 3), torch.tensor([0, 2, 4, 9]))
    assert [(rows.start, rows.stop, pairs.start, pairs.stop) for rows, pairs in found] == chunks
