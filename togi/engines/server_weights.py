"""How a model's weights reach servers: as files under a new name for each version that differs. It draws no token."""

from __future__ import annotations

import secrets
import shutil
import tempfile
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from weakref import finalize

from togi.engines.completions_server import CompletionsServer
from togi.file_sha256 import file_sha256
from togi.models.load_model import Loaded
from togi.models.save_model import has_adapters, save_model
from togi.models.whole_weights import write_whole

ADAPTER = "adapter_model.safetensors"
WHOLE = "model.safetensors"


@dataclass(frozen=True, kw_only=True)
class Written:
    """Weights as files. ``name`` is what servers call them; ``file`` holds them, and is all of them or, beside its
    configuration, an adapter; ``checksum`` is its SHA-256, ``seconds`` what writing took. What servers begin with has
    no file."""

    name: str
    file: Path | None = None
    adapter: bool = False
    checksum: str = ""
    seconds: float = 0.0


class ServerWeights:
    """What some servers draw from, written once a version and loaded by each server that is told to.

    ``base`` is what servers call the model that they begin with, whose whole weights in one file would have the SHA-256
    ``checksum`` ("": not known). With ``whole`` they take all weights of a model, otherwise adapters only. So many
    versions as ``kept`` stay at a server beside the newest, for those who still draw with them; their files lie in
    ``folder`` (None: a new one that goes with this object).
    """

    def __init__(
        self, *, base: str, folder: Path | None = None, whole: bool = False, kept: int = 0, checksum: str = ""
    ) -> None:
        self._folder, self._whole, self._kept = folder, whole, kept
        self._versions = [Written(name=base, checksum=checksum)]
        self._gone: list[Written] = []

    @property
    def now(self) -> Written:
        """What was written last."""
        return self._versions[-1]

    @property
    def name(self) -> str:
        return self.now.name

    def write(self, loaded: Loaded, version: int) -> bool:
        """Write a model's weights as they are, unless they are those that were written last; whether they are others.
        Raises ValueError where servers cannot take them, or the disk does not."""
        adapter = has_adapters(loaded.model)
        if not (adapter or self._whole):
            if version:
                raise ValueError(
                    "a server that you started gets what is learned as adapters, and every weight of this model is "
                    'trained: add [model.lora], or let Togi start it (engine.kind = "vllm")'
                )
            return False
        new = self._written(loaded, f"togi-{secrets.token_hex(4)}-{version}", adapter)
        if (new.checksum, new.adapter) == (self.now.checksum, self.now.adapter):
            _remove(new)
            return False
        self._versions.append(new)
        self._gone = [each for each in self._versions[: -1 - self._kept] if each.file is not None]
        self._versions = self._versions[-1 - self._kept :]
        for each in self._gone:
            _remove(each)
        return True

    def give(self, server: CompletionsServer) -> None:
        """Have a server draw with what was written last, and forget what nobody asks it for any more."""
        now = self.now
        if now.file is None:
            return
        if not now.adapter:
            server.load_weights(now.name, str(now.file), now.checksum)
            return
        server.load_adapter(now.name, str(now.file.parent), now.checksum)
        for each in self._gone:
            with suppress(ValueError):  # it only takes room at the server
                server.unload_adapter(each.name)

    def _written(self, loaded: Loaded, name: str, adapter: bool) -> Written:
        """A folder of a name that is never used twice."""
        begun = time.perf_counter()
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="togi-weights-"))
            finalize(self, shutil.rmtree, self._folder, ignore_errors=True)
        path = (self._folder / name).resolve()
        file = path / (ADAPTER if adapter else WHOLE)
        if adapter:
            save_model(loaded.model, loaded.tokenizer, path)
            checksum = file_sha256(file)
        else:
            checksum = write_whole(loaded.model, file)
        return Written(name=name, file=file, adapter=adapter, checksum=checksum, seconds=time.perf_counter() - begun)


def _remove(written: Written) -> None:
    assert written.file is not None
    shutil.rmtree(written.file.parent, ignore_errors=True)
