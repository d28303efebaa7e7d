"""Takes the weights that another process wrote into a model that stands. It knows no version and nobody who wrote."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import nn

from togi.file_sha256 import file_sha256
from togi.models.weight_files import ModelError

ADAPTER = "adapter_model.safetensors"


def check_file(file: Path, sha256: str) -> None:
    """Raises ModelError for a file that is not as it was written."""
    try:
        got = file_sha256(file)
    except OSError as error:
        raise ModelError(f"{file} cannot be read: {error}") from None
    if got != sha256:
        raise ModelError(f"{file} is not as it was written: its SHA-256 is {got[:16]}, wanted {sha256[:16]}")


@torch.no_grad()
def take_whole(model: nn.Module, file: Path) -> None:
    """Every weight of a model from one file, in which tied weights are once. Nothing is changed unless all of them fit.
    Raises ModelError."""
    own = model.state_dict()
    tied = {name: (tensor.data_ptr(), tensor.shape) for name, tensor in own.items()}
    try:
        with safe_open(file, framework="pt") as weights:
            names = weights.keys()
            there = {tied[name] for name in names if name in own}
            odd = [name for name in names if name not in own] + [name for name in own if tied[name] not in there]
            odd += [name for name in names if name in own and weights.get_slice(name).get_shape() != [*own[name].shape]]
            if odd:
                raise ModelError(f"{file} does not hold the weights of this model: see {', '.join(sorted(odd)[:3])}")
            for name in names:
                own[name].copy_(weights.get_tensor(name))
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{file} cannot be read: {error}") from None


@torch.no_grad()
def take_adapter(model: nn.Module, folder: Path) -> None:
    """The adapter in a folder, into that of a model that has one. Raises ModelError."""
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    try:
        given = load_file(folder / ADAPTER)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"the adapter in {folder} cannot be read: {error}") from None
    own = get_peft_model_state_dict(model, save_embedding_layers=False)
    odd = [name for name in {*own, *given} if name not in own or name not in given]
    odd += [name for name in own if name in given and own[name].shape != given[name].shape]
    if odd:
        raise ModelError(f"the adapter in {folder} is not one of this model: see {', '.join(sorted(odd)[:3])}")
    set_peft_model_state_dict(model, given)
