"""All weights of a model in one file, for programs that have its configuration already. It knows no
adapter and no run."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn

from togi.models.weight_files import ModelError


def write_whole(model: nn.Module, file: Path) -> None:
    """Write the model's tensors as they are, those that are tied once; the file appears whole or not at all. Raises
    ModelError where the disk is full."""
    tensors: dict[str, torch.Tensor] = {}
    held: set[tuple[int, torch.Size]] = set()
    for name, tensor in model.state_dict().items():
        same = tensor.data_ptr(), tensor.shape
        if same not in held:
            tensors[name] = tensor.detach().to("cpu").contiguous()
            held.add(same)
    part = file.with_suffix(".part")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, part, metadata={"format": "pt"})
        part.replace(file)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):
            part.unlink()
        raise ModelError(f"the weights could not be written to {file}: {error}") from error
