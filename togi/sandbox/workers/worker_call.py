"""Makes one call, in a worker or in a process that the worker forked for it; it knows no pool and no other call."""

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


class TooLong(ValueError):
    """What a function raises for something foreign that is longer than what it reads."""


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


STATUSES: Mapping[type[Exception], str] = {RecursionError: "depth", TooLong: "length"}


def make_and_end(
    function: Callable[..., Any], functions: Mapping[str, Any], args: Mapping[str, Any], reply_fd: int
) -> NoReturn:
    """Make a call, write its reply to ``reply_fd``, and end this process."""
    try:
        rest = make(function, functions, args).encode("ascii") + b"\n"
        while rest:
            rest = rest[os.write(reply_fd, rest) :]
    finally:
        os._exit(0)


def make(function: Callable[..., Any], functions: Mapping[str, Any], args: Mapping[str, Any]) -> str:
    """Make a call; gives ``{"status", "value", "note", "output", "peak_mb"}`` as JSON. Whatever it raises, SystemExit
    included, becomes a status."""
    output = Capped(OUTPUT_LIMIT)
    with redirect_stdout(output), redirect_stderr(output):
        try:
            value = function(**functions, **args)
            return json.dumps({"status": "ok", "value": value} | _aside(output))
        except BaseException as error:
            reply = failure(error)
    return json.dumps(reply | _aside(output))


def _aside(output: Capped) -> dict[str, Any]:
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return {"output": output.text, "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit}


def failure(error: BaseException) -> dict[str, Any]:
    if isinstance(error, MemoryError):
        error.__traceback__ = None  # with its frames goes what filled the memory
        return {"status": "memory", "note": "out of memory (MemoryError)"}
    return {"status": status(error), "note": explain(error)}


def status(error: BaseException) -> str:
    """What an exception other than MemoryError is told as."""
    return next((said for kind, said in STATUSES.items() if isinstance(error, kind)), "error")


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
