"""Makes the calls of one function, in a process that a worker forked for them; it knows no pool and no other."""

from __future__ import annotations

import io
import json
import os
import resource
import sys
from collections.abc import Callable, Mapping
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any, NoReturn

OUTPUT_LIMIT = 4096  # characters kept of what a call prints


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


def serve(function: Callable[..., Any], functions: Mapping[str, Any], call_fd: int, reply_fd: int) -> NoReturn:
    """Make the call of each line, an object of arguments, and answer it by a line, ``{"status", "value", "note",
    "output", "peak_mb", "last"}``, until there are no more; then end this process.

    Whatever a call raises, SystemExit included, becomes a status. ``last`` asks for a fresh process: where memory ran
    out is chance, and what was half built is unknown; and what a call started must not go on beside the next.
    """
    try:
        with os.fdopen(call_fd, "rb") as calls:
            for line in calls:
                rest = make(function, functions, json.loads(line)).encode("ascii") + b"\n"
                while rest:
                    rest = rest[os.write(reply_fd, rest) :]
    finally:
        os._exit(0)


def make(function: Callable[..., Any], functions: Mapping[str, Any], args: Mapping[str, Any]) -> str:
    output = Capped(OUTPUT_LIMIT)
    with redirect_stdout(output), redirect_stderr(output):
        try:
            value = function(**functions, **args)
            return json.dumps({"status": "ok", "value": value} | _aside(output))
        except BaseException as error:
            reply = failure(error)
    return json.dumps(_aside(output) | reply)


def _aside(output: Capped) -> dict[str, Any]:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
    return {"output": output.text, "peak_mb": peak, "last": _has_children()}


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, MemoryError):
        error.__traceback__ = None  # with its frames goes what filled the memory
        return {"status": "memory", "note": "out of memory (MemoryError)", "last": True}
    return {"status": "depth" if isinstance(error, RecursionError) else "error", "note": explain(error)}


def explain(error: BaseException) -> str:
    """An exception on one line, with the last line of code it came through. Its own text is foreign code too."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = f" ({Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno})" if trace is not None else ""
    try:
        return f"{type(error).__name__}: {error}"[:1000] + place
    except BaseException:
        return type(error).__name__[:1000] + place
