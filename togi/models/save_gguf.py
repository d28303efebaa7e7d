"""Writes a model as one GGUF file, for llama.cpp and what is built on it, and reads it back before it is kept.

The file is written by llama.cpp's own package, ``gguf``, which knows the names of tensors. What a file must say besides
differs by architecture; only those whose settings stand here are written, and others are refused by name.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from gguf import GGML_QUANT_SIZES, MODEL_ARCH, GGMLQuantizationType, GGUFWriter, LlamaFileType, get_tensor_name_map
from gguf.quants import quantize
from numpy.typing import NDArray
from transformers import PretrainedConfig, PreTrainedModel

from togi.models.gguf_vocabulary import Vocabulary, vocabulary
from togi.models.load_model import Loaded, load_model
from togi.models.read_weights import quiet
from togi.models.save_model import PROBES, Saved, appearing, plain_tensors, write_beside
from togi.models.weight_files import ModelError

Kind = Literal["float32", "float16", "bfloat16", "q8_0"]
FILE = "model.gguf"
KINDS: Mapping[Kind, tuple[GGMLQuantizationType, LlamaFileType]] = {
    "float32": (GGMLQuantizationType.F32, LlamaFileType.ALL_F32),
    "float16": (GGMLQuantizationType.F16, LlamaFileType.MOSTLY_F16),
    "bfloat16": (GGMLQuantizationType.BF16, LlamaFileType.MOSTLY_BF16),
    "q8_0": (GGMLQuantizationType.Q8_0, LlamaFileType.MOSTLY_Q8_0),
}
ARCHITECTURES: Mapping[str, MODEL_ARCH] = {
    "llama": MODEL_ARCH.LLAMA,
    "qwen2": MODEL_ARCH.QWEN2,
    "qwen3": MODEL_ARCH.QWEN3,
}
# What a loader of transformers must find again, by the names of its configuration.
HELD = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads",
        "rms_norm_eps", "max_position_embeddings", "tie_word_embeddings")  # fmt: skip
# How far logits may move, as a share of the largest: a wrong setting moves them by their own size.
EXACT, ROUNDED = 1e-4, 0.1


def export_gguf(source: str, path: Path, kind: Kind, *, beside: Mapping[str, str] | None = None) -> Saved:
    """Write the model of any source that load_model reads to ``path/model.gguf``, an adapter merged into its base.

    ``difference`` of what is given is the largest absolute one between logits of the model and of the file, as it is
    read back. Raises ModelError for a model that cannot be written, or that the file does not give again.
    """
    if path.exists():
        raise ModelError(f"{path} exists already: choose another folder, or remove it first")
    loaded = load_model(source)
    inner = next(module for module in loaded.model.modules() if isinstance(module, PreTrainedModel))
    try:
        refuse_what_is_lost(inner)
        words = vocabulary(loaded.tokenizer, inner.get_input_embeddings().weight.shape[0])
    except ModelError as error:
        raise ModelError(f"{source} cannot be written as GGUF: {error}") from error
    with appearing(path) as work, quiet():
        write(inner, words, sorted(loaded.eos_ids), work / FILE, kind, Path(source).name)
        difference = check(loaded, inner.config, work / FILE, EXACT if kind == "float32" else ROUNDED)
        write_beside(work, beside or {})
    return Saved(path=path / FILE, form="gguf", difference=difference)


def refuse_what_is_lost(model: PreTrainedModel) -> None:
    """Raise ModelError for what a file of this form could not say, or what is not checked here."""
    config = model.config
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"{config.model_type} is not one of {', '.join(ARCHITECTURES)}: export it as a folder, and convert that "
            "with llama.cpp's own tools"
        )
    rope = config.rope_parameters or {}
    faults = {
        f"positions of the type {rope.get('rope_type')}": rope.get("rope_type", "default") != "default",
        "a sliding window": _windows(config),
        f"the activation {config.hidden_act}": config.hidden_act != "silu",
        "biases in its feed-forward layers": bool(getattr(config, "mlp_bias", False)),
    }
    if found := [what for what, there in faults.items() if there]:
        raise ModelError(f"it has {' and '.join(found)}, which is not written: export it as a folder")


def _windows(config: PretrainedConfig) -> bool:
    return any(kind != "full_attention" for kind in getattr(config, "layer_types", None) or ())


def write(model: PreTrainedModel, words: Vocabulary, ends: list[int], path: Path, kind: Kind, name: str) -> None:
    """Write the file: settings, vocabulary, tensors."""
    config, architecture = model.config, ARCHITECTURES[model.config.model_type]
    writer = GGUFWriter(path, architecture.name.lower())
    writer.add_name(name)
    writer.add_file_type(KINDS[kind][1])
    writer.add_quantization_version(2)
    _add_settings(writer, config)
    _add_words(writer, words, ends)
    names = get_tensor_name_map(architecture, config.num_hidden_layers)
    for place, tensor in plain_tensors(model, True):
        if place == "lm_head.weight" and config.tie_word_embeddings:
            continue
        called = names.get_name(place, try_suffixes=(".weight", ".bias"))
        if called is None:
            raise ModelError(f"llama.cpp has no name for the tensor {place}: export the model as a folder")
        array = _in_pairs(place, tensor, config).float().contiguous().numpy()
        stored = _type_of(array, kind)
        writer.add_tensor(called, quantize(array, stored), raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_settings(writer: GGUFWriter, config: PretrainedConfig) -> None:
    head = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head)
    writer.add_value_length(head)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)


def _add_words(writer: GGUFWriter, words: Vocabulary, ends: list[int]) -> None:
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(words.cut)
    writer.add_token_list(words.tokens)
    writer.add_token_types(words.kinds)
    writer.add_token_merges(words.merges)
    adders = {"bos": writer.add_bos_token_id, "pad": writer.add_pad_token_id, "unk": writer.add_unk_token_id}
    for name, add in adders.items():
        if name in words.special:
            add(words.special[name])
    # A file has room for one token that ends a text and one that ends a turn.
    end = words.special.get("eos", ends[0])
    writer.add_eos_token_id(end)
    if others := [token for token in ends if token != end]:
        writer.add_eot_token_id(others[0])
    writer.add_add_bos_token(words.begins)
    if words.template is not None:
        writer.add_chat_template(words.template)


def _in_pairs(place: str, tensor: torch.Tensor, config: PretrainedConfig) -> torch.Tensor:
    """Rows of a head's queries and keys in the order that llama.cpp turns them in: in its form of this architecture
    coordinate 2i goes with 2i + 1, in transformers' i with i + half a head."""
    if config.model_type != "llama" or not (".q_proj." in place or ".k_proj." in place):
        return tensor
    heads = config.num_attention_heads if ".q_proj." in place else config.num_key_value_heads
    halves = tensor.reshape(heads, 2, -1, *tensor.shape[1:])
    return halves.transpose(1, 2).reshape(tensor.shape)


