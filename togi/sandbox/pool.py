"""A pool of worker processes that call functions under a clock; it does not know what the functions do.

In every tier a call has its own process, session, working directory, limits and a cleared environment, so that
hanging, crashing, or eating memory harms nobody and secrets in environment variables stay out. In the tier "bubblewrap"
a worker also has no network, sees no process but its own, reads only Python, installed packages and the folders of the
files that are called, and writes only its own folder. In the tier "process" it can do what this user can. In either,
code that a grader runs can forge that grader's result, if it tries.
"""

from __future__ import annotations

import atexit
import json
import os
import selectors
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from togi.sandbox import bubblewrap
from togi.sandbox.box import AnyTier, Tier
from togi.sandbox.held import Worker, discard, environment, feed, kill, parse
from togi.sandbox.probe import bait

LOAD_SECONDS = 120.0  # for starting a worker and importing what a call needs, before the call's own clock
PROCESSES = 32  # of one jailed worker, with its threads
REPLY_LIMIT = 4 * 2**20  # bytes of one result
_Status = Literal["ok", "timeout", "memory", "depth", "error"]
_SAID: dict[str, _Status] = {"ok": "ok", "memory": "memory", "depth": "depth"}  # by a worker, of a call


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """The outcome of one call: ``value`` is JSON and only meaningful when ``status`` is ok; ``output`` is what it
    printed, cut at a few thousand characters.

    "timeout", "memory" and "depth" say that the call itself, once everything was loaded, ran over its clock, its memory
    or Python's limit on recursion. "error" is anything else.
    """

    value: Any = None
    status: _Status = "ok"
    note: str = ""
    output: str = ""


