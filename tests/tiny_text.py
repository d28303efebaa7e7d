"""A tiny tokenizer and tiny models on disk, for tests of everything that reads text or files."""

from __future__ import annotations

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedModel, PreTrainedTokenizerFast

CHATML = (
    "{% for m in messages %}{% if loop.first and m['role'] != 'system' %}<|im_start|>system\nBe kind.<|im_end|>\n"
    "{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
# Writes the opening of a thought into the generation prompt, and drops thoughts of answers that are not the last.
THINKING = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and not loop.last %}{{ m['content'].split('</think>')[-1] }}"
    "{% else %}{{ m['content'] }}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
)
SPECIALS = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
CORPUS = [
    "The sum of 2 and 3 is 5.",
    "user assistant system think answer",
    "hello world, hello there\n\n",
    "äöü 日本 🙂",
]


def byte_level(template: str | None = CHATML, *, begin: bool = False) -> PreTrainedTokenizerFast:
    """A byte-level BPE; ``begin`` makes it put <|endoftext|> before every text by itself."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(
        CORPUS * 4,
        trainers.BpeTrainer(
            vocab_size=400, initial_alphabet=alphabet, special_tokens=list(SPECIALS), show_progress=False
        ),
    )
    if begin:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<|endoftext|> $A", special_tokens=[("<|endoftext|>", 0)]
        )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<|endoftext|>", eos_token="<|im_end|>", chat_template=template
    )


def tiny_llama(*, tied: bool = True, seed: int = 0) -> PreTrainedModel:
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=400,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=256,
        tie_word_embeddings=tied,
        initializer_range=0.3,
        bos_token_id=0,
        eos_token_id=2,
        pad_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


def tiny_folder(path: Path, *, tied: bool = True, seed: int = 0) -> Path:
    """A model folder as transformers writes it."""
    tiny_llama(tied=tied, seed=seed).save_pretrained(path)
    byte_level().save_pretrained(path)
    return path


def tiny_gguf(
    path: Path,
    *,
    embedding: gguf.GGMLQuantizationType = gguf.GGMLQuantizationType.F32,
    projection: gguf.GGMLQuantizationType | None = None,
    apart: bool = False,
) -> Path:
    """The same model as a GGUF file, its vocabulary marked as one with digits cut apart. All tensors are float32, but
    the embedding, which may be rounded, and stand a second time as the projection: ``apart``, with other numbers."""
    tokenizer, model = byte_level(), tiny_llama()
    config, vocabulary = model.config, tokenizer.get_vocab()
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(256)
    writer.add_embedding_length(config.hidden_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_rope_dimension_count(config.head_dim)
    writer.add_rope_freq_base(10000.0)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("smollm")
    writer.add_token_list(sorted(vocabulary, key=vocabulary.__getitem__))
    writer.add_token_types([3 if token in SPECIALS else 1 for token in sorted(vocabulary, key=vocabulary.__getitem__)])
    writer.add_token_merges([" ".join(merge) for merge in _merges(tokenizer)])
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(2)
    writer.add_chat_template(CHATML)
    names = {
        "self_attn.q_proj": "attn_q",
        "self_attn.k_proj": "attn_k",
        "self_attn.v_proj": "attn_v",
        "self_attn.o_proj": "attn_output",
        "mlp.gate_proj": "ffn_gate",
        "mlp.up_proj": "ffn_up",
        "mlp.down_proj": "ffn_down",
        "input_layernorm": "attn_norm",
        "post_attention_layernorm": "ffn_norm",
    }
    tensors = model.state_dict()
    words = tensors["model.embed_tokens.weight"].numpy()
    writer.add_tensor("token_embd.weight", gguf.quantize(words, embedding), raw_dtype=embedding)
    if projection is not None:
        writer.add_tensor(
            "output.weight", gguf.quantize(words[::-1] if apart else words, projection), raw_dtype=projection
        )
    writer.add_tensor("output_norm.weight", tensors["model.norm.weight"].numpy())
    for layer in range(config.num_hidden_layers):
        for ours, theirs in names.items():
            weight = tensors[f"model.layers.{layer}.{ours}.weight"].numpy()
            heads = {"attn_q": config.num_attention_heads, "attn_k": config.num_key_value_heads}.get(theirs)
            writer.add_tensor(f"blk.{layer}.{theirs}.weight", _rotated(weight, heads) if heads else weight)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def _merges(tokenizer: PreTrainedTokenizerFast) -> list[list[str]]:
    return list(json.loads(tokenizer.backend_tokenizer.to_str())["model"]["merges"])


def _rotated(weight: np.ndarray, heads: int) -> np.ndarray:
    """The order of rows in which GGUF keeps query and key weights: the two halves of each head interleaved."""
    rows, columns = weight.shape
    halves = weight.reshape(heads, 2, rows // heads // 2, columns).swapaxes(1, 2)
    return np.ascontiguousarray(halves.reshape(rows, columns))
