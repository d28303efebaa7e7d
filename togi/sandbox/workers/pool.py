"""A pool of worker processes that call functions under a clock; it does not know what the functions do.

In every tier a worker has its own process, session, working directory, limits and a cleared environment, so that
hanging, crashing, or eating memory harms nobody, and secrets in environment variables stay out. What a call leaves
running or in its folder is gone before the next, and a fresh call has a process of its own. In the tier "bubblewrap" a
worker also has no rights, no network, sees no process but its own, reads only Python, installed packages and the
folders of the files that are called, and writes only its own folder, in memory. In the tier "process" it can do what
this user can. In either, code that a grader runs can forge that grader's result, if it tries.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import repeat
from pathlib import Path
from types import TracebackType
from typing import Any

from togi.sandbox.box import AnyTier, Tier
from togi.sandbox.confine import footprint, seccomp
from togi.sandbox.confine.escape_probe import bait
from togi.sandbox.confine.scratch import remove
from togi.sandbox.tiers import bubblewrap
from togi.sandbox.workers.dispatch import Crew, Dispatch, Traces, Verdict
from togi.sandbox.workers.worker_handle import Worker, discard, environment

PROCESSES = 16  # of one jailed worker, with their threads
FOLDER_MB = 32  # that a jailed call may write
__all__ = ["Pool", "Verdict", "shared_pool", "why_no_jail"]


class Pool:
    """``workers`` processes, started at first use, each call limited to ``seconds`` of wall clock and ``memory_mb``.

    A process in which a call runs over its time, dies, or runs out of memory is ended with all it started, and the
    call gets a status. Time for imports is not counted in ``seconds``. Safe to use from several threads.

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
        self.traces = Traces()
        self._readable: set[Path] = set()
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

    def call(
        self,
        reference: str,
        arguments: Mapping[str, Any],
        functions: Mapping[str, str] | None = None,
        *,
        fresh: bool = False,
    ) -> Verdict:
        """``call_many`` of one."""
        return self.call_many(reference, [arguments], functions, fresh=fresh)[0]

    def call_many(
        self,
        reference: str,
        arguments: Sequence[Mapping[str, Any]],
        functions: Mapping[str, str] | None = None,
        *,
        fresh: bool = False,
        warm: Sequence[Mapping[str, Any]] = (),
    ) -> list[Verdict]:
        """Call ``reference(**functions, **arguments[i])`` for each i; verdicts come in the order of ``arguments``.

        ``reference`` is "module:function" or "/absolute/file.py:function"; ``functions`` maps parameter names to
        further references. Arguments must be JSON. What a function does never raises here. A ``fresh`` call has a
        process of its own, in which no foreign call was made before: for functions that run what a model wrote. What
        such a function loads and caches is gone with it; ``warm``, one for each of ``arguments``, has arguments in
        which nothing is foreign, and with these the worker makes a call first, outside the clock, so that the caches
        of the fresh process are full.
        """
        assert not warm or (fresh and len(warm) == len(arguments))
        given = dict(functions or {})
        shared = {"reference": reference, "functions": given, "fresh": fresh}
        with self._lock:
            before = map(dict, warm) if warm else repeat(None, len(arguments))
            calls = [{"args": dict(each), "warm": first} for each, first in zip(arguments, before, strict=True)]
            lines = [json.dumps(shared | call).encode("ascii") + b"\n" for call in calls]
            self._open_to(_folders([reference, *given.values()]))
            try:
                crew = Crew(
                    fill=self._fill,
                    replace=self._replace,
                    seconds=self.seconds,
                    memory_mb=self.memory_mb,
                    traces=self.traces,
                )
                return Dispatch(crew, lines, fresh).run()
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
            remove(self._folder)
            self._folder = None

    def _fill(self) -> list[Worker]:
        while len(self._workers) < self.size:
            self._workers.append(self._spawn())
        return self._workers

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
        command = [sys.executable, "-P", "-m", "togi.sandbox.workers.worker", str(call_read), str(reply_write)]
        command += [str(self.memory_mb)]
        jailed = self.tier == "bubblewrap"
        try:
            with folder.with_suffix(".log").open("wb") as log, tempfile.TemporaryFile() as filtered:
                if jailed:
                    # To root's worker the devices are its own, with their rights and times: see rights.become.
                    filtered.write(seccomp.program(metadata=os.geteuid() != 0))
                    filtered.seek(0)
                process = subprocess.Popen(
                    self._jailed(command, folder, filtered.fileno()) if jailed else [*command, "0", "-1"],
                    pass_fds=(call_read, reply_write, *([filtered.fileno()] if jailed else [])),
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

    def _jailed(self, command: Sequence[str], folder: Path, filter_fd: int) -> list[str]:
        user = bubblewrap.fresh_user()
        wall = bubblewrap.worker_jail(folder, sorted(self._readable), FOLDER_MB, filter_fd)
        return [*wall, *command, str(PROCESSES), str(-1 if user is None else user)]


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
    with Pool(workers=1, memory_mb=256) as pool, bait(PROCESSES) as arguments:
        pool._tier = "bubblewrap"
        memory = pool.memory_mb * 2**20
        asked = {"escapes": arguments, "fills": {"megabytes": 2 * FOLDER_MB}, "swells": {"memory": 4 * memory}}
        asked |= {"swells_together": {"memory": 3 * memory, "processes": 4}} if footprint.told() else {}
        tried = {
            name: pool.call(f"togi.sandbox.confine.escape_attempts:{name}", given) for name, given in asked.items()
        }
    found: list[str] = []
    for name, verdict in tried.items():
        if not (name.startswith("swells") and verdict.status == "memory"):
            found += verdict.value if verdict.status == "ok" else [verdict.note]
    return ", ".join(found)


@cache
def shared_pool() -> Pool:
    """The pool that rewards use when none is given: one for this process, closed when it ends."""
    return Pool()