class Pool:
    """``workers`` processes, started at first use, each call limited to ``seconds`` of wall clock and ``memory_mb``.

    A worker that runs over its time, dies, or runs out of memory is killed with its whole process group and replaced;
    the call gets a status. Time for imports is not counted in ``seconds``. Safe to use from several threads.

    ``tier`` "auto" takes "bubblewrap" where it holds and else "process"; asking for "bubblewrap" where it does not hold
    raises ValueError at the first call. The tiers in between are for programs: workers are then plain processes.
    """

    def __init__(self, workers: int = 2, seconds: float = 10.0, memory_mb: int = 2048, tier: AnyTier = "auto") -> None:
        if workers < 1 or seconds <= 0 or memory_mb < 64:
            raise ValueError(
                f"a pool needs at least 1 worker, a time limit above 0 and at least 64 MB; got workers={workers}, "
                f"seconds={seconds}, memory_mb={memory_mb}"
            )
        self.size, self.seconds, self.memory_mb, self.asked = workers, seconds, memory_mb, tier
        self._tier: Tier | None = None
        self._readable: set[Path] = set()
        self._spawned = 0
        self._workers: list[Worker] = []
        self._folder: Path | None = None
        self._lock = threading.Lock()
        atexit.register(self.close)

    def __enter__(self) -> Pool:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def tier(self) -> Tier:
        """What workers are kept in by. Raises ValueError when "bubblewrap" was asked for and does not hold here."""
        if self._tier is None:
            wanted = self.asked in ("auto", "bubblewrap")
            if self.asked == "bubblewrap" and why_no_jail():
                raise ValueError(f"graders cannot be kept in by bubblewrap here: {why_no_jail()}")
            self._tier = "bubblewrap" if wanted and not why_no_jail() else "process"
        return self._tier

    def refuse_foreign_code(self, what: str) -> None:
        """Raises ValueError where code of a model would run with this user's rights and nobody asked for that."""
        if self.tier == "process" and self.asked != "process":
            held = (
                f"nothing here keeps graders in ({why_no_jail()})"
                if why_no_jail()
                else f'"{self.asked}" is for programs'
            )
            raise ValueError(
                f"{what} runs code that a model wrote, and {held}. To run it with all your rights, unsafely, write "
                'tier = "process" under [grading]'
            )

    @property
    def alive(self) -> int:
        """Worker processes that run now; 0 before the first call."""
        return sum(worker.process.poll() is None for worker in self._workers)

    def folders(self) -> list[Path]:
        """The working directories of the workers that run now."""
        return [worker.folder for worker in self._workers]

    def call(self, reference: str, arguments: Mapping[str, Any], functions: Mapping[str, str] | None = None) -> Verdict:
        """``call_many`` of one."""
        return self.call_many(reference, [arguments], functions)[0]

    def call_many(
        self, reference: str, arguments: Sequence[Mapping[str, Any]], functions: Mapping[str, str] | None = None
    ) -> list[Verdict]:
        """Call ``reference(**functions, **arguments[i])`` for each i; verdicts come in the order of ``arguments``.

        ``reference`` is "module:function" or "/absolute/file.py:function"; ``functions`` maps parameter names to
        further references. Arguments must be JSON. What a function does never raises here.
        """
        given = dict(functions or {})
        shared = {"reference": reference, "functions": given}
        with self._lock:
            lines = [json.dumps(shared | {"args": dict(each)}).encode("ascii") + b"\n" for each in arguments]
            self._open_to(_folders([reference, *given.values()]))
            try:
                return _Batch(self, lines).run()
            finally:  # after an interruption: a busy worker's late reply must not answer a later call
                for worker in [worker for worker in self._workers if worker.job is not None]:
                    self._replace(worker)

    def _open_to(self, folders: set[Path]) -> None:
        """Let jailed workers read these folders too: those that run began without them."""
        if self.tier == "bubblewrap" and not folders <= self._readable:
            self._readable |= folders
            self.close()

    def close(self) -> None:
        """Kill the workers and remove their folders. A later call starts them again."""
        for worker in self._workers:
            discard(worker)
        self._workers.clear()
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None

    def _fill(self) -> None:
        while len(self._workers) < self.size:
            self._workers.append(self._spawn())

    def _replace(self, worker: Worker) -> Worker:
        discard(worker)
        fresh = self._spawn()
        self._workers[self._workers.index(worker)] = fresh
        return fresh

    def _spawn(self) -> Worker:
        if self._folder is None:
            self._folder = Path(tempfile.mkdtemp(prefix="togi-pool-"))
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        call_read, call_write = os.pipe()
        reply_read, reply_write = os.pipe()
        command = [sys.executable, "-P", "-m", "togi.sandbox.worker", str(call_read), str(reply_write)]
        command += [str(self.memory_mb)]
        try:
            with folder.with_suffix(".log").open("wb") as log:
                process = subprocess.Popen(
                    self._jailed(command, folder) if self.tier == "bubblewrap" else [*command, "0", "-1"],
                    pass_fds=(call_read, reply_write),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=log,
                    cwd=folder,
                    env=environment(folder),
                    start_new_session=True,
                )
        except BaseException:
            os.close(call_write)
            os.close(reply_read)
            raise
        finally:
            os.close(call_read)
            os.close(reply_write)
        os.set_blocking(call_write, False)
        return Worker(process=process, write_fd=call_write, read_fd=reply_read, folder=folder)

    def _jailed(self, command: Sequence[str], folder: Path) -> list[str]:
        self._spawned += 1
        user = bubblewrap.slot_user(self._spawned % bubblewrap.SLOTS)
        if user is not None:
            os.chown(folder, user, user)
        wall = bubblewrap.worker_jail(folder, sorted(self._readable))
        return [*wall, *command, str(PROCESSES), str(-1 if user is None else user)]


