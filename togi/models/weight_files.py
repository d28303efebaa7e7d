"""The files of a model: which hold its weights, and their hashes. It loads no model.

Only formats that hold nothing but numbers are taken: a pickle can run code when it is opened.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from togi.file_sha256 import file_sha256

AT_CLUSTER = "cluster.json"  # in the place of weights: what they are called at a cluster
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl")


class ModelError(ValueError):
    """A model that cannot be had: what was asked for, what is wrong with it, what to do."""


def weight_files(path: Path) -> list[Path]:
    """The safetensors files of a folder, sorted by name. Raises ModelError when there are none, or one is no file."""
    found = sorted(path.glob("*.safetensors"))
    if odd := [file for file in found if not file.is_file()]:
        raise ModelError(f"{odd[0]} is no file: put the weights themselves there")
    if found:
        return found
    if (path / AT_CLUSTER).is_file():
        raise ModelError(
            f"the weights of {path} are at a cluster, and {path / AT_CLUSTER} says what they are called there: fetch "
            "them with `tinker checkpoint download`, and load the folder that it writes"
        )
    pickled = sorted(file.name for pattern in PICKLES for file in path.glob(pattern))
    if pickled:
        raise ModelError(
            f"{path} holds its weights as a pickle ({pickled[0]}), which can run code when opened; "
            "only safetensors are read: have the model's owner save it with save_pretrained"
        )
    raise ModelError(f"{path} holds no *.safetensors weights")


def digest(files: Sequence[Path]) -> str:
    """SHA-256 of one file, or of the names and hashes of several: the same on every machine, whatever the dtype."""
    hashes = [(file.name, file_sha256(file)) for file in files]
    if len(hashes) == 1:
        return hashes[0][1]
    return hashlib.sha256("".join(f"{name} {value}\n" for name, value in hashes).encode()).hexdigest()
