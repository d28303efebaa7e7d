"""What a program tries to get out of a jail, run inside it by the probe; it imports nothing of Togi."""

from __future__ import annotations

import os
import socket
from pathlib import Path


def escapes(port: int, path: str, processes: int) -> list[str]:
    """What succeeded of: reaching a server at ``port``, reading ``path``, and having ``processes`` children at once."""
    out = []
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
        out.append("a program reaches the network")
    except OSError:
        pass
    try:
        Path(path).read_bytes()
        out.append("a program reads files of the host")
    except OSError:
        pass
    if children(processes) >= processes:
        out.append("a program's processes have no limit")
    return out


def swells(memory: int) -> list[str]:
    """Whether it could take ``memory`` bytes; where it may not, it raises MemoryError or is ended."""
    bytearray(memory)
    return ["a program's memory has no limit"]


def children(most: int) -> int:
    """How many children there can be at once, up to ``most``."""
    read_fd, write_fd = os.pipe()
    started: list[int] = []
    try:
        while len(started) < most:
            child = os.fork()
            if not child:
                os.close(write_fd)
                os.read(read_fd, 1)  # until the parent closes the other end
                os._exit(0)
            started.append(child)
    except OSError:
        pass
    os.close(read_fd)
    os.close(write_fd)
    for child in started:
        os.waitpid(child, 0)
    return len(started)
