"""What a model of somebody else may claim: its configuration, weights and tokenizer, checked by arithmetic alone.

A file of a hundred bytes can ask for all memory of a machine. Everything here reads a few numbers and refuses before
anything is built from them; it loads no model.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from togi.memory import memory_limit
from togi.models.gguf_header import read_header
from togi.models.weight_files import ModelError, weight_files

LARGEST_HEADER = 100 << 20
"""Bytes of a safetensors header, as the format itself allows."""

LARGEST_TEXT = 256 << 20
"""Bytes of a tokenizer's or configuration's file; the largest vocabularies take some 35 MB."""

MOST_ADDED = 20_000
"""Tokens added to a vocabulary: reading them takes quadratic time."""

MOST = 10**13  # numbers of a model whose weights are not known yet
HIGHEST_RANK = 10_000  # of an adapter
MOST_NAMES = 1000  # layers that an adapter names
_LAYER = re.compile(r"[A-Za-z0-9_.-]{1,200}")

# What a configuration multiplies to sizes; one number each, 1 or more.
_SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
    "intermediate_size", "head_dim", "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "n_inner",
    "d_model", "n_layers", "n_heads", "state_size", "sliding_window",
)  # fmt: skip
_WIDTH, _LAYERS = ("hidden_size", "n_embd", "d_model"), ("num_hidden_layers", "n_layer", "n_layers")
_GGUF = {"embedding_length": "hidden_size", "block_count": "num_hidden_layers", "feed_forward_length":
         "intermediate_size", "attention.head_count": "num_attention_heads", "attention.head_count_kv":
         "num_key_value_heads", "context_length": "max_position_embeddings", "vocab_size": "vocab_size",
         "attention.key_length": "head_dim"}  # fmt: skip
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I64": 64, "I32": 32, "I16": 16,
         "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8}  # fmt: skip


def check_model(folder: Path) -> None:
    """Raises ModelError when configuration, weights and tokenizer of a folder cannot belong to one sound model."""
    shapes = [shape for file in weight_files(folder) for shape in _shapes(file)]
    numbers = sum(map(math.prod, shapes))
    check_texts(folder, len(shapes), numbers)
    check_memory(numbers, str(folder))


def check_listing(shown: str, sizes: Mapping[str, int]) -> None:
    """Raises ModelError for files of these sizes, by name, that are not to be fetched."""
    for name, size in sizes.items():
        if not name.endswith(".safetensors") and size > LARGEST_TEXT:
            raise _too_long(f"{name} of {shown}", size)
    check_memory(sum(size for name, size in sizes.items() if name.endswith(".safetensors")) // 2, shown)


def check_texts(folder: Path, tensors: int = MOST, numbers: int = MOST) -> None:
    """Raises ModelError when a configuration asks for more than so many tensors and numbers, or a tokenizer would be
    read for minutes."""
    config = _json(folder / "config.json")
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'} is no configuration: an object was wanted")
    if config.get("is_encoder_decoder") is True:
        raise ModelError(
            f"{folder} is an encoder-decoder model ({str(config.get('model_type'))[:80]}), which reads and writes "
            "with two networks: take a decoder-only one, such as Llama, Qwen, Gemma, Mistral or SmolLM"
        )
    inner = config.get("text_config")
    for table in (config, inner if isinstance(inner, dict) else {}):
        _check_sizes(table, tensors, numbers, folder / "config.json")
    check_tokenizer(folder)


def check_gguf(path: Path) -> None:
    """Raises ModelError when the settings and weights of a GGUF file cannot belong to one sound model."""
    header = read_header(path)
    kind = f"{header.settings.get('general.architecture', '')}."
    config = {
        _GGUF[name.removeprefix(kind)]: value
        for name, value in header.settings.items()
        if name.startswith(kind) and name.removeprefix(kind) in _GGUF
    }
    if tokens := header.lists.get("tokenizer.ggml.tokens"):
        config.setdefault("vocab_size", tokens)
    numbers = sum(map(math.prod, header.shapes))
    _check_sizes(config, len(header.shapes), numbers, path)
    check_memory(numbers, str(path))


def check_memory(numbers: int, shown: str) -> None:
    """Raises ModelError for so many weights that two bytes each are more than this machine has."""
    memory = memory_limit()
    if 2 * numbers > memory:
        raise ModelError(
            f"{shown} has {numbers / 1e9:,.1f} billion weights, which take {2 * numbers / 1e9:,.0f} GB or more, and "
            f"this machine has {memory / 1e9:,.0f} GB: take a smaller model"
        )


def check_adapter(folder: Path) -> dict[str, Any]:
    """The configuration of an adapter's folder. Raises ModelError for one that is no LoRA adapter, or none of the
    weights beside it."""
    path, weights = folder / "adapter_config.json", folder / "adapter_model.safetensors"
    config = _json(path)
    if not isinstance(config, dict):
        raise ModelError(f"{path} is no configuration: an object was wanted")
    if config.get("peft_type") != "LORA":
        raise ModelError(f"{folder} is an adapter of type {str(config.get('peft_type'))[:80]}, only LORA is read")
    missing = [key for key in ("r", "lora_alpha", "base_model_name_or_path") if not config.get(key)]
    if missing:
        raise ModelError(f"{path} lacks {', '.join(missing)}")
    if not isinstance(config["base_model_name_or_path"], str):
        raise ModelError(f"{path}: base_model_name_or_path is no text")
    ranks = _table(config, "rank_pattern", path)
    for name, rank in (("r", config["r"]), *(("rank_pattern", rank) for rank in ranks.values())):
        if isinstance(rank, bool) or not isinstance(rank, int) or not 1 <= rank <= HIGHEST_RANK:
            raise ModelError(f"{path}: {name} is no sound rank: a whole number from 1 to {HIGHEST_RANK:,} was wanted")
    scales = _table(config, "alpha_pattern", path)
    for name, scale in (("lora_alpha", config["lora_alpha"]), *(("alpha_pattern", each) for each in scales.values())):
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 0 < scale < 1e9:
            raise ModelError(f"{path}: {name} is no sound scale: a number above 0 was wanted")
    for name in (
        "target_modules",
        "target_parameters",
        "exclude_modules",
        "modules_to_save",
        "layers_to_transform",
        "layers_pattern",
    ):
        _check_names(config.get(name), name, path)
    if not weights.is_file():
        raise ModelError(f"{folder} has no {weights.name} (pickled adapters are not read)")
    shapes = list(_shapes(weights))
    widest = max((max(shape, default=0) for shape in shapes), default=0)
    if max([config["r"], *ranks.values()]) > widest:
        raise ModelError(f"{path}: rank {config['r']:,}, but no tensor of {weights.name} is so large; they mismatch")
    check_memory(sum(map(math.prod, shapes)), str(folder))
    return config


def _table(config: Mapping[str, Any], name: str, path: Path) -> dict[str, Any]:
    """A table of layers' names, which peft takes for patterns; few, so that they are matched soon."""
    value = config.get(name) or {}
    if not isinstance(value, dict):
        raise ModelError(f"{path}: {name} is no table")
    _check_names(list(value), name, path)
    return value


