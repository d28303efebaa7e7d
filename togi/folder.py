"""The run folder: its lock, its JSON lines, its event chain and atomic writes. Knows no model and no algorithm.

A run folder belongs to one process at a time. JSON lines are the truth of a run; whatever is written whole (a
checkpoint, an evaluation, a manifest) is written beside its place, flushed to disk, and renamed into place, so a
reader finds the old content or the new, never half of one.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

Json = dict[str, Any]


class FolderError(ValueError):
    """The run folder cannot be used as asked; the message says what to do."""


def dumps(value: Any) -> str:
    """JSON on one line. nan and infinity, which JSON lacks, become null."""
    return json.dumps(_finite(value), ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if value - value == 0.0 else None
    if isinstance(value, Mapping):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def digest(value: Any) -> str:
    """sha256 of a value's canonical JSON: equal values give equal digests whatever their key order."""
    text = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()


@contextmanager
def enough_space(path: Path, what: str, needed: int = 0) -> Iterator[None]:
    """Turn a full disk into a clear error, before (``needed`` bytes) and while writing ``what`` at ``path``."""
    free = shutil.disk_usage(path).free
    if free < needed:
        raise FolderError(_full(path, what, free, needed))
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise FolderError(_full(path, what, shutil.disk_usage(path).free, needed)) from error


def _full(path: Path, what: str, free: int, needed: int) -> str:
    wanted = f"; it needs about {needed / 1e9:.2f} GB" if needed else ""
    return (
        f"the disk is full: {free / 1e9:.2f} GB free at {path} when writing {what}{wanted}. "
        "What was saved before is intact: free some space and run the same command again."
    )


def write_text(path: Path, text: str) -> None:
    """Write a whole file or leave the old one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    with enough_space(path.parent, path.name, len(text)):
        try:
            with partial.open("w", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)


def write_folder(path: Path, fill: Callable[[Path], None]) -> None:
    """Make a folder with ``fill(temporary)`` and rename it into place; a failed fill leaves nothing behind."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        for item in [*partial.rglob("*"), partial]:
            _flush(item)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class RunFolder:
    """One run's folder, locked while open. ``FolderError`` when another process holds it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._last_event = ""

    def __enter__(self) -> Self:
        self.path.mkdir(parents=True, exist_ok=True)
        lock = self.path / ".lock"
        handle = os.open(lock, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.read(handle, 32).decode(errors="replace").strip() or "unknown"
            os.close(handle)
            raise FolderError(
                f"{self.path} is in use by process {holder}. Wait for it, stop it, or give this run another folder "
                "with --folder."
            ) from error
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        self._lock = handle
        self._last_event = self._tail_of_chain()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, name: str, row: Json) -> None:
        """Add one JSON line to ``name``."""
        with enough_space(self.path, name), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(dumps(row) + "\n")

    def sizes(self, *names: str) -> dict[str, int]:
        """The length of each file in bytes, 0 for one that is not there."""
        return {name: (self.path / name).stat().st_size if (self.path / name).exists() else 0 for name in names}

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Shorten files to what they held at a checkpoint, so that repeated steps are not written twice."""
        for name, size in sizes.items():
            path = self.path / name
            if path.exists():
                os.truncate(path, min(size, path.stat().st_size))

    def event(self, kind: str, **details: Any) -> None:
        """Add an event. Each line holds the hash of the one before, so that a later edit breaks the chain."""
        row: Json = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind, **details}
        row["before"] = self._last_event
        row = json.loads(dumps(row))
        row["hash"] = digest(row)
        self._last_event = row["hash"]
        self.append("events.jsonl", row)

    def _tail_of_chain(self) -> str:
        rows = read_lines(self.path / "events.jsonl")
        return str(rows[-1]["hash"]) if rows else ""


def read_lines(path: Path) -> list[Json]:
    """The rows of a JSON-lines file; a last line cut off by a kill is left out. Missing file: no rows."""
    if not path.exists():
        return []
    rows: list[Json] = []
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError as error:
            if number == len(lines):
                break
            raise FolderError(
                f"{path}, line {number}: not JSON ({error}). The file was damaged after writing."
            ) from error
    return rows


def broken_link(events: list[Json]) -> int | None:
    """The index of the first event whose hash does not fit, or None when the chain is whole."""
    before = ""
    for index, row in enumerate(events):
        content = {key: value for key, value in row.items() if key != "hash"}
        if row.get("before") != before or row.get("hash") != digest(content):
            return index
        before = row["hash"]
    return None
