"""Checkpoints: exact resume from files that can prove they are whole. Knows files and hashes, not what is trained.

A checkpoint is a folder ``checkpoints/000012`` (12 = optimiser steps of the whole run). Its ``manifest.json`` is
written last and holds the size and sha256 of every other file; a folder without a fitting manifest is not a
checkpoint, nor is one whose manifest no event names. Loading walks from the newest back to the first good one and says
what it passed over.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from togi.file_sha256 import file_sha256
from togi.run_folder.files import dumps, write_folder, writing

STATE = "state.json"
MANIFEST = "manifest.json"


def save_checkpoint(
    root: Path,
    step: int,
    state: dict[str, Any],
    save: Callable[[Path], None],
    announce: Callable[[str], None],
    *,
    keep: int,
    needed: int = 0,
) -> Path:
    """Write ``root/STEP`` with ``state`` and whatever ``save(folder)`` writes; then drop all but the ``keep`` newest.

    ``announce`` is told the mark of the new one just before it takes its place: whatever stands was announced.
    ``needed`` is the expected size in bytes. Raises ``FolderError`` when the disk is full; older checkpoints stay.
    """
    path = root / f"{step:06d}"

    def fill(folder: Path) -> None:
        save(folder)
        (folder / STATE).write_text(dumps(state), encoding="utf-8")
        files = {
            file.name: {"size": file.stat().st_size, "sha256": file_sha256(file)} for file in sorted(folder.iterdir())
        }
        (folder / MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")

    with writing(root.parent, f"checkpoint {path.name}", needed):
        root.mkdir(parents=True, exist_ok=True)
        write_folder(path, fill, lambda folder: announce(manifest_mark(folder)))
        for old in checkpoints(root)[:-keep]:
            shutil.rmtree(old)
    return path


def newest_good(
    root: Path,
    announced: Mapping[str, Collection[str]],
    warn: Callable[[str], None],
    check: Callable[[dict[str, Any]], str | None],
) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint and its state, or None; ``warn`` hears of every one passed over, and why.

    ``announced`` are the marks that were told of each, by name; ``check(state)`` may find a fault outside the folder (a
    file that the state builds on).
    """
    for stale in root.glob(".*.partial"):
        shutil.rmtree(stale)
    for path in reversed(checkpoints(root)):
        fault = find_fault(path, announced.get(path.name, ()))
        if fault is None:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            fault = check(state)
            if fault is None:
                return path, state
        warn(f"checkpoint {path.name} is damaged ({fault}); going back to the one before it")
    return None


def manifest_mark(path: Path) -> str:
    """What stands for all of a checkpoint: the sha256 of the list of its files."""
    return file_sha256(path / MANIFEST)


def find_fault(path: Path, announced: Collection[str]) -> str | None:
    """What is wrong with a checkpoint folder, in words; None when its mark is among the ``announced`` and every byte is
    as written."""
    manifest = path / MANIFEST
    try:
        if manifest_mark(path) not in announced:
            return f"no event names its {MANIFEST} as it is"
        files = json.loads(manifest.read_text(encoding="utf-8"))
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST} is not readable"
    if STATE not in expected:
        return f"{MANIFEST} does not list {STATE}"
    if added := {file.name for file in path.iterdir()} - {MANIFEST, *expected}:
        return f"{min(added)} was added"
    for name, (size, checksum) in expected.items():
        file = path / name
        if not file.is_file():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, {size} were written"
        if file_sha256(file) != checksum:
            return f"{name} has other bytes than were written"
    return None


def checkpoints(root: Path) -> list[Path]:
    """The checkpoint folders, oldest first."""
    found = (path for path in root.glob("*") if path.is_dir() and path.name.isdecimal())
    return sorted(found, key=lambda path: int(path.name))
