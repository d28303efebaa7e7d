"""Starts cells by forking one process that has imported what all of them need, and tried which sandbox holds.

Both take seconds, as long as a small cell trains.
``python -m togi.experiment.fork_server`` does so once. It reads a line of JSON for each cell to start or to signal, and
writes one when a cell has ended. It ends with its input, and its cells with it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NoReturn

from togi.experiment.cell import FAULT, Order, run_cell

# On macOS a process that has opened system libraries must not be forked: there each cell imports for itself.
IMPORTS_ONCE = sys.platform == "linux"
LOOK = 0.05  # seconds between two looks at cells
READ = 1 << 16  # bytes read at once


@dataclass(eq=False)
class Forked:
    """A cell at work, or its end."""

    server: ForkServer
    number: int
    code: int | None = None

    def poll(self) -> int | None:
        """Its exit code, negative for the signal that ended it; None while it is at work."""
        if self.code is None:
            self.server.take_in()
        return self.code

    def wait(self, seconds: float | None = None) -> int:
        """Its exit code, once it has ended. Raises TimeoutError after so many seconds."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while (code := self.poll()) is None:
            if deadline is not None and time.monotonic() > deadline:
                raise TimeoutError(f"a cell was still at work after {seconds:g} s")
            time.sleep(LOOK)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        self.server.tell({"signal": int(number), "to": self.number})


@dataclass(eq=False)
class ForkServer:
    """The process that cells are forked from. It is started with the first of them, and anew after it has died.

    ``threads`` is what each cell computes with (None: as the environment says); ``log`` is where the process itself
    complains. Several threads may use it.
    """

    threads: int | None
    log: Path
    _process: subprocess.Popen[bytes] | None = None
    _said: bytes = b""
    _count: int = 0
    _at_work: dict[int, Forked] = field(default_factory=dict)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, order: Order, log: Path) -> Forked:
        """Begin a cell, whose words are added to ``log``."""
        with self._lock:
            self.take_in()
            if self._process is None:
                self._process = self._begun()
            self._count += 1
            forked = self._at_work[self._count] = Forked(server=self, number=self._count)
            self.tell({"start": self._count, "order": asdict(order), "log": str(log)})
            return forked

    def tell(self, message: dict[str, object]) -> None:
        """Say something to the process. One that died hears nothing, which ``take_in`` finds."""
        with self._lock:
            if self._process is not None and self._process.stdin is not None:
                try:
                    self._process.stdin.write(json.dumps(message).encode() + b"\n")
                    self._process.stdin.flush()
                except BrokenPipeError:
                    pass

    def take_in(self) -> None:
        """Note which cells have ended. When the process itself has died, all have: it takes them with it."""
        with self._lock:
            if self._process is None or self._process.stdout is None:
                return
            while select.select([self._process.stdout], [], [], 0)[0]:
                said = os.read(self._process.stdout.fileno(), READ)
                if not said:
                    self._died()
                    return
                *lines, self._said = (self._said + said).split(b"\n")
                for line in lines:
                    ended = json.loads(line)
                    self._at_work.pop(ended["ended"]).code = ended["code"]

    def close(self) -> None:
        """End the process, and what is still at work."""
        with self._lock:
            if self._process is not None:
                self._died()

    def _begun(self) -> subprocess.Popen[bytes]:
        threads = {} if self.threads is None else {"OMP_NUM_THREADS": str(self.threads)}
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [sys.executable, "-m", "togi.experiment.fork_server"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env={**os.environ, **threads},
                start_new_session=True,  # a Ctrl-C reaches the caller alone, who then lets the cells save
            )

    def _died(self) -> None:
        assert self._process is not None
        with self._process as process:  # closes its pipes, and waits for it
            pass
        self._process, self._said = None, b""
        for forked in self._at_work.values():
            forked.code = process.returncode or FAULT
        self._at_work.clear()


@dataclass(frozen=True, kw_only=True)
class Begun:
    """What a forked process is to do."""

    order: Order
    log: str
    parent: int


def serve() -> Begun | None:
    """Fork a cell for each line of the input, until it ends. A forked process gets what it is to do; the process
    itself gets None at its end."""
    numbers: dict[int, int] = {}  # by process: its number
    rest = b""
    while True:
        if select.select([0], [], [], LOOK)[0]:
            read = os.read(0, READ)
            if not read:
                return None
            *lines, rest = (rest + read).split(b"\n")
            for line in lines:
                asked = json.loads(line)
                if "signal" in asked:
                    for process, number in numbers.items():
                        if number == asked["to"]:
                            os.kill(process, asked["signal"])
                    continue
                begun = Begun(order=Order(**asked["order"]), log=asked["log"], parent=os.getpid())
                if (process := os.fork()) == 0:
                    return begun
                numbers[process] = asked["start"]
        for process in list(numbers):
            ended, status = os.waitpid(process, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                os.write(1, json.dumps({"ended": numbers.pop(process), "code": code}).encode() + b"\n")


def main() -> NoReturn:
    if IMPORTS_ONCE:
        import togi.train  # noqa: F401  computes nothing, so that no thread and no device is there to be lost
        from togi.sandbox.tiers.choose_tier import open_box

        with suppress(ValueError):  # which tier holds is found out once; cells say it where none does
            open_box()
    begun = serve()
    if begun is None:
        sys.exit(0)
    os.setsid()
    nothing, log = os.open(os.devnull, os.O_RDONLY), os.open(begun.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    for here, to in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(here, to)
    os.close(nothing)
    os.close(log)
    sys.exit(run_cell(begun.order, parent=begun.parent))


if __name__ == "__main__":
    main()
