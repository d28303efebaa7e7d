"""All weights of a model in one file of the safetensors format, for programs that have its configuration already, and
that file's SHA-256. It knows no adapter and no run.

The file is written here, and not by the package, so that it is hashed while it is written, without a second copy of the
weights in memory, and so that what a disk spoils does not pass for what was meant.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import torch
from torch import nn

from togi.models.weight_files import ModelError

_KINDS = {
    torch.float64: "F64",
    torch.float32: "F32",
    torch.float16: "F16",
    torch.bfloat16: "BF16",
    torch.int64: "I64",
    torch.int32: "I32",
    torch.int16: "I16",
    torch.int8: "I8",
    torch.uint8: "U8",
    torch.bool: "BOOL",
}
_ALIGNED = 8  # bytes that the header is a multiple of


def write_whole(model: nn.Module, file: Path) -> str:
    """Write the model's tensors as they are, those that are tied once; the file appears whole or not at all. Gives the
    SHA-256 of what was to be written. Raises ModelError where the disk is full, or a tensor's type is not known."""
    part, found = file.with_suffix(".part"), hashlib.sha256()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb", buffering=0) as opened, ThreadPoolExecutor(1) as beside:
            for piece in _pieces(model):
                hashed = beside.submit(found.update, piece)
                while piece:  # a file without a buffer may take less than it is given
                    piece = piece[opened.write(piece) :]
                hashed.result()
        part.replace(file)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise ModelError(f"the weights could not be written to {file}: {error}") from error
    return found.hexdigest()


def whole_sha256(model: nn.Module) -> str:
    """The SHA-256 of the file that ``write_whole`` makes of the model as it is."""
    found = hashlib.sha256()
    for piece in _pieces(model):
        found.update(piece)
    return found.hexdigest()


def _pieces(model: nn.Module) -> Iterator[memoryview]:
    """The bytes of the file: the header's length, the header, and each tensor; those of large numbers come first, so
    that each lies at a multiple of its numbers' size."""
    tensors: dict[str, torch.Tensor] = {}
    held: set[tuple[int, torch.Size]] = set()
    for name, tensor in model.state_dict().items():
        same = tensor.data_ptr(), tensor.shape
        if same not in held:
            tensors[name] = tensor.detach()
            held.add(same)
    tensors = dict(sorted(tensors.items(), key=lambda each: (-each[1].element_size(), each[0])))
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, tensor in tensors.items():
        if tensor.dtype not in _KINDS:
            raise ModelError(f"{name} holds {tensor.dtype}, which no file of weights is written with")
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _KINDS[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    said = json.dumps(header, separators=(",", ":")).encode()
    said += b" " * (-len(said) % _ALIGNED)
    yield memoryview(len(said).to_bytes(8, "little") + said)
    for tensor in tensors.values():
        if tensor.numel():
            yield tensor.to("cpu").contiguous().reshape(-1).view(torch.uint8).numpy().data
