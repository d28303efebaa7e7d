"""Runs a command in a process group of its own, and ends all of the group when standard input closes: when whoever
started this is gone, or wrote there how many seconds the command has to end. Started as ``guard.py COMMAND ...``; it
imports nothing of Togi, so that it starts at once and takes little memory.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from contextlib import suppress

BY_SIGNAL = 128
"""A command that was ended by signal n has exit code 128 + n here, as in a shell."""
GRACE = 5.0  # seconds for the command to end, where nobody is left to say how many
_LOOK = 0.1  # seconds between two looks at the command
_DEATH_SIGNAL = 1  # prctl(2)


def main(command: list[str]) -> int:
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, process_group=0, preexec_fn=_die_with_guard)
    except OSError as error:
        print(f"{command[0]} cannot be started: {error}", file=sys.stderr)
        return 127
    while process.poll() is None:
        if select.select([sys.stdin], [], [], _LOOK)[0]:
            _end(process, _seconds(os.read(sys.stdin.fileno(), 64)))
    with suppress(ProcessLookupError, PermissionError):  # what it left running
        os.killpg(process.pid, signal.SIGKILL)
    return BY_SIGNAL - process.returncode if process.returncode < 0 else process.returncode


def _seconds(said: bytes) -> float:
    try:
        return float(said)
    except ValueError:
        return GRACE


def _end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Ask the group to end, and kill it when it does not."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(_LOOK / 2)
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _die_with_guard() -> None:
    """In the new process: let the kernel kill it when the guard itself is killed (Linux). The guard has one thread, so
    that nothing is held by another one here."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