class _Batch:
    """One ``call_many``: hands lines to idle workers and watches pipes and clocks until every line has a verdict."""

    def __init__(self, pool: Pool, lines: Sequence[bytes]) -> None:
        self.pool = pool
        self.lines = lines
        self.waiting = deque(range(len(lines)))
        self.restarted: set[int] = set()
        self.verdicts: dict[int, Verdict] = {}

    def run(self) -> list[Verdict]:
        while len(self.verdicts) < len(self.lines):
            self.pool._fill()
            self._hand_out()
            busy = [worker for worker in self.pool._workers if worker.job is not None]
            for worker, events in self._ready(busy):
                if events & selectors.EVENT_WRITE:
                    feed(worker)
                if events & selectors.EVENT_READ:
                    self._read(worker)
            now = time.monotonic()
            for worker in busy:
                if worker.job is not None and now > worker.deadline:
                    self._expire(worker)
        return [self.verdicts[index] for index in range(len(self.lines))]

    def _hand_out(self) -> None:
        for worker in self.pool._workers:
            if self.waiting and worker.job is None:
                worker.job = self.waiting.popleft()
                worker.unsent = self.lines[worker.job]
                worker.running = False
                worker.deadline = time.monotonic() + LOAD_SECONDS
                feed(worker)

    def _ready(self, busy: Iterable[Worker]) -> list[tuple[Worker, int]]:
        with selectors.DefaultSelector() as selector:
            deadline = float("inf")
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
            self._finish(worker, Verdict(status="error", note=f"the result is larger than {REPLY_LIMIT} bytes"), True)
            return
        while worker.job is not None and b"\n" in worker.received:
            line, _, rest = bytes(worker.received).partition(b"\n")
            worker.received = bytearray(rest)
            reply = parse(line)
            if reply.get("began"):
                worker.running = True
                worker.deadline = time.monotonic() + self.pool.seconds
                continue
            verdict = Verdict(
                value=reply.get("value"),
                status=_SAID.get(str(reply.get("status")), "error"),
                note=str(reply.get("note", "")),
                output=str(reply.get("output", "")),
            )
            self._finish(worker, verdict, bool(reply.get("retire", False)))

    def _expire(self, worker: Worker) -> None:
        verdict = Verdict(status="error", note=f"did not load in {LOAD_SECONDS:g} s")
        if worker.running:
            verdict = Verdict(status="timeout", note=f"took longer than {self.pool.seconds:g} s")
        self._finish(worker, verdict, True)

    def _died(self, worker: Worker) -> None:
        job = worker.job
        assert job is not None
        if not worker.running and job not in self.restarted:  # it died idle, or while loading: not this call's doing
            self.restarted.add(job)
            self.waiting.appendleft(job)
            worker.job = None
            self.pool._replace(worker)
            return
        with suppress(subprocess.TimeoutExpired):  # bubblewrap ends a moment after the worker inside
            worker.process.wait(1.0)
        kill(worker)
        code = worker.process.returncode
        number = -code if code < 0 else code - 128  # as a shell does, bubblewrap adds 128
        known = number in {each.value for each in signal.Signals}
        how = f"was killed by {signal.Signals(number).name}" if known else f"ended with exit code {code}"
        log = "" if worker.running else worker.log.read_text(errors="replace").strip()[-500:]
        self._finish(worker, Verdict(status="error", note=f"the worker process {how}{': ' * bool(log)}{log}"), True)

    def _finish(self, worker: Worker, verdict: Verdict, replace: bool) -> None:
        assert worker.job is not None
        self.verdicts[worker.job] = verdict
        worker.job = None
        worker.unsent = b""
        if replace:
            self.pool._replace(worker)


def _folders(references: Iterable[str]) -> set[Path]:
    """The folders of the files among these references, which may import their neighbours."""
    places = (Path(reference.rpartition(":")[0]) for reference in references)
    return {place.resolve().parent for place in places if place.suffix == ".py"}


@cache
def why_no_jail() -> str:
    """Why workers cannot be jailed here; empty when a jailed worker was started and could not get out."""
    reason = bubblewrap.missing()
    if reason:
        return reason
    with Pool(workers=1, memory_mb=512) as pool, bait(PROCESSES) as arguments:
        pool._tier = "bubblewrap"
        verdict = pool.call("togi.sandbox.attempts:escapes", arguments)
        swollen = pool.call("togi.sandbox.attempts:swells", {"memory": 4 * pool.memory_mb * 2**20})
    if verdict.status != "ok" or swollen.status == "ok":
        return verdict.note or "memory has no limit"
    return ", ".join(verdict.value)


@cache
def shared_pool() -> Pool:
    """The pool that rewards use when none is given: one for this process, closed when it ends."""
    return Pool()
