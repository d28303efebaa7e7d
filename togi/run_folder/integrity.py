"""Whether a run folder is as it was written: its files held against what its events vouch for. It changes nothing.

It knows no kind of event: only which files an event vouches for (``files``, ``logs``), and which it says are gone
(``removed``, ``cut``). Without an event's hash that was kept elsewhere, it cannot tell a folder that was rewritten as a
whole, events and all.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from togi.models.model_source import newest_model
from togi.run_folder.checkpoint import checkpoints, find_fault
from togi.run_folder.files import FolderError, Json, digest, dumps, mark, refuse_links
from togi.run_folder.links import ASKED, EVENTS, LOGS, PARTS, WHOLE, stray

SHORTEST_HEAD = 16  # hexadecimal digits that are taken for an event's hash


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``path`` in the run folder, and what is wrong with it."""

    path: str
    what: str

    def __str__(self) -> str:
        return f"{self.path} {self.what}"


@dataclass(frozen=True, kw_only=True)
class Chain:
    """The events that can be read; ``broken`` is the number (from 1) of the first line that does not fit the chain."""

    events: tuple[Json, ...]
    broken: int | None

    @property
    def head(self) -> str:
        """The last event's hash, which stands for everything before it."""
        return str(self.events[-1].get("hash", "")) if self.events else ""

    @property
    def finished(self) -> bool:
        """Whether the run has come to its end, and not gone on since."""
        kinds = [event.get("event") for event in self.events if event.get("event") in ("finished", "resumed", "begun")]
        return bool(kinds) and kinds[-1] == "finished"


