"""Runs a program as a child process through the harness, watches it, and reads its replies; it knows no tier.

Nothing the child says is believed beyond its form: output is cut, replies are checked, the exit code is ignored.
"""

from __future__ import annotations

import json
import os
import py_compile
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from math import ceil
from pathlib import Path
from typing import Any, Literal, Protocol

from togi.sandbox.box import Calls, Limits, Outcome, Ran, Script
from togi.sandbox.codec import NoValue, decode, encode
from togi.sandbox.confine import footprint, seccomp
from togi.sandbox.confine.libraries import copy_libraries
from togi.sandbox.confine.process_end import ending

FILES = 64  # open files of a program
PARTS = ("tiers/harness.py", "codec.py", "confine/rights.py")
LIBRARIES = "lib"  # beside the harness


class Start(Protocol):
    """How a tier starts a child: the command for the file descriptors of this job, its replies, and the filter of
    system calls."""

    def __call__(self, job_fd: int, reply_fd: int, filter_fd: int) -> Sequence[str]: ...


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a child starts: its folder, its environment, the user it becomes (None: it stays who it is), and limits
    beside those that every tier sets, by their names in ``resource``."""

    folder: Path
    environment: dict[str, str]
    user: int | None = None
    most: Mapping[str, int] = field(default_factory=dict)
    stdin: str = ""  # a file that becomes standard input, where it cannot be handed over
    filter: bytes = b""  # of system calls, where the harness has to set it


def write_harness(folder: Path) -> Path:
    """Compile the harness and the codec into ``folder``, and copy what Python needs of the system beside them; gives
    the file to start."""
    for part in PARTS:
        source = Path(__file__).parents[1] / part
        compiled = folder / f"{source.stem}.pyc"
        mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
        py_compile.compile(str(source), cfile=str(compiled), doraise=True, invalidation_mode=mode)
        compiled.chmod(0o644)
    if sys.platform == "linux":
        copy_libraries(folder / LIBRARIES)
    return folder / "harness.pyc"


def write_job(program: Calls | Script, limits: Limits, place: Place) -> str:
    """The job as the harness reads it. Raises ValueError for arguments that the codec cannot write."""
    job: dict[str, Any] = {"source": program.source, "user": place.user, "stdin": place.stdin}
    job |= {"limits": {**_rlimits(limits), **place.most}, "filter": place.filter.hex()}
    if isinstance(program, Calls):
        try:
            arguments = [encode(tuple(each)) for each in program.arguments]
        except NoValue as error:
            raise ValueError(f"arguments of {program.function} cannot enter a box: {error}") from error
        job |= {"function": program.function, "arguments": arguments}
    return json.dumps(job)


def _rlimits(limits: Limits) -> dict[str, int]:
    return {
        "RLIMIT_AS": limits.memory_mb * 2**20,
        "RLIMIT_CPU": ceil(limits.seconds) + 1,
        "RLIMIT_FSIZE": limits.file_mb * 2**20,
        "RLIMIT_NOFILE": FILES,
        "RLIMIT_CORE": 0,
    }


def run_child(program: Calls | Script, limits: Limits, start: Start, place: Place) -> Ran:
    """Run one program to its end or to a limit; when it returns, the child is gone."""
    job = write_job(program, limits, place)
    began = time.monotonic()
    with ExitStack() as stack:
        job_fd = _readable(stack, job.encode("ascii"))
        stdin = _readable(stack, program.stdin.encode("utf-8", "replace") if isinstance(program, Script) else b"")
        filter_fd = _readable(stack, b"" if seccomp.missing() else seccomp.program())
        reply_read, reply_write = os.pipe()
        stack.callback(os.close, reply_read)
        try:
            child = subprocess.Popen(
                start(job_fd, reply_write, filter_fd),
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=(job_fd, reply_write, filter_fd),
                cwd=place.folder,
                env=place.environment,
                start_new_session=True,
            )
        finally:
            os.close(reply_write)
        return follow(program, limits, _Spawned(child), reply_read, began)


def follow(program: Calls | Script, limits: Limits, child: Child, reply_fd: int, began: float) -> Ran:
    """Watch a child that was started at ``began`` (monotonic clock) until its end or a limit, and end it."""
    watch = _Watch(child, reply_fd, limits)
    try:
        watch.follow(began + limits.seconds)
    finally:
        child.kill()
    return _read(program, watch, time.monotonic() - began)


def _readable(stack: ExitStack, content: bytes) -> int:
    """A file descriptor to read ``content`` from, of any length, without a writer to feed it."""
    fd, name = tempfile.mkstemp(prefix="togi-job-")
    try:
        with os.fdopen(fd, "wb") as file:
            file.write(content)
        read_fd = os.open(name, os.O_RDONLY | os.O_CLOEXEC)
    finally:
        Path(name).unlink()
    stack.callback(os.close, read_fd)
    return read_fd


class Child(Protocol):
    """A process that was started in a jail."""

    @property
    def stdout_fd(self) -> int: ...

    @property
    def stderr_fd(self) -> int: ...

    @property
    def code(self) -> int:
        """Exit code once it ended, 128 and the signal's number when a signal ended it."""
        ...

    @property
    def ate_memory(self) -> bool:
        """Whether the jail ended it for its memory."""
        ...

    def wait(self, seconds: float) -> bool:
        """Whether it ended by itself within this time."""
        ...

    def exceeds(self, memory: int) -> bool:
        """Whether it holds more than so many bytes with all it started."""
        ...

    def kill(self) -> None:
        """End it with all it started, wait for it, and close its streams."""
        ...


