"""Fused decoder layers give what the model's own give, and only layers that do are fused."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from conftest import tiny_model
from test_native_engine import engine_of, gpt2, mistral, prompts_of, qwen2, qwen3
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaDecoderLayer

from togi.engines.fused_layer import FusedLayers
from togi.engines.key_value_cache import KeyValueCache
from togi.engines.native import _sampling_mode
from togi.engines.packed_linear import can_pack
from togi.types import Sampling

pytestmark = pytest.mark.skipif(not can_pack(), reason="nothing packs weights in bfloat16 here")


def fused(model: PreTrainedModel) -> list[nn.Module]:
    """The decoder layers that have a forward of their own while the model's layers are open."""
    with torch.inference_mode(), _sampling_mode(model), FusedLayers(model).open(8):
        layers = [layer for layer in model.modules() if "forward" in vars(layer) and type(layer) is not nn.Linear]
    assert not any("forward" in vars(layer) for layer in model.modules())
    return layers


def decoded(model: PreTrainedModel, prompt: Tensor, token: Tensor) -> Tensor:
    """Logits after one token a row that follows the same prompt in each."""
    cache = KeyValueCache(model.config.num_hidden_layers, len(token), 64)
    cache.begin_prefill([len(prompt)])
    model(input_ids=prompt[None], position_ids=torch.arange(len(prompt))[None], use_cache=False, kv_cache=cache)
    cache.place(cache.end_prefill()[0], range(len(token)), shared=False)
    cache.begin_decode(np.arange(len(token)), np.full(len(token), len(prompt)), torch.device("cpu"))
    given = {"input_ids": token[:, None], "position_ids": torch.full((len(token), 1), len(prompt))}
    logits: Tensor = model(**given, use_cache=False, kv_cache=cache).logits
    return logits


@pytest.mark.parametrize("make", [tiny_model, qwen2, lambda: mistral(None), lambda: mistral(4)])
def test_the_usual_layer_is_fused_and_gives_the_same(make: object) -> None:
    model = make().to(torch.bfloat16)  # type: ignore[operator]
    with torch.no_grad():
        for name, p in model.named_parameters():
            if name.endswith("bias"):
                p.normal_()
    layers = FusedLayers(model)
    prompt, token = torch.arange(5, 14), torch.arange(20, 26)
    with torch.inference_mode(), _sampling_mode(model):
        own = decoded(model, prompt, token)
        with layers.open(6):
            assert sum("forward" in vars(layer) for layer in model.model.layers) == len(model.model.layers)
            again = decoded(model, prompt, token)
    assert not again.equal(own), "the layers were not fused"
    assert float((again - own).norm()) <= 0.02 * float(own.norm())


def test_weights_are_packed_again_at_every_opening() -> None:
    model = tiny_model(dtype=torch.bfloat16)
    layers = FusedLayers(model)
    prompt, token = torch.arange(5, 14), torch.arange(20, 26)
    with torch.inference_mode(), _sampling_mode(model):
        with layers.open(6):
            decoded(model, prompt, token)
        with torch.no_grad():
            for p in model.model.layers.parameters():
                p.copy_(p.flip(0))
        own = decoded(model, prompt, token)
        with layers.open(6):
            again = decoded(model, prompt, token)
    assert float((again - own).norm()) <= 0.02 * float(own.norm())


def test_other_layers_are_left_alone() -> None:
    assert not fused(tiny_model(dtype=torch.float32))
    assert not fused(gpt2().to(torch.bfloat16))
    assert not fused(qwen3().to(torch.bfloat16)), "its queries and keys are normed"
    turns = engine_of(qwen3().to(torch.bfloat16)).generate(prompts_of(3, 4), Sampling(max_tokens=4))
    assert all(len(turn.completion) for group in turns for turn in group)


def test_a_layer_that_only_looks_usual_is_found_out() -> None:
    class Doubled(LlamaDecoderLayer):
        def forward(self, hidden_states: Tensor, **given: object) -> Tensor:
            return hidden_states + 2 * (super().forward(hidden_states, **given) - hidden_states)

    model = copy.deepcopy(tiny_model(dtype=torch.bfloat16))
    model.model.layers[1].__class__ = Doubled
    assert fused(model) == [model.model.layers[0], model.model.layers[2]]
    model.model.layers[0].self_attn.scaling = 1.0
    assert model.model.layers[0] in fused(model), "the layer's own scaling is used"
    model.model.layers[0].mlp.act_fn = nn.GELU()
    assert fused(model) == [model.model.layers[2]]