@dataclass(kw_only=True)
class Vouched:
    """What events say of the files that are there now: marks by path, for each log (length, sha256) in order, and all
    marks that were announced of a checkpoint, by its name: they may be deleted, and are made again after a kill."""

    files: dict[str, str] = field(default_factory=dict)
    checkpoints: dict[str, set[str]] = field(default_factory=dict)
    logs: dict[str, list[tuple[int, str]]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Integrity:
    """What was checked: ``held`` counts files that are as written, by folder or name; ``pending`` were written after
    the last event (by a run at work, or one that was killed) and are vouched for by nothing yet."""

    chain: Chain
    held: Mapping[str, int]
    faults: tuple[Fault, ...]
    pending: tuple[str, ...]

    @property
    def doubted(self) -> frozenset[str]:
        """Files and folders that no event vouches for as they are. Without events none can be told from another."""
        found = frozenset(self.pending) | {fault.path for fault in self.faults}
        return found if self.chain.events or "." in found else frozenset()

    def lines(self) -> list[str]:
        """What was checked and what was found, one line each, the faults last."""
        held = [f"✓ {name}: {count} as written" for name, count in sorted(self.held.items())]
        told = f"✓ {len(self.chain.events)} events in an unbroken chain" if self.chain.broken is None else ""
        waiting = [
            f"· {path} holds what no event names yet: a run at work, or one that was killed" for path in self.pending
        ]
        return [
            *([told] if told and self.chain.events else []),
            *held,
            *waiting,
            *(f"✗ {fault}" for fault in self.faults),
        ]


UNCHECKED = Integrity(chain=Chain(events=(), broken=None), held={}, faults=(), pending=())


def read_chain(folder: Path) -> Chain:
    """The events of a run folder. A last line that a kill cut off is left out; none at all makes an empty chain."""
    try:
        lines = (folder / EVENTS).read_bytes().split(b"\n")
    except OSError:
        lines = [b""]
    events: list[Json] = []
    broken, before = None, ""
    for number, line in enumerate(lines[:-1], start=1):
        row = _event(line)
        content = {key: value for key, value in row.items() if key != "hash"}
        # The text itself must be what Togi writes: a key written twice would show one value and mean another.
        fits = row.get("before") == before and row.get("hash") == digest(content) and dumps(row).encode() == line
        if not fits and broken is None:
            broken = number
        before = str(row.get("hash", ""))
        if row:
            events.append(row)
    return Chain(events=tuple(events), broken=broken)


def _event(line: bytes) -> Json:
    try:
        row = json.loads(line.decode())
    except (ValueError, RecursionError):
        return {}
    return row if isinstance(row, dict) else {}


def vouched(events: Sequence[Json]) -> Vouched:
    """What the events together say of the files that are there now. What is not of an event's shape says nothing."""
    found = Vouched()
    for event in events:
        for path in _removed(event):
            found.files.pop(str(path), None)
        for name, size in _table(event, "cut"):
            found.logs[name] = [seal for seal in found.logs.get(name, []) if seal[0] <= size]
        for path, told in _table(event, "files"):
            part, _, name = path.partition("/")
            if part == "checkpoints":
                found.checkpoints.setdefault(name, set()).add(str(told))
            elif _inside(path):
                found.files[path] = str(told)
        for name, told in _table(event, "logs"):
            if name in (*LOGS, *ASKED) and isinstance(told, dict) and isinstance(told.get("size"), int):
                found.logs.setdefault(name, []).append((told["size"], str(told.get("sha256"))))
    return found


def _table(event: Json, key: str) -> list[tuple[str, Any]]:
    value = event.get(key)
    return list(value.items()) if isinstance(value, dict) else []


def _inside(path: str) -> bool:
    parts = PurePosixPath(path).parts
    return bool(parts) and ".." not in parts and not path.startswith("/") and "\x00" not in path


def named_files(folder: Path, pattern: str) -> list[Path]:
    """The files whose paths in ``folder`` match ``pattern`` and which an event names, in the order of their names. What
    a kill left, or somebody added, counts for nothing: it is made, and written over."""
    known, whole = vouched(read_chain(folder).events).files, f"/{pattern}"  # a pattern from "/" is found nowhere else
    found = (folder / path for path in sorted(known) if PurePosixPath(f"/{path}").match(whole))
    return [path for path in found if path.is_file()]


def _removed(event: Json) -> list[Any]:
    removed = event.get("removed")
    return removed if isinstance(removed, list) else []


def check(folder: Path) -> Integrity:
    """Hold every file of a run folder against its events. What a link leads to is not read: it is not the run's."""
    if fault := stray(folder):
        led = Fault(path=".", what=f"is no whole run folder: {fault}")
        return Integrity(chain=UNCHECKED.chain, held={}, faults=(led,), pending=())
    chain = read_chain(folder)
    return compare(folder, chain, vouched(chain.events))


def compare(folder: Path, chain: Chain, known: Vouched) -> Integrity:
    """Hold the files of a folder against what is known of them."""
    faults = [*chain_faults(folder, chain), *file_faults(folder, known), *log_faults(folder, known)]
    wrong = {fault.path for fault in faults}
    logs = [name for name, seals in known.logs.items() if seals]
    held = Counter(path.partition("/")[0] for path in (*known.files, *logs) if path not in wrong)
    for path in checkpoints(folder / "checkpoints"):
        if fault := find_fault(path, known.checkpoints.get(path.name, ())):
            faults.append(Fault(path=f"checkpoints/{path.name}", what=f"was changed after it was written: {fault}"))
        else:
            held["checkpoints"] += 1
    # A kill between an event that files go and their removal leaves them there.
    leaving = _removed(chain.events[-1]) if chain.events else []
    pending = [path for path in _unnamed(folder, known) if path not in leaving]
    begun: list[Json] = []
    for name in (*LOGS, *(name for name in ASKED if name in known.logs)):
        rows = _log_fault(folder / name, known.logs.get(name, []))[1]
        begun += rows
        pending += [name] if rows else []
    if chain.finished or not _one_step(pending, begun):
        faults += [Fault(path=path, what="holds what no event names: it was added") for path in pending]
        pending = []
    return Integrity(chain=chain, held=held, faults=tuple(faults), pending=tuple(pending))


def chain_faults(folder: Path, chain: Chain) -> Iterator[Fault]:
    """What is wrong with the events themselves."""
    if not (folder / EVENTS).exists():
        yield Fault(path=EVENTS, what="is missing: nothing vouches for this folder")
    elif not chain.events:
        yield Fault(path=EVENTS, what="holds no event: nothing vouches for this folder")
    elif chain.broken is not None:
        yield Fault(
            path=EVENTS, what=f"was changed after it was written: line {chain.broken} does not fit the chain of events"
        )


def file_faults(folder: Path, known: Vouched) -> Iterator[Fault]:
    """Files and folders that are missing or not as events say."""
    for path, told in sorted(known.files.items()):
        if what := _file_fault(folder / path, told):
            yield Fault(path=path, what=what)


def log_faults(folder: Path, known: Vouched) -> Iterator[Fault]:
    """Logs that are missing, cut, or not as events say."""
    for name, seals in known.logs.items():
        if what := _log_fault(folder / name, seals)[0]:
            yield Fault(path=name, what=what)


def _file_fault(path: Path, told: str) -> str | None:
    if not path.exists():
        return "is missing"
    try:
        return None if mark(path) == told else "was changed after it was written"
    except OSError as error:
        return f"cannot be read ({error.strerror or error})"


def _log_fault(path: Path, seals: Sequence[tuple[int, str]]) -> tuple[str | None, list[Json]]:
    """What is wrong with a log, and its whole rows after the last place that an event vouches for."""
    content = path.read_bytes() if path.exists() else b""
    sha, done = hashlib.sha256(), 0
    for size, told in seals:
        if size > len(content):
            return f"is cut: {size - len(content)} bytes are missing at its end" if content else "is missing", []
        sha.update(content[done:size])
        done = size
        if sha.hexdigest() != told:
            return f"was changed after it was written, at or before line {content[:size].count(10)}", []
    return None, [_event(line) for line in content[done:].split(b"\n")[:-1]]


def _unnamed(folder: Path, known: Vouched) -> list[str]:
    """What lies in the run's own folders and is named by no event. Names with a dot before are of writes cut short."""
    parts = (part for part in PARTS if part != "checkpoints")
    entries = (f"{part}/{entry.name}" for part in parts for entry in sorted((folder / part).glob("[!.]*")))
    whole = (name for name in WHOLE if (folder / name).exists())
    return [path for path in (*whole, *entries) if path not in known.files]


def _one_step(pending: Sequence[str], rows: Sequence[Json]) -> bool:
    """Whether what no event names may be the step, or the end of a stage, at which a run is at work or was killed."""
    parts = [path.partition("/")[0] for path in pending]
    steps = {(str(row.get("stage")), str(row.get("step"))) for row in rows}
    return len(parts) == len(set(parts)) and len(steps) <= 1


def refuse_no_run(folder: Path) -> None:
    """Raise FolderError for what is no run folder."""
    if not folder.is_dir():
        raise FolderError(f"{folder}: no such run folder")
    if not _is_run(folder):
        raise FolderError(f"{folder}: not a run folder, it holds neither manifest.json nor {EVENTS}")


def _is_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in ("manifest.json", EVENTS))