def _check_names(value: Any, name: str, path: Path) -> None:
    """Refuse lists without end, and patterns: a regular expression can be matched for ever."""
    names = [value] if isinstance(value, str | int) else [] if value is None else value
    if not isinstance(names, list) or len(names) > MOST_NAMES:
        raise ModelError(f"{path}: {name} is no list of at most {MOST_NAMES:,} names")
    for each in names:
        if not isinstance(each, int) and not (isinstance(each, str) and _LAYER.fullmatch(each)):
            raise ModelError(
                f"{path}: {name} holds {repr(each)[:80]}, which is no layer's name; patterns are not read: "
                "write the names as a list"
            )


def check_tokenizer(folder: Path) -> None:
    """Raises ModelError for a tokenizer that would be read for minutes."""
    files = {"tokenizer.json": "added_tokens", "tokenizer_config.json": "added_tokens_decoder", "added_tokens.json": ""}
    for name, key in files.items():
        table = _json(folder / name)
        added = table.get(key) if key and isinstance(table, dict) else table
        if isinstance(added, list | dict) and len(added) > MOST_ADDED:
            raise ModelError(
                f"{folder / name} adds {len(added):,} tokens to its vocabulary; at most {MOST_ADDED:,} are read"
            )


def _check_sizes(config: Mapping[str, Any], tensors: int, numbers: int, path: Path) -> None:
    found: dict[str, int] = {}
    for name in _SIZES:
        value = config.get(name)
        if value is None or isinstance(value, list):  # left out, or one a layer
            continue
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value < 2**31:
            raise ModelError(f"{path}: {name} is no sound size: a whole number from 1 to {2**31 - 1:,} was wanted")
        found[name] = value
    layers = max((found[name] for name in _LAYERS if name in found), default=0)
    if layers > tensors:
        raise ModelError(f"{path}: {layers:,} layers, but the weights have only {tensors:,} tensors; they mismatch")
    width = max((found[name] for name in _WIDTH if name in found), default=0)
    for name in ("vocab_size", "intermediate_size", "n_inner"):
        if width * found.get(name, 0) > numbers:
            raise ModelError(
                f"{path}: {name} {found[name]:,} times a width of {width:,} is more than all {numbers:,} weights; "
                "they mismatch"
            )
    heads, kept = found.get("num_attention_heads", 1), found.get("head_dim", 1)
    if heads > numbers or heads * kept * max(width, 1) > numbers:
        raise ModelError(f"{path}: {heads:,} heads of {kept:,} are more than all {numbers:,} weights; they mismatch")


