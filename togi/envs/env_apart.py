"""Environments in processes of their own, one an attempt: what hangs is killed, with all that it started, and what dies
takes nobody with it. It knows no token and no reward.
"""

from __future__ import annotations

import builtins
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from togi.envs.env_process import ATTRIBUTES, heard_of, task_plain
from togi.envs.step_clock import took_longer
from togi.envs.user_env import UserEnv
from togi.protocols import Abort, Env, Heard
from togi.sandbox.codec import NoValue, decode, encode
from togi.types import Message, Task

GRACE = 2.0  # seconds beyond its own clock until a process is killed
MOST = 64 << 20  # bytes of an answer
BEGIN = "from togi.envs.env_process import serve; import sys; serve({fd}, *sys.argv[1:4], float(sys.argv[4]))"


@dataclass(frozen=True, kw_only=True)
class EnvApart:
    """The user's environment, each object of it in a process of its own. ``base`` is the recipe's folder."""

    own: UserEnv
    base: Path
    _host: _Host = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_host", _Host(self.own, self.base))

    @property
    def use(self) -> str:
        return self.own.use

    @property
    def seconds(self) -> float:
        return self.own.seconds

    @property
    def players(self) -> tuple[str, ...]:
        return self.own.players

    @property
    def files(self) -> tuple[Path, ...]:
        return self.own.files

    def __call__(self, task: Task) -> Env:
        return _Apart(self._host, task, self.seconds)


class _Host:
    """The process that is forked, begun when it is first needed."""

    def __init__(self, own: UserEnv, base: Path) -> None:
        self._own, self._base = own, base
        self._lock = threading.Lock()
        self._control: socket.socket | None = None

    def fork(self) -> tuple[socket.socket, int]:
        with self._lock:
            if self._control is None:
                self._control = self._begun()
            try:
                self._control.sendall(b"+")
                number, fds, _, _ = socket.recv_fds(self._control, 32, 1)
            except OSError:
                number, fds = b"", []
            if not fds:
                self._control.close()
                self._control = None
                raise RuntimeError(f'the process that makes "{self._own.use}" has ended')
        return socket.socket(fileno=fds[0]), int(number)

    def _begun(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        own = self._own
        told = [own.use, str(self._base), json.dumps(dict(own.settings)), repr(own.seconds)]
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", BEGIN.format(fd=theirs.fileno()), *told], pass_fds=[theirs.fileno()]
        )
        theirs.close()
        weakref.finalize(self, _ended, ours, process)
        return ours


def _ended(control: socket.socket, process: subprocess.Popen[bytes]) -> None:
    control.close()
    with suppress(subprocess.TimeoutExpired):
        process.wait(GRACE)
    process.kill()
    process.wait()


class _Apart(Env):
    """One environment's process as an environment."""

    def __init__(self, host: _Host, task: Task, seconds: float) -> None:
        self._seconds, self._rest, self._now = seconds, b"", dict[str, Any]()
        self._socket, self._process = host.fork()
        self._socket.settimeout(seconds + GRACE)
        try:
            self._ask("make", task_plain(task))
        except BaseException:
            self._end()
            raise

    def __getattr__(self, name: str) -> Any:
        now = vars(self).get("_now", {})
        if name in ATTRIBUTES and name in now:
            return now[name]
        raise AttributeError(name)

    def start(self) -> Heard:
        return heard_of(self._ask("start", None))

    def step(self, message: Message) -> tuple[Heard, float | Mapping[str, float], bool]:
        replies, reward, done = self._ask("step", message.content)
        return heard_of(replies), reward, done

    def close(self) -> None:
        try:
            if self._socket.fileno() >= 0:
                self._ask("close", None)
        finally:
            self._end()

    def _ask(self, method: str, given: Any) -> Any:
        if self._socket.fileno() < 0:
            raise RuntimeError("its process has ended")
        try:
            self._socket.sendall(json.dumps(encode((method, given))).encode("ascii") + b"\n")
            reply = decode(json.loads(self._line()))
        except NoValue as problem:
            raise ValueError(f"what passes between processes must be plain: {problem}") from problem
        except (OSError, ValueError) as problem:
            self._end()
            raise problem if isinstance(problem, TimeoutError) else RuntimeError("its process has ended") from problem
        if "raised" in reply:
            raise _problem(*reply["raised"])
        self._now = reply["now"]
        return reply.get("given")

    def _line(self) -> bytes:
        """The next line, waited for as long as its own clock might need to ring."""
        over = time.monotonic() + self._seconds + GRACE
        while b"\n" not in self._rest:
            self._socket.settimeout(max(over - time.monotonic(), 0.001))
            try:
                more = self._socket.recv(1 << 16)
            except TimeoutError:
                raise took_longer(self._seconds, "; its process was killed") from None
            if not more or len(self._rest) > MOST:
                raise ValueError("no whole answer")
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\n")
        return line

    def _end(self) -> None:
        """Kill the process and all that it started in its group."""
        if self._socket.fileno() < 0:
            return
        self._socket.close()
        with suppress(OSError):
            os.killpg(self._process, signal.SIGKILL)


def _problem(kind: str, text: str) -> Exception:
    """What was raised there, of a type that has the same name here."""
    if kind == "Abort":
        return Abort(text)
    known = getattr(builtins, kind, None)
    if isinstance(known, type) and issubclass(known, Exception):
        with suppress(TypeError):
            return known(text)
    return _named(kind)(text)


@lru_cache(maxsize=256)
def _named(kind: str) -> type[Exception]:
    return type(kind, (Exception,), {})
