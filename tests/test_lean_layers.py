"""Lean layers compute what the model's own do, keep less, and have the same gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import tiny_model
from test_native_engine import mistral, qwen3
from torch import nn
from transformers import AttentionInterface, GPT2Config, GPT2LMHeadModel, PreTrainedModel
from transformers.models.llama.modeling_llama import apply_rotary_pos_emb

from togi.models.lean_layers import lean, lean_layers
from togi.models.rotary import turned


def gradients(model: PreTrainedModel, rows: torch.Tensor) -> list[torch.Tensor]:
    out = model.get_decoder()(inputs_embeds=rows, use_cache=False).last_hidden_state
    weights = [p for name, p in model.get_decoder().named_parameters() if "embed" not in name]
    return list(torch.autograd.grad((out * torch.linspace(-1, 1, out.shape[-1])).sum(), [rows, *weights]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_outputs_are_equal_to_the_last_bit_and_gradients_nearly(dtype: torch.dtype) -> None:
    model = tiny_model(dtype=torch.float32).to(dtype)
    layers = lean_layers(model)
    kinds = ["LlamaAttention"] * 3 + ["LlamaMLP"] * 3 + ["LlamaRMSNorm"] * 7
    assert sorted(type(layer).__name__ for layer, _ in layers) == kinds
    rows = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    plain, own = model.get_decoder()(inputs_embeds=rows).last_hidden_state, gradients(model, rows)
    with lean(layers):
        assert model.get_decoder()(inputs_embeds=rows).last_hidden_state.equal(plain)
        kept = gradients(model, rows)
    assert not any("forward" in vars(layer) for layer in model.modules())
    for one, other in zip(kept, own, strict=True):
        near = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]
        assert float((one - other).norm()) <= near * float(other.norm())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_heads_are_turned_as_transformers_turns_them(dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    x_BTHD = torch.randn(2, 5, 3, 8, generator=generator).to(dtype).requires_grad_()
    cos_BTD, sin_BTD = torch.randn(2, 2, 5, 8, generator=generator).to(dtype)
    plain = apply_rotary_pos_emb(x_BTHD.transpose(1, 2), x_BTHD.transpose(1, 2), cos_BTD, sin_BTD)[0].transpose(1, 2)
    assert turned(x_BTHD, cos_BTD, sin_BTD).equal(plain)
    slope = torch.randn(2, 5, 3, 8, generator=generator).to(dtype)
    (own,) = torch.autograd.grad((plain * slope).sum(), x_BTHD)
    (again,) = torch.autograd.grad((turned(x_BTHD, cos_BTD, sin_BTD) * slope).sum(), x_BTHD)
    torch.testing.assert_close(again, own)


def test_rows_in_any_order_of_memory_are_normed(tiny: PreTrainedModel) -> None:
    norm = tiny.to(torch.float32).get_decoder().norm
    rows = torch.randn(32, 500, 3).permute(2, 1, 0)
    plain = norm(rows)
    with lean(lean_layers(tiny)):
        torch.testing.assert_close(norm(rows), plain)


def test_less_is_kept(tiny: PreTrainedModel) -> None:
    model = tiny.to(torch.bfloat16)
    rows = torch.randn(1, 64, 32).to(torch.bfloat16).requires_grad_()

    def kept() -> int:
        sizes: dict[int, int] = {}

        def pack(x: torch.Tensor) -> torch.Tensor:
            sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
            return x

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
            model.get_decoder()(inputs_embeds=rows, use_cache=False)
        return sum(sizes.values())

    plain = kept()
    with lean(lean_layers(model)):
        assert kept() < 0.8 * plain


def test_a_layer_that_computes_something_else_is_left_alone(tiny: PreTrainedModel) -> None:
    class OffsetRMSNorm(nn.RMSNorm):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) + x

    model = copy.deepcopy(tiny)
    model.model.norm = OffsetRMSNorm(32, eps=1e-6, dtype=torch.float64)
    model.model.layers[1].mlp.act_fn = nn.GELU()
    model.model.layers[2].self_attn.q_proj = nn.Sequential(model.model.layers[2].self_attn.q_proj, nn.Tanh())
    alone = [type(layer).__name__ for layer, _ in lean_layers(model)]
    assert sorted(alone) == ["LlamaAttention"] * 3 + ["LlamaMLP"] * 2 + ["LlamaRMSNorm"] * 6
    assert not lean_layers(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11)))


def test_attention_that_norms_its_heads_or_turns_other_pairs_is_left_alone(
    tiny: PreTrainedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not any("Attention" in type(layer).__name__ for layer, _ in lean_layers(qwen3()))

    def interleaved(q: torch.Tensor, k: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor) -> list[torch.Tensor]:
        pairs = torch.arange(8).view(4, 2).T.reshape(-1)  # 0 2 4 6 1 3 5 7
        turned = apply_rotary_pos_emb(q[..., pairs], k[..., pairs], cos, sin)
        return [x[..., pairs.argsort()] for x in turned]

    own = {layer for layer, _ in lean_layers(tiny)}
    monkeypatch.setattr("transformers.models.llama.modeling_llama.apply_rotary_pos_emb", interleaved)
    left = own - {layer for layer, _ in lean_layers(tiny)}
    assert left == {layer.self_attn for layer in tiny.model.layers}


def test_attention_asks_for_what_the_layer_asks_for() -> None:
    asked: list[dict[str, object]] = []

    def listen(_: nn.Module, q: torch.Tensor, *heads: object, **given: object) -> tuple[torch.Tensor, None]:
        asked.append(given)
        return q.transpose(1, 2), None

    AttentionInterface.register("listen", listen)
    model = mistral(5)
    layers = lean_layers(model)
    assert model.config._attn_implementation == "sdpa"
    model.set_attn_implementation("listen")
    rows = torch.randn(1, 7, 32)
    model.get_decoder()(inputs_embeds=rows, use_cache=False)
    with lean(layers):
        model.get_decoder()(inputs_embeds=rows, use_cache=False)
    plain = [{name: x for name, x in given.items() if not isinstance(x, torch.Tensor)} for given in asked]
    own, again = plain[: len(plain) // 2], plain[len(plain) // 2 :]
    assert len(own) == 2
    assert own[0]["sliding_window"] == 5
    assert again == own
    assert [sorted(given) for given in asked[2:]] == [sorted(given) for given in asked[:2]]
