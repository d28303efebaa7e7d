"""A small server on this machine that speaks the OpenAI chat completions protocol, and fails in chosen ways."""

from __future__ import annotations

import json
import math
import socket
import struct
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Handle = Callable[["Handler", dict[str, Any]], None]


def said(text: str, likely: Mapping[str, float] | None = None, **more: Any) -> dict[str, Any]:
    """A chat completion; ``likely`` are the probabilities of its first token."""
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"} | more
    if likely is not None:
        rows = [{"token": token, "logprob": math.log(p)} for token, p in likely.items()]
        choice["logprobs"] = {"content": [rows[0] | {"top_logprobs": rows}]}
    return {"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 10}}


def good(answer: Mapping[str, Any]) -> Handle:
    return lambda handler, _: handler.send(200, json.dumps(answer).encode())


def fails(status: int, headers: Mapping[str, str] | None = None, body: bytes = b"{}") -> Handle:
    return lambda handler, _: handler.send(status, body, headers)


def raw(body: bytes, kind: str = "application/json") -> Handle:
    return lambda handler, _: handler.send(200, body, kind=kind)


def reset(handler: Handler, _: dict[str, Any]) -> None:
    """Half a body, then a reset."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{")
    handler.wfile.flush()
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    handler.connection.close()


def hang(handler: Handler, _: dict[str, Any]) -> None:
    handler.server.closing.wait(5)  # type: ignore[attr-defined]


def drip(handler: Handler, _: dict[str, Any]) -> None:
    """A byte now and then, so that no read ever waits long."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        if handler.server.closing.wait(0.02):  # type: ignore[attr-defined]
            return


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)  # it is well
        self.end_headers()

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            self.server.handle_question(self, body)  # type: ignore[attr-defined]
        except OSError:
            self.close_connection = True

    def send(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None, kind: str = "application/json"
    ) -> None:
        self.server.answering(self)  # type: ignore[attr-defined]
        self.send_response(status)
        for key, value in {"Content-Type": kind, "Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        return


class Fake(ThreadingHTTPServer):
    """Answers with ``script`` in its order, and then with ``rest``; ``requests`` keeps headers and bodies."""

    daemon_threads = True

    def __init__(self, rest: Handle, script: Sequence[Handle] = (), *, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.rest, self.script = rest, list(script)
        self.requests: list[tuple[dict[str, str], dict[str, Any]]] = []
        self.closing = threading.Event()
        self.most_at_once = 0
        self._open: set[Handler] = set()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/v1"

    def handle_question(self, handler: Handler, body: dict[str, Any]) -> None:
        with self._lock:
            self.requests.append(({key.lower(): value for key, value in handler.headers.items()}, body))
            handle = self.script.pop(0) if self.script else self.rest
            self._open.add(handler)
            self.most_at_once = max(self.most_at_once, len(self._open))
        try:
            handle(handler, body)
        finally:
            self.answering(handler)

    def answering(self, handler: Handler) -> None:
        """A question waits no more: whoever has read its answer may ask the next one before this thread goes on."""
        with self._lock:
            self._open.discard(handler)

    def handle_error(self, *_: Any) -> None:
        return


@contextmanager
def serving(rest: Handle, script: Sequence[Handle] = ()) -> Iterator[Fake]:
    server = Fake(rest, script)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
