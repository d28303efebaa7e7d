"""Hands calls to idle workers, and watches their pipes and clocks until every call has a verdict."""

from __future__ import annotations

import os
import secrets
import selectors
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from togi.sandbox.confine import footprint
from togi.sandbox.confine.process_end import ending
from togi.sandbox.workers.worker_handle import Worker, feed, kill

LOAD_SECONDS = 120.0  # for starting a worker and importing what a call needs, before the call's own clock
GRACE = 2.0  # seconds from the limit of a fresh call, which its worker keeps, to the end of a worker that does not
NOTE = 2000  # characters
REPLY_LIMIT = 16 * 2**20  # bytes of a worker's reply; it bounds its call's own
_Status = Literal["ok", "timeout", "memory", "depth", "length", "error"]
_SAID: dict[str, _Status] = {said: said for said in get_args(_Status)}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one call: ``value`` is JSON and only meaningful when ``status`` is ok; ``output`` is what it
    printed, cut at a few thousand characters.

    "timeout", "memory" and "depth" say that the call itself, once everything was loaded, ran over its clock, its memory
    or Python's limit on recursion, and "length" that it raised TooLong. "error" is anything else.
    """

    value: Any = None
    status: _Status = "ok"
    note: str = ""
    output: str = ""


@dataclass
class Traces:
    """What calls left behind: the names of files in their folders, since they were last cleared, and the most memory
    in MB that the process of one held."""

    left: set[str] = field(default_factory=set)
    peak_mb: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The workers that calls are handed to: ``fill`` gives as many as there should be, ``replace`` ends one and gives
    a fresh one."""

    fill: Callable[[], Sequence[Worker]]
    replace: Callable[[Worker], Worker]
    seconds: float
    memory_mb: int
    traces: Traces


class Dispatch:
    """One set of calls, each a line, handed to a crew."""

    def __init__(self, crew: Crew, lines: Sequence[bytes], fresh: bool) -> None:
        self.crew = crew
        self.grace = GRACE if fresh else 0.0
        self.lines = lines
        self.waiting = deque(range(len(lines)))
        self.restarted: set[int] = set()
        self.verdicts: dict[int, Verdict] = {}
        self.look = time.monotonic() + footprint.LOOK

    def run(self) -> list[Verdict]:
        while len(self.verdicts) < len(self.lines):
            busy = self._hand_out()
            for worker, events in self._ready(busy):
                if events & selectors.EVENT_WRITE:
                    feed(worker)
                if events & selectors.EVENT_READ:
                    self._read(worker)
            now = time.monotonic()
            for worker in busy:
                if worker.job is not None and now > worker.deadline:
                    self._expire(worker)
            if now > self.look:
                self._weigh(busy)
                self.look = time.monotonic() + footprint.LOOK
        return [self.verdicts[index] for index in range(len(self.lines))]

    def _hand_out(self) -> list[Worker]:
        """Give what waits to the idle; gives the workers that are busy."""
        for idle in [worker for worker in self.crew.fill() if worker.job is None][: len(self.waiting)]:
            worker = idle if idle.silent else self.crew.replace(idle)
            worker.job = self.waiting.popleft()
            worker.secret = secrets.token_hex(16)
            worker.unsent = f"{worker.secret} {self.crew.seconds} ".encode("ascii") + self.lines[worker.job]
            worker.running = False
            worker.deadline = time.monotonic() + LOAD_SECONDS
            feed(worker)
        return [worker for worker in self.crew.fill() if worker.job is not None]

    def _ready(self, busy: Iterable[Worker]) -> list[tuple[Worker, int]]:
        with selectors.DefaultSelector() as selector:
            deadline = self.look
            for worker in busy:
                deadline = min(deadline, worker.deadline)
                selector.register(worker.read_fd, selectors.EVENT_READ, worker)
                if worker.unsent:
                    selector.register(worker.write_fd, selectors.EVENT_WRITE, worker)
            return [
                (key.data, events) for key, events in selector.select(max(0.0, deadline - time.monotonic()) + 0.001)
            ]

    def _read(self, worker: Worker) -> None:
        chunk = os.read(worker.read_fd, 1 << 16)
        if not chunk:
            self._died(worker)
            return
        worker.received += chunk
        if len(worker.received) > REPLY_LIMIT:
            self._finish(worker, Verdict(status="error", note=f"the reply is larger than {REPLY_LIMIT} bytes"), True)
            return
        while worker.job is not None and b"\n" in chunk:
            line, _, rest = bytes(worker.received).partition(b"\n")
            worker.received = bytearray(rest)
            chunk = rest
            reply = worker.reply(line)
            if reply.get("began") and not worker.running:
                worker.running = True
                worker.deadline = time.monotonic() + self.crew.seconds + self.grace
                continue
            verdict = Verdict(
                value=reply.get("value"),
                status=_SAID.get(str(reply.get("status")), "error"),
                note=str(reply.get("note", ""))[:NOTE],
                output=str(reply.get("output", "")),
            )
            self._trace(reply)
            self._finish(worker, verdict, bool(reply.get("retire", False)))

    def _trace(self, reply: dict[str, Any]) -> None:
        self.crew.traces.left |= set(map(str, reply.get("left", ())))
        self.crew.traces.peak_mb = max(self.crew.traces.peak_mb, float(reply.get("peak_mb", 0.0)))

    def _expire(self, worker: Worker) -> None:
        verdict = Verdict(status="error", note=f"did not load in {LOAD_SECONDS:g} s")
        if worker.running:
            verdict = Verdict(status="timeout", note=f"took longer than {self.crew.seconds:g} s")
        self._finish(worker, verdict, True)

    def _weigh(self, busy: Iterable[Worker]) -> None:
        """End the workers of which all processes together hold too much: a worker and the process of a fresh call may
        hold their limit each."""
        most = 2 * self.crew.memory_mb
        for worker in busy:
            if worker.job is not None and worker.running and footprint.exceeds(worker.process.pid, most * 2**20):
                verdict = Verdict(status="memory", note=f"its processes held more than {most} MB together")
                self._finish(worker, verdict, True)

    def _died(self, worker: Worker) -> None:
        job = worker.job
        assert job is not None
        if not worker.running and job not in self.restarted:  # it died idle, or while loading: not this call's doing
            self.restarted.add(job)
            self.waiting.appendleft(job)
            worker.job = None
            self.crew.replace(worker)
            return
        with suppress(subprocess.TimeoutExpired):  # bubblewrap ends a moment after the worker inside
            worker.process.wait(1.0)
        kill(worker)
        log = "" if worker.running else worker.log.read_text(errors="replace").strip()[-500:]
        note = f"the worker process {ending(worker.process.returncode)}{': ' * bool(log)}{log}"
        self._finish(worker, Verdict(status="error", note=note), True)

    def _finish(self, worker: Worker, verdict: Verdict, replace: bool) -> None:
        assert worker.job is not None
        self.verdicts[worker.job] = verdict
        worker.job = None
        worker.unsent = b""
        if replace:
            self.crew.replace(worker)
