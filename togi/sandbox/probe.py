"""Does a box keep in what it must? A program that tries to get out, and what it is expected to fail at.

It knows no tier: it only runs a program in the box it is given, with a server and a file outside as bait.
"""

from __future__ import annotations

import socket
import tempfile
from pathlib import Path

from togi.sandbox.box import Box, Calls, Limits

LIMITS = Limits(seconds=10.0, memory_mb=256, processes=8, file_mb=1)
SECRET = "not for programs"

SOURCE = """
import os
import socket

def escapes(port, path, memory, processes):
    out = []
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        out.append("reaches the network")
    except OSError:
        pass
    try:
        with open(path) as file:
            out.append("reads files of the host" if file.read() else "")
    except OSError:
        pass
    try:
        out.append("has no limit on memory" if len(bytearray(memory)) else "")
    except MemoryError:
        pass
    children = []
    try:
        while len(children) <= processes:
            child = os.fork()
            if not child:
                os.close(gate[1])
                os.read(gate[0], 1)
                os._exit(0)
            children.append(child)
        out.append("has no limit on processes")
    except OSError:
        pass
    os.close(gate[1])
    for child in children:
        os.waitpid(child, 0)
    return out

gate = os.pipe()
"""


def escapes(box: Box) -> str:
    """What a program can do in this box that it must not, or why nothing runs there; empty for a box that holds."""
    with tempfile.TemporaryDirectory(prefix="togi-probe-") as folder, socket.create_server(("127.0.0.1", 0)) as server:
        secret = Path(folder) / "secret.txt"
        secret.write_text(SECRET, encoding="utf-8")
        Path(folder).chmod(0o755)
        secret.chmod(0o644)
        arguments = (server.getsockname()[1], str(secret), 4 * LIMITS.memory_mb * 2**20, 4 * LIMITS.processes)
        program = Calls(source=SOURCE, function="escapes", arguments=(arguments,))
        (ran,) = box.run([program], LIMITS)
    if ran.status != "ok":
        return f"the probe ended with {ran.status}: {ran.note}"
    (outcome,) = ran.outcomes
    if outcome.status != "ok":
        return f"the probe failed: {outcome.note}"
    return ", ".join(outcome.value)
