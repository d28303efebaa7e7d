"""Small random models of many architectures, with windows much shorter than what they are asked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

WINDOW = 6
_SIZES: dict[str, Any] = {
    "vocab_size": 61, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
    "num_key_value_heads": 2, "max_position_embeddings": 256, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1,
}  # fmt: skip
_GPT2: dict[str, Any] = {"vocab_size": 61, "n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 256}
_MIXED = {"sliding_window": WINDOW, "layer_types": ["sliding_attention", "full_attention"]}
_SOMETIMES = {"use_sliding_window": True, "sliding_window": WINDOW, "max_window_layers": 1}
_HEAD = {"head_dim": 8}
_EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
_LOCAL = {"num_local_experts": 4, "num_experts_per_tok": 2}
_LATENT = {
    "num_key_value_heads": 4, "n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16,
    "n_shared_experts": 1, "q_lora_rank": 16, "kv_lora_rank": 16, "qk_nope_head_dim": 8, "qk_rope_head_dim": 8,
    "v_head_dim": 8, "first_k_dense_replace": 1, "n_group": 2, "topk_group": 1,
}  # fmt: skip

TOYS: Mapping[str, Mapping[str, Any]] = {
    "llama": _SIZES,
    "mistral": {**_SIZES, "sliding_window": WINDOW},
    "qwen2": {**_SIZES, **_SOMETIMES},
    "qwen3": {**_SIZES, **_HEAD, **_SOMETIMES},
    "gemma": {**_SIZES, **_HEAD},
    "gemma2": {**_SIZES, **_HEAD, "sliding_window": WINDOW, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8},
    "gemma3_text": {**_SIZES, **_HEAD, **_MIXED, "query_pre_attn_scalar": 8},
    "gpt_oss": {**_SIZES, **_HEAD, **_LOCAL, "sliding_window": WINDOW},
    "phi3": {**_SIZES, "sliding_window": WINDOW},
    "smollm3": {**_SIZES, "use_sliding_window": True, "sliding_window": WINDOW},
    "olmo3": {**_SIZES, **_MIXED},
    "exaone4": {**_SIZES, **_MIXED},
    "cohere2": {**_SIZES, **_MIXED},
    "granite": {**_SIZES, "logits_scaling": 3.0},
    "glm4": {**_SIZES, **_HEAD},
    "starcoder2": {**_SIZES, "sliding_window": WINDOW},
    "gpt2": _GPT2,
    "gpt_neox": _SIZES,
    "qwen2_moe": {**_SIZES, **_EXPERTS, **_SOMETIMES, "shared_expert_intermediate_size": 16},
    "qwen3_moe": {**_SIZES, **_HEAD, **_EXPERTS},
    "mixtral": {**_SIZES, **_LOCAL, "sliding_window": WINDOW},
    "granitemoe": {**_SIZES, **_LOCAL},
    "deepseek_v3": {**_SIZES, **_LATENT},
    "llama4_text": {**_SIZES, **_HEAD, "num_local_experts": 4, "intermediate_size_mlp": 48, "attention_chunk_size": 6},
    "stablelm": _SIZES,
    "gptj": {**_GPT2, "rotary_dim": 4},
    "mamba": {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2},
    "jamba": {**_SIZES, "attn_layer_period": 2, "attn_layer_offset": 1, "num_experts": 2, "mamba_dt_rank": 4},
    "lfm2": {**_SIZES, "layer_types": ["conv", "full_attention"]},
}


def toy_model(kind: str, **changes: Any) -> PreTrainedModel:
    """A model of this ``model_type`` with weights large enough that every part of it matters."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(kind, **{**TOYS[kind], **changes})
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32)
    for name, parameter in model.named_parameters():
        if parameter.ndim > 1 or "sinks" in name:
            torch.nn.init.normal_(parameter, std=0.25)
    return model.eval()
