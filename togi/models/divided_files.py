"""Checkpoints of weights that are divided, and of those that were: torch.distributed.checkpoint over safetensors files.

Every process writes its shares into a file of its own, and reads of all files the parts that it needs, whoever wrote
them and however many there were: also what one process wrote by itself. It knows tensors by name, not what they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.planner import SavePlan
from torch.distributed.checkpoint.state_dict_loader import load
from torch.distributed.checkpoint.state_dict_saver import save
from torch.distributed.tensor import DTensor

from togi.models.optimiser import Trained
from togi.models.shares import like


class _Writer(HuggingFaceStorageWriter):
    """Writes the file of one process. Each knows its own part: nothing has to be agreed on with the others."""

    def __init__(self, folder: Path, rank: int) -> None:
        super().__init__(str(folder), save_distributed=True)
        self._rank = rank

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        return [replace(plan, storage_data={"shard_index": self._rank + 1}) for plan in plans]


def named(parts: Sequence[Trained]) -> dict[str, Tensor]:
    """Masters and moments by the names that they have in files, divided as the parameters are."""
    tensors: dict[str, Tensor] = {}
    for part in parts:
        for name, p in part.master.items():
            of = part.divided.get(name)
            tensors[name] = p.detach() if of is None else of.detach()
            for key, moment in part.adam.state[p].items():
                # How many steps were taken is one number, and not divided.
                tensors[f"{key}/{name}"] = moment if of is None or not moment.ndim else like(moment, of)
    return tensors


def save_divided(tensors: Mapping[str, Tensor], folder: Path, rank: int) -> None:
    """Write this process's shares; what every process has whole is written by the first."""
    own = {name: x for name, x in tensors.items() if rank == 0 or isinstance(x, DTensor)}
    with _no_talk():
        save(own, storage_writer=_Writer(folder, rank), no_dist=True)


def load_divided(tensors: Mapping[str, Tensor], folder: Path) -> None:
    """Fill tensors with what files of any division hold. Raises ValueError where they hold others."""
    reader = HuggingFaceStorageReader(str(folder))
    held = reader.read_metadata().state_dict_metadata.keys()
    if different := sorted(held ^ tensors.keys()):
        raise ValueError(f"{folder} holds other parameters than this model, for example {different[0]}")
    with _no_talk():
        load(dict(tensors), storage_reader=reader, no_dist=True)


@contextmanager
def _no_talk() -> Iterator[None]:
    """Without the warning that processes do not talk with each other, which is meant."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield
