"""Engines in processes of their own, for whatever models a run draws from, one after another. It knows no policy.

Processes stay as long as models have one form: what differs between two stages is then only weights. They begin when
they are first drawn from.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from transformers import PreTrainedModel

from togi.engines.engine_process import EngineProcess, Program
from togi.engines.fleet import Fleet, Tell
from togi.engines.server_engine import ServerEngine
from togi.engines.server_weights import ServerWeights
from togi.launch.launcher import Launcher
from togi.models.adapters import adapter_base
from togi.models.load_model import Loaded
from togi.models.save_model import has_adapters
from togi.models.scalar_heads import tokenizer_digest
from togi.models.whole_weights import whole_sha256

Programs = Callable[[Loaded, Path, int], Program]
"""The program that draws from a model, which it finds in a folder; so many processes of it are started."""

_NO_FORM = {"_name_or_path", "architectures", "dtype", "torch_dtype", "transformers_version", "use_cache"}


class EngineProcesses:
    """``count`` engines. What they write, and what is written for them, lies in ``folder``; ``tell`` hears what happens
    to them, and a completion may take ``seconds``. So many versions as ``kept`` stay with them beside the newest."""

    def __init__(
        self,
        programs: Programs,
        launcher: Launcher,
        folder: Path,
        tell: Tell,
        *,
        count: int,
        seconds: float,
        kept: int = 0,
    ) -> None:
        self._programs, self._launcher, self._folder, self._tell = programs, launcher, folder, tell
        self._count, self._seconds, self._kept = count, seconds, kept
        self._fleet: Fleet | None = None
        self._form = ""
        self._forms = 0

    def engine(self, loaded: Loaded, batch_size: int) -> ServerEngine:
        """An engine that draws from a loaded model there. One for a model of another form ends the processes that there
        are."""
        form = _form(loaded)
        if self._fleet is None or form != self._form:
            self.close()
            self._form = form
            self._forms += 1
            program = self._programs(loaded, self._folder / f"start-{self._forms}", self._count)
            processes = [
                EngineProcess(
                    number,
                    program,
                    self._launcher,
                    self._folder / f"engine-{number}.log",
                    seconds=self._seconds,
                )
                for number in range(1, self._count + 1)
            ]
            weights = ServerWeights(
                base=program.model,
                folder=self._folder / f"weights-{self._forms}",
                whole=True,
                kept=self._kept,
                checksum="" if has_adapters(loaded.model) else whole_sha256(loaded.model),
            )
            self._fleet = Fleet(processes, weights, self._tell)
        return ServerEngine(loaded, self._fleet, batch_size=batch_size)

    def close(self) -> None:
        """End the processes, and remove what was written for them; what they wrote stays."""
        if self._fleet is not None:
            self._fleet.close()
            self._fleet = None
        for written in (*self._folder.glob("weights-*"), *self._folder.glob("start-*")):
            shutil.rmtree(written, ignore_errors=True)


def _form(loaded: Loaded) -> str:
    """What has to be the same of two models for a process to draw from either."""
    model: Any = loaded.model
    inner = next(module for module in model.modules() if isinstance(module, PreTrainedModel))
    config = {name: value for name, value in inner.config.to_dict().items() if name not in _NO_FORM}
    layers = sorted({type(module).__name__ for module in model.modules()})
    adapter: list[Any] = []
    if has_adapters(model):
        of = model.peft_config["default"]
        adapter = [adapter_base(model), of.r, of.lora_alpha, of.use_rslora, sorted(of.target_modules)]
    place = str(model.dtype), str(model.device), tokenizer_digest(loaded.tokenizer)
    return json.dumps([config, layers, adapter, place], sort_keys=True, default=str)