def _type_of(array: NDArray[np.float32], kind: Kind) -> GGMLQuantizationType:
    """Vectors stay whole; a matrix whose rows are no whole number of blocks is rounded to float16."""
    if array.ndim == 1:
        return GGMLQuantizationType.F32
    wanted = KINDS[kind][0]
    return wanted if array.shape[-1] % GGML_QUANT_SIZES[wanted][0] == 0 else GGMLQuantizationType.F16


@torch.no_grad()
def check(loaded: Loaded, config: PretrainedConfig, path: Path, share: float) -> float:
    """Read a file back and compare: settings, tokens, what ends a turn, the chat template, logits. Gives the largest
    difference of the last. Raises ModelError for the first thing that is another one."""
    again = load_model(str(path))
    for what, wanted, got in _told(loaded, config, again):
        if wanted != got:
            raise ModelError(
                f"the GGUF file gives another {what} ({got!r:.200} and not {wanted!r:.200}): it was not kept"
            )
    worst = largest = 0.0
    for probe in PROBES:
        ids = torch.tensor([loaded.tokenizer.encode(probe)])
        wanted = loaded.model(input_ids=ids).logits.float()
        worst = max(worst, float((again.model(input_ids=ids).logits.float() - wanted).abs().max()))
        largest = max(largest, float(wanted.abs().max()))
    if not worst <= share * largest:
        raise ModelError(f"the GGUF file gives logits off by {worst:.3g} (largest {largest:.3g}): it was not kept")
    return worst


def _told(loaded: Loaded, config: PretrainedConfig, again: Loaded) -> Iterator[tuple[str, Any, Any]]:
    """What is compared, what it is in the model, and what it is in the file."""
    found = again.model.config
    for name in HELD:
        yield name, _rounded(getattr(config, name)), _rounded(getattr(found, name))
    yield (
        "base of its positions",
        _rounded(config.rope_parameters["rope_theta"]),
        _rounded(found.rope_parameters["rope_theta"]),
    )
    for probe in (*PROBES, "  In 2024: 3,141.59 + 27 = ?\n\n\tdéjà vu, 日本語 🙂 — it's 'fine'"):
        yield "token", loaded.tokenizer.encode(probe), again.tokenizer.encode(probe)
    for name in ("bos_token", "eos_token"):
        yield name, getattr(loaded.tokenizer, name), getattr(again.tokenizer, name)
    yield "chat template", loaded.tokenizer.chat_template, again.tokenizer.chat_template


def _rounded(value: Any) -> Any:
    """Numbers with a point are kept in four bytes."""
    return float(np.float32(value)) if isinstance(value, float) else value