class _Spawned:
    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process, self.stdout, self.stderr = process, process.stdout, process.stderr
        self.stdout_fd, self.stderr_fd = self.stdout.fileno(), self.stderr.fileno()
        self.ate_memory = False

    @property
    def code(self) -> int:
        code: int = self.process.returncode
        return 128 - code if code < 0 else code

    def wait(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def exceeds(self, memory: int) -> bool:
        return footprint.exceeds(self.process.pid, memory)

    def kill(self) -> None:
        if self.process.poll() is None:  # one that was waited for has given its number away
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.stdout.close()
        self.stderr.close()


class _Watch:
    """Reads the child's streams and replies until it ended, one of them carries too much, or time is up."""

    def __init__(self, child: Child, reply_fd: int, limits: Limits) -> None:
        self.child, self.reply_fd, self.limits = child, reply_fd, limits
        self.out, self.err, self.replies = bytearray(), bytearray(), bytearray()
        self.look = time.monotonic() + footprint.LOOK
        self.stopped: Literal["timeout", "memory", "output"] | None = None

    def follow(self, deadline: float) -> None:
        standard = {self.child.stdout_fd: self.out, self.child.stderr_fd: self.err}
        streams = {**standard, self.reply_fd: self.replies}
        with selectors.DefaultSelector() as selector:
            for fd, stream in streams.items():
                os.set_blocking(fd, False)
                selector.register(fd, selectors.EVENT_READ, stream)
            # The replies' other end may be opened late or never, so that their end says nothing.
            while self.stopped is None and not self.ended and any(fd in standard for fd in selector.get_map()):
                for key, _ in selector.select(self._look(deadline)):
                    if not self._take(key.fd, key.data):
                        selector.unregister(key.fd)
        while self.stopped is None and not self.ended and not self.child.wait(self._look(deadline)):
            pass
        for fd, stream in streams.items():  # what was written before the end
            while self.stopped is None and self._take(fd, stream):
                pass

    def _look(self, deadline: float) -> float:
        """Stop what is over its time or its memory; how many seconds it need not be looked at again."""
        now = time.monotonic()
        if now >= deadline:
            self.stopped = "timeout"
        elif now >= self.look:
            self.look = now + footprint.LOOK
            if self.child.exceeds(self.limits.memory_mb * 2**20):
                self.stopped = "memory"
        return 0.0 if self.stopped else min(self.look, deadline) - now

    @property
    def ended(self) -> bool:
        """Whether the harness said its last word: what the program left running is not waited for."""
        return self.replies.endswith(b"}\n") and self.replies.rpartition(b"\n{")[2].startswith(b'"end"')

    def _take(self, fd: int, stream: bytearray) -> bool:
        """Read a piece; whether there may be more."""
        room = self.limits.output_bytes - len(stream)
        try:
            chunk = os.read(fd, min(1 << 16, room + 1))
        except BlockingIOError:
            return False
        if len(chunk) > room:
            self.stopped = "output"
        stream += chunk[:room]
        return bool(chunk)


def _read(program: Calls | Script, watch: _Watch, seconds: float) -> Ran:
    """What became of a program, by what its child wrote and how it ended."""
    stdout, stderr = watch.out.decode("utf-8", "replace"), watch.err.decode("utf-8", "replace")
    wanted = len(program.arguments) if isinstance(program, Calls) else 0
    status, note, outcomes, judged = _verdict(bytes(watch.replies), wanted, watch)
    return Ran(
        status=status, outcomes=outcomes, stdout=stdout, stderr=stderr, seconds=seconds, note=note, judged=judged
    )


_Status = Literal["ok", "timeout", "memory", "output", "error"]


def _verdict(replies: bytes, wanted: int, watch: _Watch) -> tuple[_Status, str, tuple[Outcome, ...], bool]:
    lines = replies.split(b"\n")[:-1]
    if not lines and watch.stopped is None:
        said = watch.err.decode("utf-8", "replace").strip()[-300:]
        return "error", f"the box did not start: {said}", (), False
    try:
        outcomes, end, note = read_replies(lines, wanted)
    except NoValue as error:
        return "error", f"something other than the harness replied: {error}", (), True
    if watch.stopped == "timeout":
        return "timeout", f"took longer than {watch.limits.seconds:g} s", outcomes, True
    if watch.stopped == "memory":
        return "memory", f"its processes held more than {watch.limits.memory_mb} MB together", outcomes, True
    if watch.stopped == "output":
        return "output", f"wrote more than {watch.limits.output_bytes} bytes", outcomes, True
    if end in ("memory", "error"):
        return ("memory" if end == "memory" else "error"), note, outcomes, True
    if end is None and watch.child.ate_memory:
        return "memory", "", outcomes, True
    if end is None and (wanted or watch.child.code >= 128):
        return "error", ending(watch.child.code), outcomes, True
    if len(outcomes) < wanted:
        return "error", "it ended before all of its calls were made", outcomes, True
    return "ok", "", outcomes, True


def read_replies(lines: Sequence[bytes], wanted: int) -> tuple[tuple[Outcome, ...], str | None, str]:
    """Outcomes, the harness's last word (None without one) and its note. Raises NoValue for what no harness writes."""
    outcomes: list[Outcome] = []
    end, note = None, ""
    for number, line in enumerate(lines):
        try:
            reply = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise NoValue(str(error)[:100]) from error
        if not isinstance(reply, dict) or not reply or end is not None or ("began" in reply) != (number == 0):
            raise NoValue("a line out of place")
        if "end" in reply:
            end, note = str(reply["end"]), str(reply.get("note", ""))[:300]
        elif number:
            outcomes.append(_outcome(reply))
    if len(outcomes) > wanted:
        raise NoValue("more outcomes than calls")
    return tuple(outcomes), end, note


def _outcome(reply: dict[str, Any]) -> Outcome:
    ((kind, body),) = reply.items() if len(reply) == 1 else (("", None),)
    if kind == "value":
        return Outcome(value=decode(body))
    if kind == "raised" and isinstance(body, str):
        return Outcome(status="raised", note=body[:300])
    if kind == "none" and isinstance(body, str):
        return Outcome(status="no value", note=body[:300])
    raise NoValue("an outcome of no known kind")
