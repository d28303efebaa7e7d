"""The run folder: its lock, its JSON lines, its event chain and atomic writes. Knows no model and no algorithm.

A run folder belongs to one process at a time. JSON lines are the truth of a run; whatever is written whole (a
checkpoint, an evaluation, a manifest) is written beside its place, flushed to disk, and renamed into place, so a
reader finds the old content or the new, never half of one.

Every event may vouch for files: ``files`` maps paths to their marks, ``logs`` names of growing files to how long they
are and their sha256 up to there, ``removed`` and ``cut`` say what is no longer so. ``integrity.py`` reads these.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

from safetensors import SafetensorError

from togi.file_sha256 import file_sha256
from togi.run_folder.links import EVENTS, LOCK, stray

Json = dict[str, Any]


_HALF_PAIR = re.compile("[\ud800-\udfff]")


class FolderError(ValueError):
    """The run folder cannot be used as asked; the message says what to do."""


def dumps(value: Any) -> str:
    """JSON on one line. nan and infinity, which JSON lacks, become null."""
    plain = _finite(value)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False)
    # Half a surrogate pair is no character: UTF-8 has no bytes for it, an escape has.
    return text if text.isascii() or not _HALF_PAIR.search(text) else json.dumps(plain, allow_nan=False)


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
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def mark(path: Path) -> str:
    """sha256 of a file, or one digest over the names and sha256 of all files below a folder."""
    if path.is_file():
        return file_sha256(path)
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return digest({str(file.relative_to(path)): file_sha256(file) for file in files})


@contextmanager
def writing(path: Path, what: str, needed: int = 0) -> Iterator[None]:
    """Turn what the system refuses into clear words, before (a disk without ``needed`` bytes) and while writing
    ``what`` at ``path``."""
    free = shutil.disk_usage(path).free if needed else 0
    if free < needed:
        raise FolderError(_full(path, what, free, needed))
    try:
        yield
    except (OSError, SafetensorError) as error:
        # safetensors tells the system's error in words only.
        number = error.errno if isinstance(error, OSError) else _os_error(error)
        if number in (errno.ENOSPC, errno.EDQUOT):
            raise FolderError(_full(path, what, shutil.disk_usage(path).free, needed)) from error
        why = os.strerror(number) if number else str(error)
        raise FolderError(
            f"{what} cannot be written at {path}: {why}. What was there is intact: make the folder writable, or name "
            "another one."
        ) from error


def _os_error(error: SafetensorError) -> int | None:
    told = re.search(r"os error (\d+)", str(error))
    return int(told[1]) if told else None


def _full(path: Path, what: str, free: int, needed: int) -> str:
    wanted = f"; it needs about {needed / 1e9:.2f} GB" if needed else ""
    return (
        f"the disk is full: {free / 1e9:.2f} GB free at {path} when writing {what}{wanted}. "
        "What was saved before is intact: free some space and run the same command again."
    )


def write_text(path: Path, text: str) -> str:
    """Write a whole file or leave the old one; gives the sha256 of what was written."""
    data = text.encode()
    partial = path.with_name(f".{path.name}.partial")
    with writing(path.parent, path.name):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            partial.unlink(missing_ok=True)
            with partial.open("xb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
    return hashlib.sha256(data).hexdigest()


def write_folder(path: Path, fill: Callable[[Path], None], filled: Callable[[Path], None] = lambda _: None) -> None:
    """Make a folder with ``fill(temporary)`` and rename it into place, after ``filled(temporary)`` was told that all of
    it is on disk; a failed fill leaves nothing behind."""
    partial = path.with_name(f".{path.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        fill(partial)
        for item in [*partial.rglob("*"), partial]:
            _flush(item)
        filled(partial)
        if path.exists():
            shutil.rmtree(path)
        partial.rename(path)
        _flush(path.parent)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def remove(path: Path) -> None:
    """Delete a file or a folder."""
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class RunFolder:
    """One run's folder, locked while open. ``FolderError`` when another process holds it, or a part of it is a link."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None
        self._logs: dict[str, _Log] = {}

    def __enter__(self) -> Self:
        with writing(self.path, "the run folder"):
            self.path.mkdir(parents=True, exist_ok=True)
        refuse_links(self.path)
        with writing(self.path, "the run folder's lock"):
            handle = os.open(self.path / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
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
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(self, name: str, row: Json) -> None:
        """Add one JSON line to ``name``; it is on disk when this returns."""
        if name not in self._logs:
            self._logs[name] = _Log(self.path / name)
        data = (dumps(row) + "\n").encode()
        with writing(self.path, name):
            _append(self.path / name, data)
        self._logs[name].add(data)

    def seal(self, name: str) -> dict[str, Json]:
        """What ``grown`` would say of a file that somebody else writes; nothing where it is not there."""
        path = self.path / name
        return {name: {"size": path.stat().st_size, "sha256": file_sha256(path)}} if path.is_file() else {}

    def grown(self) -> dict[str, Json]:
        """How long the logs are that grew since this was asked last, and their sha256 up to there."""
        return {name: mark for name, log in self._logs.items() if (mark := log.news())}

    def sizes(self, *names: str) -> dict[str, int]:
        """The length of each file in bytes, 0 for one that is not there."""
        return {name: (self.path / name).stat().st_size if (self.path / name).exists() else 0 for name in names}

    def cut(self, sizes: Mapping[str, int]) -> None:
        """Shorten files to what they held at a checkpoint, so that repeated steps are not written twice."""
        for name, size in sizes.items():
            path = self.path / name
            self._logs.pop(name, None)
            if path.exists():
                os.truncate(path, min(size, path.stat().st_size))

    def marks(self, *paths: Path) -> dict[str, str]:
        """The marks of files and folders of this run, by their place in it."""
        return {str(path.relative_to(self.path)): mark(path) for path in paths}

    def event(self, kind: str, **details: Any) -> str:
        """Add an event to the chain; gives its hash."""
        return append_event(self.path, kind, **details)


class _Log:
    """A file that grows, with its running sha256."""

    def __init__(self, path: Path) -> None:
        content = path.read_bytes() if path.exists() else b""
        self._size, self._sha, self._told = len(content), hashlib.sha256(content), len(content)

    def add(self, data: bytes) -> None:
        self._size += len(data)
        self._sha.update(data)

    def news(self) -> Json:
        if self._size == self._told:
            return {}
        self._told = self._size
        return {"size": self._size, "sha256": self._sha.hexdigest()}


def refuse_links(folder: Path) -> None:
    """Raise FolderError when a part of a run folder leads elsewhere, before anything is written, cut or deleted."""
    if fault := stray(folder):
        raise FolderError(
            f"{fault}. Nothing was touched: put a real file or folder there, or name another run folder. To keep a run "
            "on another disk, let the whole run folder lie there."
        )


def append_event(folder: Path, kind: str, **details: Any) -> str:
    """Add an event to a run folder's chain and give its hash. Each line holds the hash of the one before, so that a
    later edit breaks the chain. Several processes may add: the file is locked meanwhile."""
    path = folder / EVENTS
    with writing(folder, EVENTS), path.open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        row: Json = {"time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), "event": kind, **details}
        row["before"] = _last_hash(file)
        row = json.loads(dumps(row))
        row["hash"] = digest(row)
        file.write((dumps(row) + "\n").encode())
        file.flush()
        os.fsync(file.fileno())
    return str(row["hash"])


def _last_hash(file: BinaryIO) -> str:
    """The hash in a chain's last line, and nothing for one that holds none; a line that a kill cut off goes."""
    end = file.seek(0, os.SEEK_END)
    tail, start = b"", end
    while start and tail.rstrip(b"\n").count(b"\n") < 2:
        start = max(0, start - 65_536)
        file.seek(start)
        tail = file.read(end - start)
    whole, _, cut = tail.rpartition(b"\n")
    if cut:
        file.truncate(end - len(cut))
    try:
        return str(json.loads(whole.rpartition(b"\n")[2])["hash"])
    except (ValueError, TypeError, KeyError):
        return ""


def _append(path: Path, data: bytes) -> None:
    with path.open("ab") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def read_lines(path: Path) -> list[Json]:
    """The rows of a JSON-lines file; a last line cut off by a kill is left out. Missing file: no rows.

    Raises FolderError naming the first line that is not a JSON object.
    """
    if not path.exists():
        return []
    rows: list[Json] = []
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as error:
        raise FolderError(f"{path} cannot be read: {error.strerror or error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = json.loads(line.decode())
            if not isinstance(row, dict):
                raise ValueError(f"a JSON object was wanted, this is {type(row).__name__}")
        except (ValueError, RecursionError) as error:
            if number == len(lines):
                break
            raise FolderError(
                f"{path}, line {number}: not readable ({error}). The file was damaged after writing."
            ) from error
        rows.append(row)
    return rows


def read_object(path: Path, of: str) -> Json:
    """The JSON object in a file of a folder that the command ``of`` wrote. Raises FolderError."""
    try:
        row = json.loads(path.read_bytes())
        if not isinstance(row, dict):
            raise ValueError(f"a JSON object was wanted, this is {type(row).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        raise FolderError(f"{path}: no file of {of} ({error})") from error
    return row


def broken_link(events: Sequence[Json]) -> int | None:
    """The index of the first event whose hash does not fit, or None when the chain is whole."""
    before = ""
    for index, row in enumerate(events):
        content = {key: value for key, value in row.items() if key != "hash"}
        if row.get("before") != before or row.get("hash") != digest(content):
            return index
        before = row["hash"]
    return None
