"""Commands as processes of this machine, each under a guard that ends it with this process."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from togi.launch import guard

_LATE = 5.0  # seconds that a guard may need beside those that its command is given to end


class LocalLauncher:
    """Starts commands on this machine."""

    listen = "127.0.0.1"

    def start(self, name: str, command: Sequence[str], *, env: Mapping[str, str], log: Path) -> LocalProcess:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("ab") as written:
            try:
                process = subprocess.Popen(
                    [sys.executable, "-I", guard.__file__, *command],
                    stdin=subprocess.PIPE,
                    stdout=written,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **env},
                    start_new_session=True,  # Ctrl-C is for the run, which ends what it started when it is ready to
                )
            except OSError as error:
                raise ValueError(f"{name} cannot be started: {error}") from None
        return LocalProcess(process)


class LocalProcess:
    """A command under its guard."""

    host = "127.0.0.1"

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._guard = process

    @property
    def pid(self) -> int:
        """The guard's; with it the command ends."""
        return self._guard.pid

    def alive(self) -> bool:
        return self._guard.poll() is None

    def ending(self) -> str:
        code = self._guard.poll()
        if code is None:
            return ""
        signal = -code if code < 0 else code - guard.BY_SIGNAL
        return f"signal {signal}" if signal > 0 else f"exit code {code}"

    def end(self, seconds: float) -> None:
        assert self._guard.stdin is not None
        with suppress(OSError, ValueError):  # it is over already, or was told so before
            self._guard.stdin.write(str(seconds).encode())
            self._guard.stdin.close()
        try:
            self._guard.wait(seconds + _LATE)
        except subprocess.TimeoutExpired:
            self._guard.kill()
            self._guard.wait()
