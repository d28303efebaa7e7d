"""A student for the r1_small recipe: every other layer of SmolLM2-135M-Instruct, which reads the same tokens."""

from __future__ import annotations

from torch import nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.models.load_model import load_model


def half() -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """What is left says nothing sensible until it was taught."""
    loaded = load_model("smollm2-135m")
    model = loaded.model
    kept = list(model.get_decoder().layers)[::2]
    for number, layer in enumerate(kept):
        layer.self_attn.layer_idx = number
    model.get_decoder().layers = nn.ModuleList(kept)
    model.config.num_hidden_layers = len(kept)
    return model, loaded.tokenizer
