"""The child process of a pool: loads what calls need, and has them made by processes that it forks.

It knows no reward, no task and no model. Started as ``python -m togi.sandbox.worker CALLS REPLIES MEMORY_MB PROCESSES
USER``; PROCESSES 0 says that no jail is around, and USER -1 that it stays who it is. A call is one line, ``SECRET
SECONDS {"reference", "functions", "args", "fresh"}``. It is answered by ``SECRET {"began"}`` once everything is
imported, and then by ``SECRET {"status", "value", "note", "output", "left", "peak_mb", "retire"}``. Only this process
has the pipes to the pool, and it runs nothing but imports. A call that is ``fresh`` gets a process that made no other
and makes no other; else the process of the function's last call makes it, if that left nothing running.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from togi.function import resolve
from togi.sandbox.call import OUTPUT_LIMIT, Capped, failure, serve
from togi.sandbox.scratch import empty

FILE_LIMIT = 16 * 2**20  # bytes of the largest file that a call may write
FILES = 256  # open files of a process
REPLY_LIMIT = 4 * 2**20  # bytes of one result
MAPPED = 8 * 2**30  # bytes that libraries map and never touch
KEPT = 4  # processes that are kept for a further call
PATIENCE = 5.0  # seconds for what a call left running to end
DEATH_SIGNAL, SUBREAPER = 1, 36  # prctl(2)


def set_limits(memory_mb: int, processes: int) -> None:
    """Cap memory, stack, core files, open files, file sizes and the number of this process and its children."""
    # On Linux the data limit counts private writable memory. The address space, which counts also what a library maps
    # and never touches, bounds what the kernel needs to keep account of it. Other systems only know the address space.
    memory = memory_mb * 2**20
    linux = sys.platform == "linux"
    limits = [(resource.RLIMIT_DATA, memory)] if linux else []
    limits += [(resource.RLIMIT_AS, memory + MAPPED * linux), (resource.RLIMIT_STACK, 8 * 2**20)]
    limits += [(resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, FILE_LIMIT), (resource.RLIMIT_NOFILE, FILES)]
    for limit, value in limits + [(resource.RLIMIT_NPROC, processes)] * (processes > 0):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        with suppress(ValueError):  # macOS refuses limits below what is in use
            resource.setrlimit(limit, (allowed, allowed))


def die_with_parent(parent: int) -> None:
    """Let the kernel kill this process when its parent is killed, even in the middle of a call (Linux)."""
    if sys.platform == "linux":
        from togi.sandbox.rights import libc

        libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


@dataclass(frozen=True, kw_only=True)
class Forked:
    """A process that makes the calls of one function, and this process's ends of its pipes."""

    process: int
    call_fd: int
    reply_fd: int

    def close(self) -> None:
        os.close(self.call_fd)
        os.close(self.reply_fd)


class Worker:
    """The pipes to the pool, the processes that are kept for a further call, and whether a jail is around in which
    there is nobody else."""

    def __init__(self, calls: int, replies: BinaryIO, alone: bool) -> None:
        self.calls, self.replies, self.alone = calls, replies, alone
        self.kept: dict[str, Forked] = {}
        self.secret = ""

    def serve(self) -> None:
        with os.fdopen(self.calls, "rb", closefd=False) as calls:
            for line in calls:
                secret, seconds, call = line.split(b" ", 2)
                self.secret = secret.decode("ascii")
                self.answer(json.loads(call), float(seconds))

    def answer(self, call: Mapping[str, Any], seconds: float) -> None:
        """Have one call made. Whatever it does becomes a status: the boundary of graded code."""
        output = Capped(OUTPUT_LIMIT)
        with redirect_stdout(output), redirect_stderr(output):
            try:
                function, functions = load(call)
            except BaseException as error:
                reply = failure(error)
                note = f'cannot load "{call["reference"]}": {reply["note"]}'
                self.send({"status": "error", "note": note, "output": output.text, "retire": "last" in reply})
                return
        name = f"{call['reference']} {call['functions']} {id(function)}"  # an edited file's function is another
        forked = self.kept.pop(name, None) or self.fork(function, functions)
        self.send({"began": True})
        reply = self.follow(forked, json.dumps(call["args"]).encode("ascii") + b"\n", seconds)
        reply["output"] = (output.text + reply.get("output", ""))[:OUTPUT_LIMIT]
        if reply.pop("last") or call["fresh"] or len(self.kept) == KEPT:
            reply["peak_mb"] = max(reply.get("peak_mb", 0.0), end_descendants(forked.process, self.alone))
            for ended in (forked, *self.kept.values()):
                ended.close()
            self.kept.clear()
        else:
            self.kept[name] = forked
        try:
            self.send(reply | {"left": empty(Path())})
        except OSError as error:
            self.send({"status": "error", "note": f"its folder cannot be emptied: {error}", "retire": True})

    def fork(self, function: Any, functions: dict[str, Any]) -> Forked:
        call_read, call_write = os.pipe()
        reply_read, reply_write = os.pipe()
        gc.freeze()  # what was imported is not looked at, and so not copied, by the new process
        here = os.getpid()
        process = os.fork()
        if not process:
            foreign = [self.calls, self.replies.fileno(), call_write, reply_read]
            for fd in foreign + [fd for other in self.kept.values() for fd in (other.call_fd, other.reply_fd)]:
                os.close(fd)
            die_with_parent(here)
            serve(function, functions, call_read, reply_write)
        os.close(call_read)
        os.close(reply_write)
        return Forked(process=process, call_fd=call_write, reply_fd=reply_read)

    def follow(self, forked: Forked, line: bytes, seconds: float) -> dict[str, Any]:
        """What a call's process replies, or what is to be said of it."""
        deadline = time.monotonic() + seconds
        os.set_blocking(forked.call_fd, False)
        said = bytearray()
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            readable, writable, _ = select.select([forked.reply_fd], [forked.call_fd] * bool(line), [], max(left, 0.0))
            if writable:
                with suppress(BrokenPipeError):  # the end of the other pipe says the same
                    line = line[os.write(forked.call_fd, line) :]
            if readable:
                chunk = os.read(forked.reply_fd, 1 << 16)
                said += chunk
                if not chunk:
                    return _fault(f"the worker process {how_it_ended(forked.process)}")
            elif left <= 0:
                return _fault(f"took longer than {seconds:g} s", status="timeout")
            if len(said) > REPLY_LIMIT:
                return _fault(f"the result is larger than {REPLY_LIMIT} bytes")
        return read_reply(bytes(said))

    def send(self, reply: Mapping[str, Any]) -> None:
        self.replies.write(f"{self.secret} {json.dumps(reply)}\n".encode("ascii"))
        self.replies.flush()


def read_reply(line: bytes) -> dict[str, Any]:
    """The reply in a line of a call's process, which graded code may have written."""
    try:
        reply = json.loads(line)
        return {
            "status": str(reply["status"]),
            "value": reply.get("value"),
            "note": str(reply.get("note", "")),
            "output": str(reply["output"]),
            "peak_mb": float(reply["peak_mb"]),
            "last": bool(reply["last"]),
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
        return _fault("something other than the worker wrote to its pipe")


def _fault(note: str, status: str = "error") -> dict[str, Any]:
    return {"status": status, "note": note, "last": True}


def load(call: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The function to call and the functions it is given as arguments."""
    functions = {name: resolve(reference, Path()) for name, reference in call["functions"].items()}
    return resolve(call["reference"], Path()), functions


def how_it_ended(child: int) -> str:
    """How a process that closed its end of the pipe ended."""
    until = time.monotonic() + 1.0
    while (ended := os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)) is None:
        if time.monotonic() > until:
            return "closed its pipe and went on"
        time.sleep(0.001)
    if ended.si_code == os.CLD_EXITED:
        return f"ended with exit code {ended.si_status}"
    names = {each.value: each.name for each in signal.Signals}
    return f"was killed by {names.get(ended.si_status, f'signal {ended.si_status}')}"


def end_descendants(child: int, alone: bool) -> float:
    """Kill ``child`` and all else that descends from this process, wait for them, and give the most memory in MB that
    one of them held."""
    unit = 2**20 if sys.platform == "darwin" else 2**10
    most = 0.0
    until = time.monotonic() + PATIENCE
    ending = [-1] if alone else [child]  # -1 is everyone but this process and the first of its namespace
    while ending:
        for process in ending:
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        try:
            usage = os.wait4(-1, 0)[2]
        except ChildProcessError:
            return most
        most = max(most, usage.ru_maxrss / unit)
        if time.monotonic() > until:  # outside a jail they can start new ones faster than they are ended
            os._exit(1)
        ending = ending if alone else _children()
    return most


def _children() -> list[int]:
    """This process's children, and, as they lose their parents, their children; none where the system does not say."""
    found: list[int] = []
    for path in Path("/proc/self/task").glob("*/children"):
        found += [int(word) for word in path.read_text(encoding="ascii").split()]
    return found


def main() -> None:
    read_fd, write_fd, memory_mb, processes, user = (int(argument) for argument in sys.argv[1:6])
    die_with_parent(os.getppid())
    if sys.platform == "linux":
        from togi.sandbox.rights import become, conceal, libc

        libc.prctl(SUBREAPER, 1, 0, 0, 0)
        if user >= 0:
            become(user)
        if processes:
            conceal()
    set_limits(memory_mb, processes)
    for fd in (read_fd, write_fd):
        os.set_inheritable(fd, False)
    # Until here standard error goes to a file that explains a failed start; graded code must not fill the disk.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    with os.fdopen(write_fd, "wb") as replies:
        Worker(read_fd, replies, alone=processes > 0).serve()


if __name__ == "__main__":
    main()
