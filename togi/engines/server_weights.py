"""How the weights of a loaded model reach a server: as adapters, by a new name for each version. It draws no token."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path
from weakref import finalize

from togi.engines.completions_server import CompletionsServer
from togi.engines.engine_choice import AtServer
from togi.models.load_model import Loaded
from togi.models.save_model import has_adapters, save_model


class ServerWeights:
    """The weights of a loaded model at the server: what they are called there, and how they get there."""

    def __init__(self, server: CompletionsServer, at: AtServer, loaded: Loaded) -> None:
        self.name = at.model
        self.outdated = True
        self._server, self._base, self._loaded = server, at.model, loaded
        self._folder = at.adapters

    def take(self, version: int) -> None:
        """Raises ValueError where weights were learned that an adapter does not hold."""
        if has_adapters(self._loaded.model):
            self._replace(f"togi-{secrets.token_hex(4)}-{version}")  # no name is ever used twice
        elif version:
            raise ValueError(
                "a server gets what is learned as adapters, and every weight of this model is trained: add [model.lora]"
            )
        self.outdated = False

    def _replace(self, name: str) -> None:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="togi-adapters-"))
            finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        before, path = self.name, (self._folder / name).resolve()
        save_model(self._loaded.model, self._loaded.tokenizer, path)
        self._server.load_adapter(name, str(path))
        self.name = name
        if before != self._base:
            with suppress(ValueError):  # it takes room at the server, and is never asked again
                self._server.unload_adapter(before)
            shutil.rmtree(path.parent / before, ignore_errors=True)
