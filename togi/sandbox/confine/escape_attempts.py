"""What a program tries to get out of a jail and past its limits, run inside it by the probe; it imports nothing of
Togi."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import resource
import signal
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

REFUSALS = (errno.EPERM, errno.ENOSYS, errno.EACCES)
KINDS = (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_RAW, socket.SOCK_SEQPACKET)
FAMILIES = 46
PATIENCE = 5.0  # seconds
SET_PIPE_SIZE, GROWS_DOWN = 1031, 0x100


def escapes(port: int, path: str, victim: int, processes: int, calls: Mapping[str, int]) -> list[str]:
    """What succeeded of: reaching a server at ``port``, reading or changing ``path``, ending the process ``victim``,
    having ``processes`` children or threads at once, holding rights of root, making one of the system calls, and
    taking memory that no limit counts."""
    attempts: list[tuple[str, Callable[[], object]]] = [
        ("reaches the network", lambda: socket.create_connection(("127.0.0.1", port), 1).close()),
        ("sends datagrams to any address", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)),
        ("reads files of the host", lambda: Path(path).read_bytes()),
        ("changes the rights of files of the host", lambda: Path(path).chmod(0o644)),
        ("changes the rights of devices", lambda: Path("/dev/null").chmod(0o666)),
        ("changes the times of files of the host", lambda: os.utime(path)),
        ("changes attributes of files of the host", lambda: os.setxattr(path, "user.togi", b"x")),
        ("changes owners of files of the host", lambda: os.chown(path, -1, -1)),
        ("ends processes of the host", lambda: os.kill(victim, signal.SIGKILL)),
        ("changes limits of other processes", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_CORE)),
        ("shares memory that has no limit", lambda: mmap.mmap(-1, 4096)),
        ("grows a stack that has no limit", lambda: mmap.mmap(-1, 4096, mmap.MAP_PRIVATE | mmap.MAP_ANON | GROWS_DOWN)),
        ("opens /dev/zero, a memory that has no limit", lambda: Path("/dev/zero").open("rb").close()),
        ("writes to /dev/shm", lambda: tempfile.TemporaryFile(dir="/dev/shm").close()),
        ("widens pipes", lambda: fcntl.fcntl(os.pipe()[1], SET_PIPE_SIZE, 2**20)),
    ]
    out = [f"a program {what}" for what, attempt in attempts if _succeeds(attempt)]
    out += [f"a program opens sockets of family {family}" for family in range(FAMILIES) if _opens(family)]
    out += [f"a program makes the system call {name}" for name, number in calls.items() if _calls(number)]
    if _rights():
        out.append("a program holds rights of root")
    if children(processes) >= processes:
        out.append("a program's processes have no limit")
    if threads(8 * processes) >= 8 * processes:
        out.append("a program's threads have no limit")
    return out


def swells(memory: int) -> list[str]:
    """Whether it could take ``memory`` bytes; where it may not, it raises MemoryError or is ended."""
    bytearray(memory)
    return ["a program's memory has no limit"]


def swells_together(memory: int, processes: int) -> list[str]:
    """Whether so many processes could hold ``memory`` bytes together for as long as a limit needs to be noticed; where
    they may not, they are ended."""
    for _ in range(processes):
        if not os.fork():
            held = bytearray(b"x") * (memory // processes)
            time.sleep(PATIENCE)
            os._exit(not held)
    ended = [os.waitstatus_to_exitcode(os.wait()[1]) for _ in range(processes)]
    return ["the memory of a program's processes together has no limit"] * (not any(ended))


def fills(megabytes: int) -> list[str]:
    """Whether it could write files of ``megabytes`` in all to the folder it works in."""
    try:
        for number in range(megabytes):
            Path(f"{number}.full").write_bytes(bytes(2**20))
    except OSError:
        return []
    return ["a program's files have no limit"]


def _succeeds(attempt: Callable[[], object]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def _opens(family: int) -> bool:
    return any(_succeeds(lambda kind=kind: socket.socket(family, kind).close()) for kind in KINDS)  # type: ignore[misc]


def _calls(number: int) -> bool:
    """Whether the kernel looks at a system call, with arguments that no call takes."""
    libc = ctypes.CDLL(None, use_errno=True)
    ctypes.set_errno(0)
    return bool(libc.syscall(number, *[ctypes.c_long(-1)] * 6) >= 0 or ctypes.get_errno() not in REFUSALS)


def _rights() -> bool:
    """Whether this process has a capability, or could get one."""
    sets = (ctypes.c_uint32 * 6)()
    ctypes.CDLL(None).capget((ctypes.c_uint32 * 2)(0x20080522, 0), sets)
    return any(sets[place] for place in (0, 1, 3, 4))  # effective and permitted, lower and upper halves


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


def threads(most: int) -> int:
    """How many threads there can be at once, up to ``most``."""
    end = threading.Event()
    started: list[threading.Thread] = []
    before = threading.stack_size(2**16)
    try:
        while len(started) < most:
            thread = threading.Thread(target=end.wait)
            thread.start()
            started.append(thread)
    except RuntimeError:
        pass
    finally:
        threading.stack_size(before)
    end.set()
    for thread in started:
        thread.join()
    return len(started)
