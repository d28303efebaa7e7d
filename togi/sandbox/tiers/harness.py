"""Runs one program inside a box and tells what its calls gave; it knows no tier and no expected value.

Started as ``python -E -s -S harness.pyc JOB REPLY`` beside ``codec.pyc``, without Togi and without installed packages;
JOB and REPLY are file descriptors or paths. The job is one JSON object; the replies are JSON lines: ``{"began"}``
before any foreign code runs, one of ``{"value"}``, ``{"raised"}``, ``{"none"}`` a call, and ``{"end", "note"}``. The
program may write there too, and gains nothing by it: whoever reads them believes only that these are values.
"""

from __future__ import annotations

import json
import os
import resource
import sys

TYPE_CHECKING = False  # typing is as slow to import as everything else here
if TYPE_CHECKING:
    from typing import Any, NoReturn

    from togi.sandbox.codec import NoValue, decode, encode
else:
    from codec import NoValue, decode, encode

NOTE = 300  # characters


def drop(user: int | None, program: bytes) -> None:
    """Become an unprivileged user, since only of such a user does the kernel count processes; then have system calls
    filtered, where the jail around does not."""
    if program:
        if TYPE_CHECKING:
            from togi.sandbox.confine.rights import become, confine
        else:
            from rights import become, confine
        if user is not None:
            become(user)
        confine(program)
    elif user is not None:
        os.setgroups([])
        os.setresgid(user, user, user)
        os.setresuid(user, user, user)


def channel(word: str, flags: int) -> int:
    return int(word) if word.isdecimal() else os.open(word, flags)


def limit(limits: dict[str, int]) -> None:
    """Set limits of this process and of its children, by their names in ``resource``."""
    for name, value in limits.items():
        kind = vars(resource)[name]
        hard = resource.getrlimit(kind)[1]
        allowed = value if hard == resource.RLIM_INFINITY else min(value, hard)
        resource.setrlimit(kind, (allowed, allowed))


def explain(error: BaseException) -> str:
    """An exception on one line. Its own text is foreign code too, and may fail."""
    try:
        return f"{type(error).__name__}: {error}"[:NOTE]
    except BaseException:
        return type(error).__name__[:NOTE]


class Replies:
    """The channel to whoever asked."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def say(self, reply: dict[str, Any]) -> None:
        line = json.dumps(reply).encode("ascii") + b"\n"
        while line:
            line = line[os.write(self.fd, line) :]

    def end(self, how: str, note: str = "") -> NoReturn:
        """Say the last word and leave at once: what the program registered for its exit is not waited for."""
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except BaseException as error:
                note = note or explain(error)
        self.say({"end": how, "note": note})
        os._exit(0)

    def fail(self, error: BaseException) -> NoReturn:
        if isinstance(error, MemoryError):
            error.__traceback__ = None  # with its frames goes what filled the memory
            self.end("memory")
        self.end("error", explain(error))


def load(source: str, name: str) -> dict[str, Any]:
    module = type(sys)(name)
    sys.modules[name] = module
    exec(compile(source, "program.py", "exec"), vars(module))
    return vars(module)


def run_script(source: str, replies: Replies) -> None:
    try:
        load(source, "__main__")
    except SystemExit:
        pass
    except MemoryError as error:
        replies.fail(error)
    except BaseException as error:
        sys.__excepthook__(type(error), error, error.__traceback__)
        replies.fail(error)
    replies.end("ok")


def run_calls(source: str, name: str, arguments: list[Any], replies: Replies) -> None:
    try:
        names = load(source, "program")
    except BaseException as error:
        replies.fail(error)
    if not callable(names.get(name)):
        replies.end("error", f"the program defines no function {name}")
    for tree in arguments:
        replies.say(call(names[name], decode(tree), replies))
    replies.end("ok")


def call(function: Any, arguments: tuple[Any, ...], replies: Replies) -> dict[str, Any]:
    try:
        value = function(*arguments)
    except MemoryError as error:
        replies.fail(error)
    except BaseException as error:
        return {"raised": explain(error)}
    try:
        return {"value": encode(value)}
    except NoValue as error:
        return {"none": str(error)[:NOTE]}
    except MemoryError as error:
        replies.fail(error)
    except BaseException as error:
        return {"none": explain(error)}


def main() -> None:
    with open(channel(sys.argv[1], os.O_RDONLY), encoding="utf-8") as file:
        job = json.load(file)
    reply_fd = channel(sys.argv[2], os.O_WRONLY)
    os.set_inheritable(reply_fd, False)
    if job["stdin"]:
        os.dup2(os.open(job["stdin"], os.O_RDONLY), 0)
    limit(job["limits"])
    drop(job["user"], bytes.fromhex(job["filter"]))
    sys.argv[:] = ["program.py"]
    del sys.path[0]  # this file's own folder
    replies = Replies(reply_fd)
    replies.say({"began": True})
    if "function" in job:
        run_calls(job["source"], job["function"], job["arguments"], replies)
    else:
        run_script(job["source"], replies)


if __name__ == "__main__":
    main()
