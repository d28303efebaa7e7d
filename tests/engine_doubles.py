"""Engine processes that are threads of the test: they answer what real ones do, start at once, and fail on demand."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch

from togi.engines.native_server import KEY, Door, open_door
from togi.launch.launcher import Launched


class InThread:
    """One that was started. ``kill`` cuts off what it is asked; one that ``hangs`` answers nothing any more."""

    host = "127.0.0.1"

    def __init__(self, name: str, door: Door, run: Any) -> None:
        self.name, self.door = name, door
        self.hangs = threading.Event()
        self._sockets: list[socket.socket] = []
        self._alive = True
        taken, handle = door.get_request, door.process_request

        def get_request() -> tuple[socket.socket, Any]:
            request, address = taken()
            self._sockets.append(request)
            return request, address

        def process_request(request: Any, address: Any) -> None:
            if not self.hangs.is_set():
                handle(request, address)

        door.get_request = get_request  # type: ignore[method-assign]
        door.process_request = process_request  # type: ignore[method-assign,assignment]
        threading.Thread(target=door.serve_forever, args=(0.01,), daemon=True).start()
        threading.Thread(target=run, daemon=True).start()

    def alive(self) -> bool:
        return self._alive

    def ending(self) -> str:
        return "" if self._alive else "signal 9"

    def kill(self) -> None:
        if self._alive:
            self._alive = False
            self.door.shutdown()
            self.door.server_close()
            for each in self._sockets:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)

    def end(self, seconds: float) -> None:
        self.kill()


class Never:
    """One that ends at once."""

    host = "127.0.0.1"

    def alive(self) -> bool:
        return False

    def ending(self) -> str:
        return "exit code 1"

    def end(self, seconds: float) -> None:
        pass


class Threads:
    """A launcher of the native engine's process. Those whose number from 1 is in ``never`` end at once; ``started`` are
    the others, in order."""

    listen = "127.0.0.1"

    def __init__(self, never: Sequence[int] = ()) -> None:
        self.started: list[InThread] = []
        self.never = never
        self._starts = 0
        self._one = threading.Lock()

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> Launched:
        with self._one:
            self._starts += 1
            log.parent.mkdir(parents=True, exist_ok=True)
            if self._starts in self.never:
                log.write_text("no model could be found\n")
                return Never()
            threads = torch.get_num_threads()
            door, requests = open_door(command[command.index("togi.engines.native_server") + 1 :], env[KEY])
            torch.set_num_threads(threads)
            self.started.append(InThread(name, door, requests.run))
            return self.started[-1]
