"""Models that a function of the user makes new: random weights of a configuration, and a tokenizer beside them. It
knows no file of weights."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from togi.find_function import resolve
from togi.models.weight_files import ModelError

Made = tuple[PreTrainedModel, PreTrainedTokenizerBase]


def made_model(source: str, seed: int) -> tuple[PreTrainedModel, PreTrainedTokenizerBase, str]:
    """What the function ``file.py:function`` gives while torch draws from ``seed``, and a SHA-256 of the weights.
    Raises ModelError for what it raises, and where it gives no model."""
    try:
        make = resolve(source, Path())
    except ValueError as error:
        raise ModelError(str(error)) from error
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            made = make()
        except Exception as error:
            # The boundary to the user's code.
            raise ModelError(f"{source} made no model: {type(error).__name__}: {error}") from error
    model, tokenizer = _checked(source, made)
    return model, tokenizer, _digest(model)


def _checked(source: str, made: object) -> Made:
    match made:
        case (PreTrainedModel() as model, PreTrainedTokenizerBase() as tokenizer):
            return model, tokenizer
    got = ", ".join(type(each).__name__ for each in made) if isinstance(made, tuple) else type(made).__name__
    raise ModelError(
        f"{source} gave {got or 'nothing'}, wanted a model and a tokenizer of transformers: (model, tokenizer)"
    )


def _digest(model: PreTrainedModel) -> str:
    found = sha256()
    for name, weight in sorted(model.state_dict().items()):
        found.update(f"{name} {weight.dtype} {list(weight.shape)}\n".encode())
        found.update(weight.contiguous().view(torch.uint8).numpy().tobytes() if weight.numel() else b"")
    return found.hexdigest()
