"""The native engine as a process of its own, which answers what vLLM's server does: completions from tokens, with the
log-probability of each, and new weights under a name. Started as ``python -m togi.engines.native_server FOLDER ...``.

It listens where it is told to, and answers whoever has the key in its environment. What is drawn when, and when weights
change, is ``joining_requests.py``'s.
"""

from __future__ import annotations

import argparse
import hmac
import json
import os
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from select import POLLIN, poll
from socket import MSG_PEEK
from typing import Any

import torch

from togi.engines.joining_requests import JoiningRequests, Refused, Request
from togi.engines.taken_weights import ADAPTER, check_file, take_adapter, take_whole
from togi.engines.token_sampling import check_sampling
from togi.models.load_model import Loaded, load_model
from togi.models.save_model import has_adapters
from togi.types import Sampling

KEY = "TOGI_ENGINE_KEY"
"""The environment variable with the key."""
LARGEST_BODY = 1 << 26
STILL = 300.0
"""Seconds at one thing after which the engine is not well: a token takes far less."""

Answer = dict[str, Any]


class Door(ThreadingHTTPServer):
    """What HTTP reaches."""

    daemon_threads = True
    request_queue_size = 1024

    def __init__(self, host: str, port: int, key: str, loaded: Loaded, requests: JoiningRequests) -> None:
        self.key, self._loaded, self._requests = key, loaded, requests
        super().__init__((host, port), _Handler)

    def answer(self, path: str, body: Mapping[str, Any], gone: Callable[[], bool]) -> Answer:
        """``gone`` says whether whoever asks has gone. Raises Refused, and the errors of a body that does not hold what
        it should."""
        told: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
            "/v1/completions": partial(self._complete, gone),
            "/v1/load_weights": self._take,
            "/v1/load_lora_adapter": self._take_adapter,
            "/v1/unload_lora_adapter": lambda _: {},  # new weights take the place of the old ones
        }
        if path not in told:
            raise Refused(f"there is only {', '.join(told)}")
        return told[path](body)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Whoever asked may have gone; what else goes wrong is written down."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    def still(self) -> float:
        return self._requests.still()

    def _complete(self, gone: Callable[[], bool], body: Mapping[str, Any]) -> Answer:
        sampling = Sampling(
            temperature=float(body["temperature"]),
            top_p=float(body["top_p"]),
            top_k=int(body["top_k"]),
            min_p=float(body["min_p"]),
            stop=tuple(body["stop"]),
            ignore_eos=bool(body["ignore_eos"]),
        )
        check_sampling(sampling)
        ids = tuple(map(int, body["prompt"]))
        limit = int(body["max_tokens"])
        if not 1 <= limit <= self._loaded.context - len(ids):
            raise Refused(f"{limit} tokens after {len(ids)} do not fit the context of {self._loaded.context}")
        turn = self._requests.ask(
            Request(
                model=str(body["model"]),
                ids=ids,
                seed=int(body["seed"]),
                limit=limit,
                sampling=sampling,
                ends=frozenset(map(int, body["stop_token_ids"])),
            ),
            gone,
        )
        choice = {
            "token_ids": turn.completion,
            "prompt_token_ids": turn.prompt,
            "logprobs": {"token_logprobs": turn.logp},
            "finish_reason": "stop" if turn.stop in ("eos", "stop_string") else "length",
        }
        return {"model": body["model"], "choices": [choice]}

    def _take(self, body: Mapping[str, Any]) -> Answer:
        if has_adapters(self._loaded.model):
            raise Refused("this model has adapters, and takes those alone")
        name, file, sha256 = str(body["name"]), Path(body["file"]), str(body["sha256"])
        check_file(file, sha256)  # while others are drawn still
        self._requests.take(name, partial(take_whole, self._loaded.model, file))
        return {}

    def _take_adapter(self, body: Mapping[str, Any]) -> Answer:
        if not has_adapters(self._loaded.model):
            raise Refused("this model has no adapters, and takes whole weights alone")
        folder = Path(body["lora_path"])
        check_file(folder / ADAPTER, str(body["sha256"]))
        self._requests.take(str(body["lora_name"]), partial(take_adapter, self._loaded.model, folder))
        return {}


class _Handler(BaseHTTPRequestHandler):
    timeout = 60  # seconds for a request to be read
    server: Door

    def setup(self) -> None:
        super().setup()
        self._heard = poll()
        self._heard.register(self.connection, POLLIN)

    def do_GET(self) -> None:
        still = self.server.still()
        if self.path != "/health":
            self._send(404, _error("there is only /health"))
        elif still > STILL:
            self._send(503, _error(f"the engine has been at one thing for {still:.0f} s"))
        else:
            self._send(200, {"status": "ok"})

    def do_POST(self) -> None:
        given = self.headers.get("Authorization", "").encode()
        length = self.headers.get("Content-Length", "")
        if not hmac.compare_digest(given, f"Bearer {self.server.key}".encode()):
            self._send(401, _error("a request needs the header Authorization: Bearer KEY, with this server's key"))
        elif not length.isdecimal() or len(length) > 12 or int(length) > LARGEST_BODY:
            self._send(413, _error(f"a body has at most {LARGEST_BODY:,} bytes"))
        else:
            self._send(*self._answered(self.rfile.read(int(length))))

    def _answered(self, raw: bytes) -> tuple[int, Answer]:
        try:
            return 200, self.server.answer(self.path, json.loads(raw), self._gone)
        except Refused as refused:
            return 503 if refused.again else 400, _error(refused.note)
        except (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
            return 400, _error(f"{type(error).__name__}: {error}")

    def _gone(self) -> bool:
        """Whether the other end of the connection is closed."""
        try:
            return bool(self._heard.poll(0)) and not self.connection.recv(1, MSG_PEEK)
        except OSError:
            return True

    def _send(self, status: int, body: Answer) -> None:
        raw = json.dumps(body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(raw)))):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(raw)

    def log_message(self, *_: Any) -> None:
        return


def _error(message: str) -> Answer:
    return {"error": {"message": message}}


def open_door(arguments: Sequence[str], key: str) -> tuple[Door, JoiningRequests]:
    """Load what the arguments name, and take its port."""
    parser = argparse.ArgumentParser("togi.engines.native_server")
    parser.add_argument("folder")
    parser.add_argument("--name", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float64"), required=True)
    parser.add_argument("--device", required=True)
    parser.add_argument("--batch-size", type=int, required=True)
    parser.add_argument("--threads", type=int, default=0)
    told = parser.parse_args(arguments)
    if len(key) < 16:
        parser.error(f"the environment variable {KEY} holds no key")
    if told.threads:
        torch.set_num_threads(told.threads)
    loaded = load_model(told.folder, dtype=getattr(torch, told.dtype), device=told.device)
    loaded.model.requires_grad_(False)
    requests = JoiningRequests(loaded, told.name, batch_size=told.batch_size)
    return Door(told.host, told.port, key, loaded, requests), requests


def main(arguments: Sequence[str]) -> None:
    door, requests = open_door(arguments, os.environ.pop(KEY, ""))
    threading.Thread(target=door.serve_forever, daemon=True).start()
    print(f"process {os.getpid()} draws at port {door.server_port}", flush=True)
    requests.run()


if __name__ == "__main__":
    main(sys.argv[1:])
