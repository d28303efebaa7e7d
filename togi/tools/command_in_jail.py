"""Runs one command of a shell in a folder whose files it is given, and gives them back; runs inside a jail.

It imports nothing of Togi. What the command does to this process can change what is said of the command, and nothing
else: whoever asked believes only that these are a text, a number and files.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

FOLDER = "folder"
PIECE = 1 << 16


def run(files: dict[str, bytes], command: str, seconds: float, output: int, most: int, many: int) -> dict[str, Any]:
    """``output`` bytes are kept of what it writes, which ends it; ``most`` bytes in ``many`` files may be left."""
    folder = Path(FOLDER).absolute()
    folder.mkdir()
    for name, content in files.items():
        place = folder / name
        (place if name.endswith("/") else place.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            place.write_bytes(content)
            with suppress(OSError):  # some jails change no rights: then a file is not a program
                place.chmod(0o755)
    said, code, stopped = _said(command, folder, seconds, output)
    left, lost, whole = _left(folder, most, many)
    return {"said": said, "code": code, "stopped": stopped, "files": left, "lost": lost, "whole": whole}


def _said(command: str, folder: Path, seconds: float, output: int) -> tuple[bytes, int, str]:
    path = f"{Path(sys.executable).parent}:/usr/local/bin:/usr/bin:/bin"
    known = {name: os.environ[name] for name in ("LD_LIBRARY_PATH",) if name in os.environ}
    nothing = os.open(os.devnull, os.O_RDONLY)
    child = subprocess.Popen(
        ["/bin/sh", "-c", command],
        cwd=folder,
        env={**known, "PATH": path, "HOME": str(folder), "PWD": str(folder), "LANG": "C.UTF-8", "TMPDIR": str(folder)},
        stdin=nothing,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    assert child.stdout is not None
    os.set_blocking(child.stdout.fileno(), False)
    said, stopped, end = bytearray(), "", time.monotonic() + seconds
    while not stopped:
        over = child.poll() is not None
        with suppress(BlockingIOError):
            while len(said) <= output and (piece := os.read(child.stdout.fileno(), PIECE)):
                said += piece
        if len(said) > output:
            stopped = "output"
        if over:  # what it left running may hold the pipe open for ever
            break
        if time.monotonic() > end:
            stopped = "time"
        time.sleep(0.005)
    with suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    return bytes(said[:output]), child.wait(), stopped


def _left(folder: Path, most: int, many: int) -> tuple[dict[str, bytes], int, bool]:
    """The files that are left, how many of other kinds are not kept, and whether these are all."""
    files, lost, size = dict[str, bytes](), 0, 0
    for place, names, leaves in os.walk(folder):
        for name in sorted([*names, *leaves]):
            path = Path(place) / name
            relative = os.fsencode(path.relative_to(folder))
            try:
                key, kind = relative.decode("utf-8"), path.lstat().st_mode
                if stat.S_ISDIR(kind):
                    files[f"{key}/"] = b""
                elif stat.S_ISREG(kind) and size + path.lstat().st_size <= most:
                    files[key] = path.read_bytes()
                    size += len(files[key])
                elif stat.S_ISREG(kind):
                    return {}, lost, False
                else:
                    lost += 1
            except (OSError, UnicodeDecodeError):
                lost += 1
            if len(files) > many:
                return {}, lost, False
    return files, lost, True
