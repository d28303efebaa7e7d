"""The tier without namespaces: Landlock and seccomp, by the library sandlock. It knows no reward.

A program sees the host's files by name but opens only Python's, the system's libraries, and a folder of its own; it has
no network, and signals nobody outside. It keeps the user it was started by. Needs Linux 6.7 and the extra
``togi[sandbox]``.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from togi.sandbox.box import Calls, Limits, Ran, Script, Tier
from togi.sandbox.bubblewrap import interpreter
from togi.sandbox.child import Place, follow, write_job
from togi.sandbox.slots import side_by_side

if TYPE_CHECKING:
    from sandlock.sandbox import Process

INSTALL = "install togi[sandbox]"
SYSTEM = ("/usr/lib", "/usr/lib64", "/lib", "/lib64", "/etc/ld.so.cache", "/dev/null", "/dev/zero", "/dev/urandom")


def missing() -> str:
    """Why Landlock cannot be used here; empty when the library and the kernel are there."""
    if sys.platform != "linux":
        return "Landlock is for Linux"
    if find_spec("sandlock") is None:
        return f"there is no sandlock: {INSTALL}"
    from sandlock import landlock_abi_version, min_landlock_abi

    if landlock_abi_version() < min_landlock_abi():
        return f"this kernel's Landlock has version {landlock_abi_version()}, and {min_landlock_abi()} is needed"
    return ""


@dataclass(frozen=True, kw_only=True)
class Landlock:
    """A box of rules about files, network and system calls. ``folder`` holds the compiled harness."""

    folder: Path
    workers: int
    tier: Tier = field(default="landlock", init=False)

    def run(self, programs: Sequence[Calls | Script], limits: Limits) -> list[Ran]:
        def one(program: Calls | Script, slot: int) -> Ran:
            scratch = Path(tempfile.mkdtemp(prefix="togi-box-"))
            try:
                return self._one(program, limits, scratch)
            finally:
                shutil.rmtree(scratch, ignore_errors=True)

        return side_by_side(one, programs, self.workers)

    def _one(self, program: Calls | Script, limits: Limits, scratch: Path) -> Ran:
        job, reply, stdin = (scratch / name for name in (".job", ".reply", ".stdin"))
        place = Place(folder=scratch, environment={}, stdin=str(stdin), surrender=os.geteuid() == 0)
        job.write_text(write_job(program, limits, place), encoding="ascii")
        stdin.write_bytes(program.stdin.encode("utf-8", "replace") if isinstance(program, Script) else b"")
        os.mkfifo(reply, 0o600)
        reply_fd = os.open(reply, os.O_RDONLY | os.O_NONBLOCK)
        try:
            began = time.monotonic()
            child = _Confined(_start(self.folder, scratch, limits, [str(job), str(reply)]))
            return follow(program, limits, child, reply_fd, began)
        finally:
            os.close(reply_fd)


def _start(harness: Path, scratch: Path, limits: Limits, arguments: list[str]) -> Process:
    from sandlock import Sandbox
    from sandlock.sandbox import StdioMode

    readable = [str(harness), sys.base_prefix, *(name for name in SYSTEM if Path(name).exists())]
    jail = Sandbox(
        fs_readable=readable,
        fs_writable=[str(scratch)],
        max_memory=limits.memory_mb * 2**20,
        max_processes=limits.processes,
        clean_env=True,
        env={"TMPDIR": str(scratch)},
        cwd=str(scratch),
        no_coredump=True,
    )
    command = [str(interpreter()), "-E", "-s", "-S", "-X", "utf8", str(harness / "harness.pyc"), *arguments]
    return jail.popen(command, stdin=StdioMode.NULL, stdout=StdioMode.PIPED, stderr=StdioMode.PIPED)


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

    def kill(self) -> None:
        if self.process.pid is not None:
            self.process.kill()
            self.process.wait(1.0)
        self.stdout.close()
        self.stderr.close()
