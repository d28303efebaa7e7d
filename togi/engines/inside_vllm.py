"""Runs inside vLLM: takes all weights of a model from a file, whole or not at all, and serves them under a new name.

``vllm_program.py`` puts a copy of this file where vLLM looks for plugins, since vLLM's environment need not have Togi.
So it imports nothing of Togi, and of vLLM what stands in its public seams: an endpoint plugin, a worker extension and a
middleware.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import os
from collections.abc import Iterator
from dataclasses import replace
from typing import Any


class Door:
    """Lets in who has the key, and whoever asks whether the server is well; vLLM's own guard leaves some paths open."""

    def __init__(self, app: Any) -> None:
        self._app, self._right = app, f"Bearer {os.environ['VLLM_API_KEY']}".encode()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        given = dict(scope.get("headers", ())).get(b"authorization", b"")
        if scope["type"] == "lifespan" or scope["path"] == "/health" or hmac.compare_digest(given, self._right):
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await send({"type": "http.response.start", "status": 401, "headers": [(b"content-length", b"0")]})
            await send({"type": "http.response.body", "body": b""})


class WeightsFromFile:
    """What vLLM's workers can do beside their own (``--worker-extension-cls``)."""

    def togi_load_weights(self, file: str) -> None:
        """Replace the model's weights by those in a safetensors file."""
        from safetensors import safe_open
        from vllm.model_executor.layers.vocab_parallel_embedding import ParallelLMHead

        worker: Any = self

        def tensors() -> Iterator[tuple[str, Any]]:
            with safe_open(file, framework="pt") as opened:
                for name in opened.keys():  # noqa: SIM118 (it is no mapping)
                    yield name, opened.get_tensor(name)

        worker.reload_weights(weights_iterator=tensors())
        for layer in worker.get_model().modules():
            # One that is tied to the embeddings has no weights in the file, and on a processor a packed copy of them.
            if isinstance(layer, ParallelLMHead):
                layer.quant_method.process_weights_after_loading(layer)


class WeightsEndpoint:
    """``POST /v1/load_weights`` with ``name``, ``file`` and ``sha256``."""

    name = "togi"
    required_tasks = ("generate",)

    def __init__(self) -> None:
        self._one_at_a_time = asyncio.Lock()
        self._engine: Any = None
        self._models: Any = None

    def attach_router(self, app: Any) -> None:
        app.add_route("/v1/load_weights", self._asked, methods=["POST"])

    async def init_state(self, engine_client: Any, state: Any, args: Any) -> None:
        self._engine, self._models = engine_client, state.openai_serving_models

    async def _asked(self, request: Any) -> Any:
        from starlette.responses import JSONResponse

        wanted = await request.json()
        async with self._one_at_a_time:
            refused = await self._load(wanted["name"], wanted["file"], wanted["sha256"])
        if refused:
            return JSONResponse({"error": {"message": refused}}, status_code=400)
        return JSONResponse({"name": wanted["name"]})

    async def _load(self, name: str, file: str, checksum: str) -> str:
        """Why the weights were not taken; "" once they are."""
        served = self._models.base_model_paths
        if served[0].name == name:  # asked again, since the answer was lost
            return ""
        try:
            found = await asyncio.to_thread(_sha256, file)
        except OSError as error:
            return f"the weights cannot be read: {error}"
        if found != checksum:
            return f"the file {file} is not the one that was written: its SHA-256 is {found}, wanted {checksum}"
        # What is being drawn ends with the weights it began with; what is asked for from now on needs the new name.
        served[0] = replace(served[0], name=f"{name} (loading)")
        await self._engine.pause_generation(mode="wait", clear_cache=True)
        await self._engine.collective_rpc("togi_load_weights", args=(file,))
        await self._engine.reset_prefix_cache()
        await self._engine.resume_generation()
        served[0] = replace(served[0], name=name)
        return ""


def _sha256(file: str) -> str:
    with open(file, "rb") as opened:  # noqa: PTH123 (a path of another program)
        return hashlib.file_digest(opened, "sha256").hexdigest()
