"""Fixtures every test may use: fixed thread counts, the bundled model when it is at hand, and a tiny random one."""

from __future__ import annotations

import gc
import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel

from togi.models.bundled import bundled
from togi.models.load_model import Loaded, ModelError, load_model

torch.set_num_threads(1)


def pytest_collection_finish() -> None:
    """What was imported and collected stays to the end: a run's collections of garbage need not look through it."""
    gc.collect()
    gc.freeze()


def tiny_model(vocabulary: int = 61, seed: int = 0, dtype: torch.dtype = torch.float64) -> PreTrainedModel:
    """A random Llama with grouped-query attention and tied embeddings, small enough for exact comparisons."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=vocabulary,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=3,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        initializer_range=0.3,
        eos_token_id=2,
        bos_token_id=1,
        pad_token_id=0,
    )
    return LlamaForCausalLM(config).to(dtype).eval()


@pytest.fixture
def tiny() -> PreTrainedModel:
    return tiny_model()


@pytest.fixture(scope="session")
def smollm2() -> Loaded:
    """The bundled SmolLM2-135M-Instruct in float32, one for the whole session: a test must not change its weights."""
    try:
        bundled("smollm2-135m", download=False)
    except ModelError as error:
        pytest.skip(f"{error} (for example: togi chat smollm2-135m --prompt hello)")
    return load_model("smollm2-135m")