def refuse_changed(folder: Path, *paths: str, instead: str = "") -> None:
    """Raise FolderError when files or folders of a run are not as its events say, or are named by none; ``instead`` is
    what can be done but to put them back."""
    refuse_links(folder)  # before anything is read: a pipe has no end
    chain = read_chain(folder)
    known = vouched(chain.events).files
    faults = [
        *chain_faults(folder, chain),
        *(Fault(path=path, what="is named by no event: nothing vouches for it") for path in paths if path not in known),
        *file_faults(folder, Vouched(files={path: known[path] for path in paths if path in known})),
    ]
    if faults:
        raise FolderError(
            f"{folder} is not as it was written: {faults[0]}. Put it back as it was{instead}; togi verify {folder} "
            "names all that was changed."
        )


def refuse_any_change(folder: Path, chain: Chain) -> None:
    """Raise FolderError when events or what they vouch for are not as they were written; logs as far as an event says,
    since a kill may leave more in them."""
    refuse_links(folder)
    known = vouched(chain.events)
    if faults := [*chain_faults(folder, chain), *file_faults(folder, known), *log_faults(folder, known)]:
        raise FolderError(
            f"{folder} is not as it was written: {faults[0]}. Put it back as it was (togi verify {folder} names all "
            "that was changed), or begin in another folder"
        )


def refuse_changed_model(source: str) -> None:
    """Raise FolderError when a model is one of a run's, and is not as that run's events say."""
    model = newest_model(Path(source)).absolute()
    folder = model.parent.parent
    if model.parent.name == "models" and _is_run(folder):
        whole = [] if Path(source).absolute() == model else ["recipe.toml"]
        refuse_changed(folder, f"models/{model.name}", *whole, instead=f", or copy {model} elsewhere and use that")


def find_head(chain: Chain, head: str) -> int | None:
    """The number (from 1) of the event whose hash begins with ``head``; None when there is none. Raises FolderError."""
    asked = head.strip().lower()
    if len(asked) < SHORTEST_HEAD or set(asked) - set("0123456789abcdef"):
        raise FolderError(f"a head is the hash of an event, {SHORTEST_HEAD} to 64 hexadecimal digits; got {head!r}")
    hashes = [str(event.get("hash", "")) for event in chain.events]
    return next((number for number, known in enumerate(hashes, start=1) if known.startswith(asked)), None)
