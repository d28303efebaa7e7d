"""One worker process as its pool holds it: its pipes, its end, and what it sees of this process. It knows no call."""

from __future__ import annotations

import hmac
import json
import os
import select
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.sandbox.confine.scratch import remove

ENVIRONMENT = ("PATH", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "PYTHONPATH", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(eq=False)
class Worker:
    """One child process and the parent's ends of its two pipes."""

    process: subprocess.Popen[bytes]
    write_fd: int
    read_fd: int
    folder: Path
    job: int | None = None
    secret: str = ""  # of the call it makes; a reply without it is not to this call
    running: bool = False
    deadline: float = 0.0
    unsent: bytes = b""
    received: bytearray = field(default_factory=bytearray)

    @property
    def log(self) -> Path:
        """What it said before its first call; beside its folder, where no graded code can put something else."""
        return self.folder.with_suffix(".log")

    @property
    def silent(self) -> bool:
        """Whether nothing came of it since its last call's end: no word before the next call is a reply to it."""
        return not self.received and not select.select([self.read_fd], [], [], 0)[0]

    def reply(self, line: bytes) -> dict[str, Any]:
        """What the worker says in a line to its call."""
        secret, _, body = line.partition(b" ")
        if hmac.compare_digest(secret, self.secret.encode("ascii")):
            with suppress(ValueError, RecursionError):
                reply: dict[str, Any] = json.loads(body)
                return reply
        return {"status": "error", "note": "something other than the worker wrote to its pipe", "retire": True}


def feed(worker: Worker) -> None:
    try:
        worker.unsent = worker.unsent[os.write(worker.write_fd, worker.unsent) :]
    except BlockingIOError:
        return
    except BrokenPipeError:  # the end of the reply pipe says the same, and is handled there
        worker.unsent = b""


def kill(worker: Worker) -> None:
    """End the worker and all it started, and wait for it. A process that was waited for has given its number away,
    so its group is only signalled before that."""
    if worker.process.returncode is None:
        with suppress(ProcessLookupError, PermissionError):  # it ended by itself; macOS then says "not permitted"
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()


def discard(worker: Worker) -> None:
    kill(worker)
    os.close(worker.write_fd)
    os.close(worker.read_fd)
    remove(worker.folder)
    worker.log.unlink(missing_ok=True)


def environment(folder: Path) -> dict[str, str]:
    """What a worker sees: a few harmless variables, no secrets, one thread, a fixed hash seed."""
    package_parent = str(Path(__file__).resolve().parents[3])
    kept = {name: os.environ[name] for name in ENVIRONMENT if name in os.environ}
    paths = [package_parent, *filter(None, [kept.get("PYTHONPATH")])]
    return kept | {
        "PYTHONPATH": os.pathsep.join(paths),
        "PYTHONHASHSEED": "0",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "OMP_NUM_THREADS": "1",
        "OPENBLAS_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }
