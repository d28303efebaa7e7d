"""The child process of a pool: reads calls, runs them, writes results. It knows no reward, no task and no model.

Started as ``python -m togi.sandbox.worker READ_FD WRITE_FD MEMORY_MB PROCESSES USER``; PROCESSES 0 sets no limit and
USER -1 stays who it is. A call is one JSON line
``{"reference", "functions", "args"}``; it is answered by ``{"began": true}`` once everything is imported (the caller's
clock starts there) and then by ``{"status", "value", "note", "output", "retire"}``. Imports nothing heavy, so that a
replacement is ready at once.
"""

from __future__ import annotations

import io
import json
import os
import resource
import signal
import sys
from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, BinaryIO

from togi.function import resolve

OUTPUT_LIMIT = 4096  # characters kept of what a call prints
FILE_LIMIT = 16 * 2**20  # bytes of the largest file that a call may write


class Capped(io.TextIOBase):
    """Keeps the first characters written to it and drops the rest."""

    def __init__(self, limit: int) -> None:
        self.text = ""
        self.limit = limit

    def writable(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text[: self.limit - len(self.text)]
        return len(text)


def set_limits(memory_mb: int, processes: int) -> None:
    """Cap memory, core files, file sizes and the number of this process and its children."""
    # On Linux the data limit counts private writable memory; the address space would also count what a library maps
    # and never touches. Other systems only know the address space.
    kind = resource.RLIMIT_DATA if sys.platform == "linux" else resource.RLIMIT_AS
    limits = [(kind, memory_mb * 2**20), (resource.RLIMIT_CORE, 0), (resource.RLIMIT_FSIZE, FILE_LIMIT)]
    for limit, value in limits + [(resource.RLIMIT_NPROC, processes)] * (processes > 0):
        _, hard = resource.getrlimit(limit)
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(limit, (allowed, allowed))


def die_with_parent() -> None:
    """Let the kernel kill this process when its parent is killed, even in the middle of a call (Linux)."""
    if sys.platform == "linux":
        import ctypes

        parent = os.getppid()
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
        if os.getppid() != parent:
            os._exit(1)


def become(user: int) -> None:
    """Change from root to ``user``, keeping only the right to read what this worker was given to read (Linux)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(8, 1)  # PR_SET_KEEPCAPS
    os.setgroups([])
    os.setresgid(user, user, user)
    os.setresuid(user, user, user)
    read = 1 << 2  # CAP_DAC_READ_SEARCH
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)  # version 3 of capset(2), this process
    sets = (ctypes.c_uint32 * 6)(read, read, 0, 0, 0, 0)  # effective, permitted, inheritable; then the upper halves
    if libc.capset(header, sets) != 0:
        raise OSError(ctypes.get_errno(), "cannot give up the rights of root")


def load(call: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
    """The function to call and the functions it is given as arguments."""
    functions = {name: resolve(reference, Path()) for name, reference in call["functions"].items()}
    return resolve(call["reference"], Path()), functions


def explain(error: BaseException) -> str:
    """An exception on one line, with the last line of code it came through."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace is not None else ""
    return f"{type(error).__name__}: {error}"[:1000] + place


def failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, MemoryError):
        # Where memory ran out is chance, and what was half built is unknown: this process is not used again.
        return {"status": "memory", "note": "out of memory (MemoryError)", "retire": True}
    return {"status": "depth" if isinstance(error, RecursionError) else "error", "note": explain(error)}


def answer(call: Mapping[str, Any], replies: BinaryIO) -> dict[str, Any]:
    """Run one call. Whatever it raises, SystemExit included, becomes a status: the boundary of graded code."""
    output = Capped(OUTPUT_LIMIT)
    with redirect_stdout(output), redirect_stderr(output):
        try:
            function, functions = load(call)
        except BaseException as error:
            reply = failure(error)
            note = f'cannot load "{call["reference"]}": {reply["note"]}'
            return reply | {"status": "error", "note": note, "output": output.text}
        send(replies, {"began": True})
        try:
            reply = {"status": "ok", "value": function(**functions, **call["args"])}
            json.dumps(reply)
        except BaseException as error:
            reply = failure(error)
    return reply | {"output": output.text}


def send(replies: BinaryIO, reply: Mapping[str, Any]) -> None:
    replies.write(json.dumps(reply).encode("ascii") + b"\n")
    replies.flush()


def main() -> None:
    read_fd, write_fd, memory_mb, processes, user = (int(argument) for argument in sys.argv[1:6])
    die_with_parent()
    if user >= 0:
        become(user)
    set_limits(memory_mb, processes)
    for fd in (read_fd, write_fd):
        os.set_inheritable(fd, False)
    # Until here standard error goes to a file that explains a failed start; graded code must not fill the disk.
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    with os.fdopen(read_fd, "rb") as calls, os.fdopen(write_fd, "wb") as replies:
        for line in calls:
            call = json.loads(line)
            send(replies, answer(call, replies))


if __name__ == "__main__":
    main()
