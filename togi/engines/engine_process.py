"""One engine in a process of its own: how it is started, whether it is well, and how it ends. It draws nothing, and
knows of what runs there only how it is started.
"""

from __future__ import annotations

import http.client
import secrets
import socket
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from togi.engines.completions_server import CompletionsServer
from togi.engines.engine_choice import AtServer
from togi.launch.launcher import Launched, Launcher
from togi.launch.log_end import end_of

HUNG = 120.0
"""Seconds without an answer after which a process hangs."""
ASKED = 10.0  # seconds for one answer about its health
_LOOK = 0.2  # seconds between two looks at one that begins


class Program(Protocol):
    """What runs in an engine process, and answers as vLLM's server does: completions, new weights, and ``/health``."""

    @property
    def model(self) -> str:
        """What it calls the model that it begins with."""
        ...

    @property
    def begins_within(self) -> float:
        """Seconds from its start until it answers, at most."""
        ...

    def command(self, number: int, host: str, port: int) -> Sequence[str]: ...

    def variables(self, key: str) -> Mapping[str, str]:
        """Environment variables, with the key that it is to ask for."""
        ...


class EngineProcess:
    """Engine ``number`` of several. ``seconds`` are given to one completion, or to taking new weights."""

    restarts = True

    def __init__(self, number: int, program: Program, launcher: Launcher, log: Path, *, seconds: float) -> None:
        self.called = f"engine {number}"
        self._number, self._program, self._launcher, self._log = number, program, launcher, log
        self._seconds = seconds
        self._launched: Launched | None = None
        self._address = "", 0
        self._silent_since: float | None = None
        self._server: CompletionsServer | None = None

    @property
    def server(self) -> CompletionsServer:
        assert self._server is not None, "an engine that has not begun is asked nothing"
        return self._server

    def begin(self) -> None:
        """Start it, in the place of one that was there, and wait until it answers. Raises ValueError."""
        self.end()
        began, key, port = time.monotonic(), secrets.token_urlsafe(32), _free_port()
        self._launched = self._launcher.start(
            self.called,
            self._program.command(self._number, self._launcher.listen, port),
            env=self._program.variables(key),
            log=self._log,
        )
        self._address = self._launched.host, port
        at = AtServer(
            base_url=f"http://{self._launched.host}:{port}/v1", model=self._program.model, seconds=self._seconds
        )
        self._server = CompletionsServer(at, key=key, attempts=1)
        while not self._answers():
            if not self._launched.alive():
                raise ValueError(f"it ended while it began: {self._launched.ending()}")
            if time.monotonic() - began > self._program.begins_within:
                self.end()
                raise ValueError(f"it did not answer within {self._program.begins_within:g} s of its start")
            time.sleep(_LOOK)
        self._silent_since = None

    def fault(self) -> str:
        """What is wrong with it; "" where it is well."""
        if self._launched is None or not self._launched.alive():
            return f"it ended: {self._launched.ending()}" if self._launched else "it was not started"
        asked = time.monotonic()
        if self._answers():
            self._silent_since = None
            return ""
        if self._silent_since is None:
            self._silent_since = asked
        silent = time.monotonic() - self._silent_since
        return f"it has not answered for {silent:.0f} s" if silent > HUNG else ""

    def end(self, seconds: float = 0.0) -> None:
        if self._launched is not None:
            self._launched.end(seconds)

    def last_words(self) -> str:
        """The end of what it wrote."""
        return end_of(self._log)

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(*self._address, timeout=ASKED)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


def _free_port() -> int:
    """A port that nobody has now. Where somebody takes it first the process ends, and is started again at another."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
    return port