def _shapes(file: Path) -> Iterator[list[int]]:
    """The shape of every tensor of a safetensors file, once its header is known to describe the file."""
    size = file.stat().st_size
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        if not 2 <= length <= min(size - 8, LARGEST_HEADER):
            raise _damaged(file, "no sound header")
        header = _parsed(opened.read(length), file)
    for name, tensor in header.items() if isinstance(header, dict) else ():
        if name == "__metadata__":
            continue
        if not isinstance(tensor, dict) or not _fits(tensor, size - 8 - length):
            raise _damaged(file, f"the shape of {name[:80]} does not fit the file")
        yield tensor["shape"]


def _fits(tensor: Mapping[str, Any], size: int) -> bool:
    """Whether a tensor's shape and place agree, and lie within ``size`` bytes."""
    shape, ends, bits = tensor.get("shape"), tensor.get("data_offsets"), _BITS.get(str(tensor.get("dtype")))
    if not _counts(shape) or not _counts(ends) or len(ends) != 2 or not ends[0] <= ends[1] <= size:
        return False
    return bits is None or math.prod(shape) * bits == 8 * (ends[1] - ends[0])


def _damaged(file: Path, what: str) -> ModelError:
    return ModelError(f"the weights of {file.parent} are damaged ({file.name}: {what}): fetch or save them again")


def _counts(value: Any) -> TypeGuard[list[int]]:
    return (
        isinstance(value, list)
        and len(value) <= 16
        and all(isinstance(each, int) and not isinstance(each, bool) and 0 <= each < 2**63 for each in value)
    )


def _json(path: Path) -> Any:
    """What a JSON file holds, None where there is none."""
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST_TEXT:
        raise _too_long(str(path), path.stat().st_size)
    return _parsed(path.read_bytes(), path)


def _too_long(shown: str, size: int) -> ModelError:
    return ModelError(f"{shown} has {size >> 20:,} MB; at most {LARGEST_TEXT >> 20} are read")


def _parsed(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: it holds no sound JSON") from error
