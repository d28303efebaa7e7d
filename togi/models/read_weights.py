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
from safetensors import SafetensorError
from tokenizers import pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig, PreTrainedModel, PreTrainedTokenizerBase
from transformers.utils import logging as transformers_logging

from togi.models.weight_files import ModelError, weight_files


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
    if _splits_digits(path):
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    return model, tokenizer


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
    # The boundary to foreign files: parsers raise anything from KeyError to struct.error on damaged ones.
    with quiet():
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, local_files_only=True, **gguf)
        except Exception as error:
            raise ModelError(f"the tokenizer of {shown} cannot be read: {_first_line(error)}") from error
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
