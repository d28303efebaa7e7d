"""The tier without namespaces: Landlock and seccomp, by the library sandlock. It knows no reward.

A program sees the host's files by name but opens only Python's, the system's libraries, and a folder of its own; it has
no network, and signals nobody outside. It runs as the user who runs Togi, or, where that is root, as one without any
right. Needs Linux 6.7 and the extra ``togi[sandbox]``.
"""

from __future__ import annotations

import os
import sys
import sysconfig
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from togi.extras import install
from togi.sandbox.box import Calls, Limits, Ran, Script, Tier
from togi.sandbox.confine import seccomp
from togi.sandbox.confine.libraries import interpreter, loader, shared_python
from togi.sandbox.confine.scratch import remove
from togi.sandbox.tiers.bubblewrap import COMMANDS, DEVICES, fresh_user
from togi.sandbox.tiers.child_process import LIBRARIES, Place, follow, write_job
from togi.sandbox.tiers.side_by_side import side_by_side

if TYPE_CHECKING:
    from sandlock.sandbox import Process

INSTALL = install("sandbox")


def missing() -> str:
    """Why Landlock cannot be used here; empty when the library and the kernel are there."""
    if sys.platform != "linux":
        return "Landlock is for Linux"
    if find_spec("sandlock") is None:
        return f"there is no sandlock: {INSTALL}"
    if seccomp.missing():
        return seccomp.missing()
    from sandlock import landlock_abi_version, min_landlock_abi

    if landlock_abi_version() < min_landlock_abi():
        return f"this kernel's Landlock has version {landlock_abi_version()}, and {min_landlock_abi()} is needed"
    return ""


@dataclass(frozen=True, kw_only=True)
class Landlock:
    """A box of rules about files, network and system calls. ``folder`` holds the compiled harness. With ``commands``
    the system's own can be read and started."""

    folder: Path
    workers: int
    commands: bool = False
    tier: Tier = field(default="landlock", init=False)

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        def one(program: Calls | Script) -> Ran:
            scratch = Path(tempfile.mkdtemp(prefix="togi-box-"))
            try:
                return self._one(program, limits, scratch, fresh_user())
            finally:
                remove(scratch)

        return side_by_side(one, programs, self.workers)

    def _one(self, program: Calls | Script, limits: Limits, scratch: Path, user: int | None) -> Ran:
        job, reply, stdin = (scratch / name for name in (".job", ".reply", ".stdin"))
        most = limits.processes if user is not None else _tasks() + limits.processes * (self.workers + 1)
        place = Place(
            folder=scratch,
            environment={},
            user=user,
            most={"RLIMIT_NPROC": most},
            stdin=str(stdin),
            filter=seccomp.program(metadata=False),
        )
        job.write_text(write_job(program, limits, place), encoding="ascii")
        stdin.write_bytes(program.stdin.encode("utf-8", "replace") if isinstance(program, Script) else b"")
        os.mkfifo(reply, 0o600)
        reply_fd = os.open(reply, os.O_RDONLY | os.O_NONBLOCK)
        try:
            began = time.monotonic()
            child = _Confined(_start(self, scratch, limits, [str(job), str(reply)]))
            return follow(program, limits, child, reply_fd, began)
        finally:
            os.close(reply_fd)


def _start(box: Landlock, scratch: Path, limits: Limits, arguments: list[str]) -> Process:
    from sandlock import Sandbox
    from sandlock.sandbox import StdioMode

    needed = [box.folder, interpreter(), Path(sysconfig.get_path("stdlib")), shared_python(), loader()]
    needed += [place for place in COMMANDS if place.is_dir()] if box.commands else []
    readable = [*DEVICES, *(str(path.resolve()) for path in needed if path is not None)]
    jail = Sandbox(
        fs_readable=readable,
        fs_writable=[str(scratch), *(["/dev/null"] if box.commands else [])],  # where shells put what nobody reads
        max_memory=limits.memory_mb * 2**20,
        max_processes=limits.processes,
        clean_env=True,
        env={"TMPDIR": str(scratch), "LD_LIBRARY_PATH": str(box.folder / LIBRARIES)},
        cwd=str(scratch),
        no_coredump=True,
    )
    command = [str(interpreter()), "-E", "-s", "-S", "-X", "utf8", str(box.folder / "harness.pyc"), *arguments]
    return jail.popen(command, stdin=StdioMode.NULL, stdout=StdioMode.PIPED, stderr=StdioMode.PIPED)


def _tasks() -> int:
    """Threads that run as this user: the kernel's limit on an ordinary user's counts them all."""
    found = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with suppress(OSError):
            said = dict(line.partition(":")[::2] for line in status.read_text("utf-8", "replace").splitlines())
            found += int(said["Threads"]) * (said["Uid"].split()[0] == str(os.getuid()))
    return found


class _Confined:
    """sandlock's process as the watch wants it."""

    def __init__(self, process: Process) -> None:
        assert process.stdout is not None
        assert process.stderr is not None
        self.process, self.stdout, self.stderr = process, process.stdout, process.stderr
        self.stdout_fd, self.stderr_fd = self.stdout.fileno(), self.stderr.fileno()
        self.code, self.ate_memory = 0, False

    def wait(self, seconds: float) -> bool:
        from sandlock import ExitReason

        result = self.process.wait(max(seconds, 0.001))
        self.code = 128 + result.signal if result.signal > 0 else max(result.exit_code, 0)
        self.ate_memory = result.reason == ExitReason.KILLED
        return bool(result.reason != ExitReason.TIMEOUT)

    def exceeds(self, memory: int) -> bool:
        return False  # sandlock ends what asks for more than all may have together

    def kill(self) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.wait(1.0)
        self.stdout.close()
        self.stderr.close()
