"""The child process of a pool: loads what calls need, and makes them, each or in a process that it forks for one.

It knows no reward, no task and no model. Started as ``python -m togi.sandbox.workers.worker CALLS REPLIES MEMORY_MB
PROCESSES USER``; PROCESSES 0 says that no jail is around, and USER -1 that it stays who it is. A call is one line,
``SECRET SECONDS {"reference", "functions", "args", "fresh", "warm"}``. It is answered by ``SECRET {"began"}`` once
everything is imported, and then by ``SECRET {"status", "value", "note", "output", "left", "peak_mb", "retire"}``. A
call that is ``fresh`` is made by a process that makes no other and has no pipe to the pool, forked after a call with
the arguments ``warm``, in which nothing is foreign. After each call what it started is ended, and the folder is
emptied.
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
from pathlib import Path
from typing import Any, BinaryIO

from togi.find_function import resolve
from togi.sandbox.confine.process_end import ending
from togi.sandbox.confine.rights import become, conceal, libc
from togi.sandbox.confine.scratch import empty
from togi.sandbox.workers.worker_call import OUTPUT_LIMIT, Capped, failure, make, make_and_end

FILE_LIMIT = 16 * 2**20  # bytes of the largest file that a call may write
FILES = 256  # open files of a process
REPLY_LIMIT = 4 * 2**20  # bytes of one result
MAPPED = 8 * 2**30  # bytes that libraries map and never touch
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
        libc.prctl(DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
        if os.getppid() != parent:
            os._exit(1)


class Worker:
    """The pipes to the pool, and whether a jail is around in which there is nobody else."""

    def __init__(self, calls: int, replies: BinaryIO, alone: bool) -> None:
        self.calls, self.replies, self.alone = calls, replies, alone
        self.folder = Path.cwd()
        self.secret = ""
        self.warmed: Any = None  # the reference and the arguments of the last call that was made for its caches

    def serve(self) -> None:
        with os.fdopen(self.calls, "rb", closefd=False) as calls:
            for line in calls:
                secret, seconds, call = line.split(b" ", 2)
                self.secret = secret.decode("ascii")
                self.answer(json.loads(call), float(seconds))

    def answer(self, call: Mapping[str, Any], seconds: float) -> None:
        """Make one call, or have it made. Whatever it does becomes a status: the boundary of graded code."""
        output = Capped(OUTPUT_LIMIT)
        with redirect_stdout(output), redirect_stderr(output):
            try:
                function, functions = load(call)
            except BaseException as error:
                reply = failure(error)
                note = f'cannot load "{call["reference"]}": {reply["note"]}'
                memory = reply["status"] == "memory"
                self.send({"status": "error", "note": note, "output": output.text, "retire": memory})
                return
        self.warm(call, function, functions)
        self.send({"began": True})
        if call["fresh"]:
            reply = self.fork(function, functions, call["args"], seconds)
        else:
            reply = read_reply(make(function, functions, call["args"]).encode("ascii"))
            # Where memory ran out is chance, and what was half built is unknown: this process is not used again.
            reply["retire"] = reply["status"] == "memory"
            reply["peak_mb"] = max(reply["peak_mb"], end_descendants(self.alone))
        reply["output"] = (output.text + reply["output"])[:OUTPUT_LIMIT]
        try:
            os.chdir(self.folder)  # from where a call may have gone
            self.send(reply | {"left": empty(self.folder)})
        except OSError as error:
            self.send({"status": "error", "note": f"its folder cannot be emptied: {error}", "retire": True})

    def warm(self, call: Mapping[str, Any], function: Any, functions: Mapping[str, Any]) -> None:
        """Fill the caches that a fresh call finds. How this call ends says nothing of that one."""
        about = call["reference"], call["warm"]
        if call["warm"] is not None and about != self.warmed:
            self.warmed = about
            make(function, functions, call["warm"])

    def fork(
        self, function: Any, functions: Mapping[str, Any], args: Mapping[str, Any], seconds: float
    ) -> dict[str, Any]:
        """Have a call made by a process that makes no other, and end what there is then."""
        reply_read, reply_write = os.pipe()
        gc.freeze()  # what was imported is not looked at, and so not copied, by the new process
        here = os.getpid()
        process = os.fork()
        if not process:
            for fd in (self.calls, self.replies.fileno(), reply_read):
                os.close(fd)
            die_with_parent(here)
            make_and_end(function, functions, args, reply_write)
        os.close(reply_write)
        reply = self.follow(process, reply_read, seconds)
        os.close(reply_read)
        reply["peak_mb"] = max(reply["peak_mb"], end_descendants(self.alone, process))
        return reply

    def follow(self, process: int, reply_fd: int, seconds: float) -> dict[str, Any]:
        """What a call's process replies, or what is to be said of it."""
        deadline = time.monotonic() + seconds
        said = bytearray()
        while not said.endswith(b"\n"):
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([reply_fd], [], [], left)[0]:
                return _fault(f"took longer than {seconds:g} s", status="timeout")
            chunk = os.read(reply_fd, 1 << 16)
            if not chunk:
                return _fault(f"the worker process {how_it_ended(process)}")
            said += chunk
            if len(said) > REPLY_LIMIT:
                break
        return read_reply(bytes(said))

    def send(self, reply: Mapping[str, Any]) -> None:
        self.replies.write(f"{self.secret} {json.dumps(reply)}\n".encode("ascii"))
        self.replies.flush()


def read_reply(line: bytes) -> dict[str, Any]:
    """The reply in a line of a call's process, which graded code may have written."""
    if len(line) > REPLY_LIMIT:
        return _fault(f"the result is larger than {REPLY_LIMIT} bytes")
    try:
        reply = json.loads(line)
        return {
            "status": str(reply["status"]),
            "value": reply.get("value"),
            "note": str(reply.get("note", "")),
            "output": str(reply["output"]),
            "peak_mb": float(reply["peak_mb"]),
        }
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError, MemoryError):
        return _fault("something other than the worker wrote to its pipe")


def _fault(note: str, status: str = "error") -> dict[str, Any]:
    return {"status": status, "note": note, "output": "", "peak_mb": 0.0}


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
    return ending(ended.si_status if ended.si_code == os.CLD_EXITED else -ended.si_status)


def end_descendants(alone: bool, child: int = 0) -> float:
    """Kill ``child`` and all else that descends from this process, wait for them, and give the most memory in MB that
    one of them held."""
    if not _has_children():  # nor has it any further descendants: those that lose their parents become its children
        return 0.0
    unit = 2**20 if sys.platform == "darwin" else 2**10
    most = 0.0
    until = time.monotonic() + PATIENCE
    ending = (
        [-1] if alone else [child] if child else _children()
    )  # -1 is everyone but this process and the first of its namespace
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


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


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
