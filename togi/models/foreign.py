"""What a model of somebody else may claim: its configuration, weights and tokenizer, checked by arithmetic alone.

A file of a hundred bytes can ask for all memory of a machine. Everything here reads a few numbers and refuses before
anything is built from them; it loads no model.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeGuard

from togi.models.files import ModelError, weight_files

LARGEST_HEADER = 100 << 20
"""Bytes of a safetensors header, as the format itself allows."""

LARGEST_TEXT = 256 << 20
"""Bytes of a tokenizer's or configuration's file; the largest vocabularies take some 35 MB."""

MOST_ADDED = 20_000
"""Tokens added to a vocabulary: reading them takes quadratic time."""

# What a configuration multiplies to sizes; one number each, 1 or more.
_SIZES = (
    "hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "vocab_size",
    "intermediate_size", "head_dim", "max_position_embeddings", "n_embd", "n_layer", "n_head", "n_positions", "n_inner",
    "d_model", "n_layers", "n_heads", "state_size", "sliding_window",
)  # fmt: skip
_WIDTH, _LAYERS = ("hidden_size", "n_embd", "d_model"), ("num_hidden_layers", "n_layer", "n_layers")
_BITS = {"F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "I64": 64, "I32": 32, "I16": 16,
         "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8}  # fmt: skip


def check_model(folder: Path) -> None:
    """Raises ModelError when configuration, weights and tokenizer of a folder cannot belong to one sound model."""
    shapes = [shape for file in weight_files(folder) for shape in _shapes(file)]
    numbers = sum(map(math.prod, shapes))
    config = _json(folder / "config.json")
    if not isinstance(config, dict):
        raise ModelError(f"{folder / 'config.json'} is no configuration: an object was wanted")
    inner = config.get("text_config")
    for table in (config, inner if isinstance(inner, dict) else {}):
        _check_sizes(table, len(shapes), numbers, folder / "config.json")
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if 2 * numbers > memory:
        raise ModelError(
            f"{folder} has {numbers / 1e9:,.1f} billion weights, which take {2 * numbers / 1e9:,.0f} GB or more, and "
            f"this machine has {memory / 1e9:,.0f} GB: take a smaller model"
        )
    check_tokenizer(folder)


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
        raise ModelError(f"{path} has {path.stat().st_size >> 20:,} MB; at most {LARGEST_TEXT >> 20} are read")
    return _parsed(path.read_bytes(), path)


def _parsed(text: bytes, path: Path) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{path} cannot be read: it holds no sound JSON") from error
