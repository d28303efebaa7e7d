"""The native engine as the program of an engine process: what it is started with. It starts nothing."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from togi.engines.native_server import KEY
from togi.models.load_model import Loaded
from togi.models.save_model import save_model


class NativeProgram:
    """Draws from a model that is written to ``folder``. ``count`` processes share the processor, and the accelerators
    where there are any."""

    model = "start"
    begins_within = 600.0

    def __init__(self, loaded: Loaded, folder: Path, *, count: int, batch_size: int) -> None:
        self._folder, self._count, self._batch_size = folder, count, batch_size
        self._dtype, self._device = str(loaded.model.dtype).removeprefix("torch."), loaded.model.device
        save_model(loaded.model, loaded.tokenizer, folder)

    def command(self, number: int, host: str, port: int) -> Sequence[str]:
        options = {
            "--name": self.model,
            "--host": host,
            "--port": port,
            "--dtype": self._dtype,
            "--device": self._place(number),
            "--batch-size": self._batch_size,
            "--threads": max(1, torch.get_num_threads() // self._count),
        }
        given = [str(each) for option in options.items() for each in option]
        return [sys.executable, "-P", "-m", "togi.engines.native_server", str(self._folder.resolve()), *given]

    def variables(self, key: str) -> Mapping[str, str]:
        return {KEY: key}

    def _place(self, number: int) -> str:
        """The accelerators in turn, from the one after the learner's own."""
        kind, own = self._device.type, self._device.index or 0
        there = torch.cuda.device_count() if kind == "cuda" else 1
        return f"{kind}:{(own + number) % there}" if there > 1 else str(self._device)
