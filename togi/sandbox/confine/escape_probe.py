"""Does a box keep in what it must? A server, a file and a process outside as bait, and a program that tries to get at
them and past its limits.

It knows no tier: it only runs the attempts in the box it is given.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from togi.sandbox.box import Box, Calls, Limits
from togi.sandbox.confine import footprint, seccomp

LIMITS = Limits(seconds=10.0, memory_mb=256, processes=8, file_mb=1)


@contextmanager
def bait(processes: int) -> Iterator[dict[str, Any]]:
    """Arguments of ``attempts.escapes`` for a jail with this limit."""
    waits = [sys.executable, "-I", "-S", "-c", "import sys; sys.stdin.read()"]
    with (
        tempfile.TemporaryDirectory(prefix="togi-probe-") as folder,
        socket.create_server(("127.0.0.1", 0)) as server,
        subprocess.Popen(waits, stdin=subprocess.PIPE) as victim,
    ):
        file = Path(folder) / "bait.txt"
        file.write_text("not for programs", encoding="utf-8")
        Path(folder).chmod(0o755)
        file.chmod(0o644)
        port: int = server.getsockname()[1]
        calls = seccomp.refused()
        yield {"port": port, "path": str(file), "victim": victim.pid, "processes": 2 * processes, "calls": calls}


def interprets(box: Box) -> str:
    """Why a box that has no system runs nothing; empty when it does, and keeps memory and time limited."""
    swells = "def f(size):\n    return len([0] * size)"
    sleeps = "import time\ndef f(seconds):\n    time.sleep(seconds)"
    asked = [(swells, 1, "ok"), (swells, LIMITS.memory_mb * 2**20, "memory"), (sleeps, 60, "timeout")]
    programs = [Calls(source=source, function="f", arguments=((size,),)) for source, size, _ in asked]
    ran = box.run(programs, replace(LIMITS, seconds=1.0))
    wrong = [each for each, (_, _, status) in zip(ran, asked, strict=True) if each.status != status]
    return f"the probe ended with {wrong[0].status}: {wrong[0].note}" if wrong else ""


def escapes(box: Box) -> str:
    """What a program can do in this box that it must not, or why nothing runs there; empty for a box that holds."""
    source = Path(__file__).with_name("escape_attempts.py").read_text(encoding="utf-8")
    with bait(LIMITS.processes) as arguments:
        asked: list[tuple[str, tuple[Any, ...]]] = [("escapes", tuple(arguments.values()))]
        asked += [("fills", (2 * LIMITS.file_mb,))] * (box.tier == "bubblewrap")
        asked += [("swells_together", (2 * LIMITS.memory_mb * 2**20, 4))] * footprint.told()
        asked += [("swells", (4 * LIMITS.memory_mb * 2**20,))]
        ran = box.run([Calls(source=source, function=name, arguments=(given,)) for name, given in asked], LIMITS)
    found: list[str] = []
    for (name, _), each in zip(asked, ran, strict=True):
        if name.startswith("swells") and each.status == "memory":
            continue
        if each.status != "ok":
            return f"the probe ended with {each.status}: {each.note}"
        if each.outcomes[0].status != "ok":
            return f"the probe failed: {each.outcomes[0].note}"
        found += each.outcomes[0].value
    return ", ".join(found)
