"""A server on this machine that draws as vLLM does, from a model and from adapters that it is told to load."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from judge_server import Fake, Handler, serving
from safetensors.torch import load_file

from togi.engines.native import NativeEngine
from togi.file_sha256 import file_sha256
from togi.models.load_model import Loaded, load_model
from togi.types import Prompt, Sampling

Spoil = Callable[[dict[str, Any]], None]


class Drawing:
    """What the server is asked, answered from engines of this process; it calls the model that it begins with ``name``.
    ``processed`` says whether log-probabilities are
    of the distribution that is drawn from; ``spoil`` changes the choice of an answer."""

    def __init__(
        self, base: Loaded, *, name: str = "base", processed: bool = False, spoil: Spoil | None = None
    ) -> None:
        self.models = {name: base}
        self.asked: list[dict[str, Any]] = []
        self.unloaded: list[str] = []
        self._processed, self._spoil = processed, spoil
        self._lock = threading.Lock()

    def __call__(self, handler: Handler, body: dict[str, Any]) -> None:
        with self._lock:
            if handler.path == "/v1/load_lora_adapter":
                assert Path(body["lora_path"], "adapter_config.json").is_file()
                self.models[body["lora_name"]] = load_model(body["lora_path"])
                handler.send(200, b"Success: added", kind="text/plain")
            elif handler.path == "/v1/unload_lora_adapter":
                self.models.pop(body["lora_name"])
                self.unloaded.append(body["lora_name"])
                handler.send(200, b"Success: removed", kind="text/plain")
            elif handler.path == "/v1/load_weights":
                self._take_weights(**body)
                handler.send(200, b"{}")
            elif handler.path == "/v1/completions" and body["model"] in self.models:
                self.asked.append(body)
                handler.send(200, json.dumps({"choices": [self._choice(body)]}).encode())
            else:
                handler.send(404, json.dumps({"error": {"message": f"no model {body['model']}"}}).encode())

    def _take_weights(self, name: str, file: str, sha256: str) -> None:
        assert file_sha256(Path(file)) == sha256
        [loaded] = self.models.values()
        # Tied weights are in the file once.
        loaded.model.load_state_dict(load_file(file), strict=False)
        self.models = {name: loaded}

    def _choice(self, body: dict[str, Any]) -> dict[str, Any]:
        loaded = self.models[body["model"]]
        engine = NativeEngine(loaded.model, loaded.tokenizer, frozenset(body["stop_token_ids"]))
        sampling = Sampling(
            max_tokens=body["max_tokens"],
            stop=tuple(body["stop"]),
            ignore_eos=body["ignore_eos"],
            **{name: body[name] for name in ("temperature", "top_p", "top_k", "min_p")},
        )
        [[turn]] = engine.generate([Prompt(ids=tuple(body["prompt"]), seeds=(body["seed"],))], sampling)
        [reading] = engine.read([replace(turn, temperature=1.0)])
        choice: dict[str, Any] = {
            "token_ids": list(turn.completion),
            "prompt_token_ids": list(turn.prompt),
            "logprobs": {"token_logprobs": list(turn.logp if self._processed else reading.logp)},
            "finish_reason": "stop" if turn.stop in ("eos", "stop_string") else "length",
        }
        if self._spoil:
            self._spoil(choice)
        return choice


@contextmanager
def drawing(drawing: Drawing) -> Iterator[Fake]:
    with serving(drawing) as fake:
        yield fake
