"""Reads a safetensors folder or a GGUF file to a model and its tokenizer. It knows no source but a local path."""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr
from pathlib import Path
from typing import Any

import torch
from gguf import GGUFReader
from gguf.constants import GGML_QUANT_SIZES, GGMLQuantizationType
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GenerationConfig,
    GgufConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from togi.models.weight_files import ModelError, weight_files

_EMBEDDING, _PROJECTION = "token_embd.weight", "output.weight"  # as GGUF names them
# A type of b bits a number rounds a matrix by at most about 3 / 2^b of its norm: Q4_0 by 0.09, Q8_0 by 0.005.
_ROUNDING = 3
_ROWS = 4096  # compared at a time


def read_folder(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a folder in transformers' layout.

    Raises ModelError when weights are missing, pickled, damaged, incomplete, or not of the tokenizer's size.
    """
    weight_files(path)
    if not (path / "config.json").is_file():
        raise ModelError(f"{path} has weights but no config.json: it is not a folder that transformers can load")
    return _read(path, dtype, {}, str(path))


def read_gguf(path: Path, dtype: torch.dtype) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Model and tokenizer of a GGUF file, every weight unpacked to ``dtype``. Raises ModelError as read_folder."""
    if not path.is_file():
        raise ModelError(f"there is no file {path}")
    # The unpacking draws a progress bar of its own that no switch of transformers reaches.
    with redirect_stderr(io.StringIO()):
        model, tokenizer = _read(path.parent, dtype, {"gguf_file": path.name}, str(path))
    _tie(model, path)
    return model, tokenizer


def read_shape(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """A folder's tokenizer, and its model without weights, on torch's ``meta`` device. Raises ModelError."""
    tokenizer = _tokenizer(path, {}, str(path))
    with quiet(), torch.device("meta"):
        try:
            config = AutoConfig.from_pretrained(path, trust_remote_code=False, local_files_only=True)
            model: PreTrainedModel = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
            if (path / "generation_config.json").is_file():
                model.generation_config = GenerationConfig.from_pretrained(path, local_files_only=True)
        except Exception as error:  # the boundary to foreign files
            raise ModelError(f"the configuration of {path} cannot be read: {_first_line(error)}") from error
    return model.requires_grad_(False), tokenizer


def read_tokenizer(path: Path) -> tuple[PreTrainedTokenizerBase, int | None]:
    """Of a folder or a GGUF file the tokenizer alone, and the most tokens that its model sees, where it says so. Raises
    ModelError."""
    folder, gguf = (path.parent, {"gguf_file": path.name}) if path.suffix == ".gguf" else (path, {})
    tokenizer = _tokenizer(folder, gguf, str(path))
    with quiet():
        try:
            config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **gguf)
        except Exception as error:  # the boundary to foreign files
            raise ModelError(f"the configuration of {path} cannot be read: {_first_line(error)}") from error
    return tokenizer, getattr(config.get_text_config(), "max_position_embeddings", None)


def _tokenizer(folder: Path, gguf: dict[str, Any], shown: str) -> PreTrainedTokenizerBase:
    with quiet():
        try:
            read = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **gguf)
        except Exception as error:  # the boundary to foreign files
            raise ModelError(f"the tokenizer of {shown} cannot be read: {_first_line(error)}") from error
    tokenizer: PreTrainedTokenizerBase = read
    if gguf and _splits_digits(folder / gguf["gguf_file"]):
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return tokenizer


def _tie(model: PreTrainedModel, path: Path) -> None:
    """Make one matrix of embedding and vocabulary projection where the file holds the same one twice.

    Files of models that read and write words with one matrix often have it once for each, rounded to different types.
    The finer one is kept. Two that differ by more than these types round were learned apart.
    """
    stored = {tensor.name: tensor.tensor_type for tensor in GGUFReader(path).tensors}
    read, written = model.get_input_embeddings(), model.get_output_embeddings()
    if _EMBEDDING not in stored or _PROJECTION not in stored or read.weight.shape != written.weight.shape:
        return
    rounding = {name: _ROUNDING * 2.0 ** -_bits(stored[name]) for name in (_EMBEDDING, _PROJECTION)}
    with torch.no_grad():
        pairs = zip(read.weight.split(_ROWS), written.weight.split(_ROWS), strict=True)
        apart, size = torch.tensor([(float((a - b).norm()), float(b.norm())) for a, b in pairs]).norm(dim=0)
    if apart > sum(rounding.values()) * size:
        return
    finer = read if rounding[_EMBEDDING] < rounding[_PROJECTION] else written
    read.weight = written.weight = finer.weight
    model.config.get_text_config().tie_word_embeddings = model.config.tie_word_embeddings = True
    model.all_tied_weights_keys = model.get_expanded_tied_weights_keys(all_submodels=True)


def _bits(kind: GGMLQuantizationType) -> float:
    """Bits that a number of this type takes."""
    numbers, size = GGML_QUANT_SIZES[kind]
    return 8.0 * int(size) / int(numbers)


def _splits_digits(path: Path) -> bool:
    """Whether the vocabulary was learned with digits cut apart before anything else; transformers reads only some of
    the names for how text is cut, and cuts the others as GPT-2 did."""
    field = GGUFReader(path).get_field("tokenizer.ggml.pre")
    return field is not None and field.contents() == "smollm"


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the libraries' progress bars and notices, which name their internals and nothing a user could change."""
    verbosity = transformers_logging.get_verbosity()
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.set_verbosity(transformers_logging.CRITICAL)
    transformers_logging.disable_progress_bar()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        transformers_logging.set_verbosity(verbosity)
        if bars:
            transformers_logging.enable_progress_bar()


def _read(
    folder: Path, dtype: torch.dtype, gguf: dict[str, Any], shown: str
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    unpack = {"quantization_config": GgufConfig(dequantize=True)} if gguf else {}
    tokenizer = _tokenizer(folder, gguf, shown)
    # The boundary to foreign files: parsers raise anything from KeyError to struct.error on damaged ones.
    with quiet():
        try:
            model, report = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=dtype,
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=True,
                output_loading_info=True,
                **gguf,
                **unpack,
            )
        except SafetensorError as error:
            raise ModelError(f"the weights of {shown} are damaged ({error}): fetch or save them again") from error
        except Exception as error:
            raise ModelError(f"the model {shown} cannot be loaded: {_first_line(error)}") from error
    if report["missing_keys"]:
        # transformers would fill these with random numbers and go on.
        missing = sorted(report["missing_keys"])
        raise ModelError(f"{shown} lacks {len(missing)} of the model's tensors, first {missing[0]}: it is incomplete")
    rows = model.get_input_embeddings().weight.shape[0]
    highest = max(tokenizer.get_vocab().values())
    if highest >= rows:
        raise ModelError(f"{shown}: the tokenizer has token {highest}, the model only {rows} embeddings; they mismatch")
    return model, tokenizer


def _first_line(error: Exception) -> str:
    text = str(error).strip()
    return f"{type(error).__name__}: {text.splitlines()[0]}" if text else type(error).__name__
