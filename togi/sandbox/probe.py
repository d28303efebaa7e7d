"""Does a box keep in what it must? A server and a file outside as bait, and a program that tries to get at them.

It knows no tier: it only runs the attempts in the box it is given.
"""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from togi.sandbox.box import Box, Calls, Limits

LIMITS = Limits(seconds=10.0, memory_mb=256, processes=8, file_mb=1)


@contextmanager
def bait(processes: int) -> Iterator[dict[str, str | int]]:
    """Arguments of ``attempts.escapes`` for a jail with this limit."""
    with tempfile.TemporaryDirectory(prefix="togi-probe-") as folder, socket.create_server(("127.0.0.1", 0)) as server:
        file = Path(folder) / "bait.txt"
        file.write_text("not for programs", encoding="utf-8")
        Path(folder).chmod(0o755)
        file.chmod(0o644)
        port: int = server.getsockname()[1]
        yield {"port": port, "path": str(file), "processes": 2 * processes}


def interprets(box: Box) -> str:
    """Why a box that has no system runs nothing; empty when it does, and keeps memory limited."""
    source = "def swells(size):\n    return len([0] * size)"
    small, large = box.run(
        [Calls(source=source, function="swells", arguments=((size,),)) for size in (1, LIMITS.memory_mb * 2**20)],
        LIMITS,
    )
    if small.status != "ok" or large.status != "memory":
        return f"the probe ended with {small.status}: {small.note}, and without limit on memory with {large.status}"
    return ""


def escapes(box: Box) -> str:
    """What a program can do in this box that it must not, or why nothing runs there; empty for a box that holds."""
    source = Path(__file__).with_name("attempts.py").read_text(encoding="utf-8")
    with bait(LIMITS.processes) as arguments:
        out = Calls(source=source, function="escapes", arguments=(tuple(arguments.values()),))
        up = Calls(source=source, function="swells", arguments=((4 * LIMITS.memory_mb * 2**20,),))
        tried, swollen = box.run([out, up], LIMITS)
    if tried.status != "ok":
        return f"the probe ended with {tried.status}: {tried.note}"
    if tried.outcomes[0].status != "ok":
        return f"the probe failed: {tried.outcomes[0].note}"
    return ", ".join(tried.outcomes[0].value + ([] if swollen.status == "memory" else ["memory has no limit"]))
