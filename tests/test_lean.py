"""Lean layers compute what the model's own do, keep less, and have the same gradients."""

from __future__ import annotations

import copy

import pytest
import torch
from conftest import tiny_model
from torch import nn
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedModel

from togi.models.lean import lean, lean_layers


def gradients(model: PreTrainedModel, rows: torch.Tensor) -> list[torch.Tensor]:
    out = model.get_decoder()(inputs_embeds=rows, use_cache=False).last_hidden_state
    weights = [p for name, p in model.get_decoder().named_parameters() if "embed" not in name]
    return list(torch.autograd.grad((out * torch.linspace(-1, 1, out.shape[-1])).sum(), [rows, *weights]))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_outputs_are_equal_to_the_last_bit_and_gradients_nearly(dtype: torch.dtype) -> None:
    model = tiny_model(dtype=torch.float32).to(dtype)
    layers = lean_layers(model)
    assert sorted(type(layer).__name__ for layer, _ in layers) == ["LlamaMLP"] * 3 + ["LlamaRMSNorm"] * 7
    rows = torch.randn(2, 9, 32, generator=torch.Generator().manual_seed(0)).to(dtype).requires_grad_()
    plain, own = model.get_decoder()(inputs_embeds=rows).last_hidden_state, gradients(model, rows)
    with lean(layers):
        assert model.get_decoder()(inputs_embeds=rows).last_hidden_state.equal(plain)
        kept = gradients(model, rows)
    assert not any("forward" in vars(layer) for layer in model.modules())
    for one, other in zip(kept, own, strict=True):
        near = {torch.float64: 1e-5, torch.float32: 1e-5, torch.bfloat16: 0.03}[dtype]
        assert float((one - other).norm()) <= near * float(other.norm())


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
    assert len(lean_layers(model)) == len(lean_layers(tiny)) - 1
    assert not lean_layers(GPT2LMHeadModel(GPT2Config(n_layer=1, n_embd=8, n_head=2, vocab_size=11)))
