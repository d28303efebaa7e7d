"""Checkpoints: exact resume from files that can prove they are whole. Knows files and hashes, not what is trained.

A checkpoint is a folder ``checkpoints/000012`` (12 = optimiser steps of the whole run). Its ``manifest.json`` is
written last and holds the size and sha256 of every other file; a folder without a fitting manifest is not a
checkpoint. Loading walks from the newest back to the first good one and says what it passed over.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from togi.folder import dumps, enough_space, write_folder

STATE = "state.json"
MANIFEST = "manifest.json"


def save_checkpoint(
    root: Path, step: int, state: dict[str, Any], save: Callable[[Path], None], *, keep: int, needed: int = 0
) -> Path:
    """Write ``root/STEP`` with ``state`` and whatever ``save(folder)`` writes; then drop all but the ``keep`` newest.

    ``needed`` is the expected size in bytes. Raises ``FolderError`` when the disk is full; older checkpoints stay.
    """
    path = root / f"{step:06d}"

    def fill(folder: Path) -> None:
        save(folder)
        (folder / STATE).write_text(dumps(state), encoding="utf-8")
        files = {file.name: {"size": file.stat().st_size, "sha256": sha256(file)} for file in sorted(folder.iterdir())}
        (folder / MANIFEST).write_text(json.dumps(files, indent=1), encoding="utf-8")

    root.mkdir(parents=True, exist_ok=True)
    with enough_space(root, f"checkpoint {path.name}", needed):
        write_folder(path, fill)
    for old in sorted(_folders(root))[:-keep]:
        shutil.rmtree(old)
    return path


def newest_good(
    root: Path, warn: Callable[[str], None], check: Callable[[dict[str, Any]], str | None]
) -> tuple[Path, dict[str, Any]] | None:
    """The newest whole checkpoint and its state, or None; ``warn`` hears of every one passed over, and why.

    ``check(state)`` may find a fault outside the folder (a file that the state builds on).
    """
    if not root.exists():
        return None
    for stale in root.glob(".*.partial"):
        shutil.rmtree(stale)
    for path in sorted(_folders(root), reverse=True):
        fault = find_fault(path)
        if fault is None:
            state = json.loads((path / STATE).read_text(encoding="utf-8"))
            fault = check(state)
            if fault is None:
                return path, state
        warn(f"checkpoint {path.name} is damaged ({fault}); going back to the one before it")
    return None


def find_fault(path: Path) -> str | None:
    """What is wrong with a checkpoint folder, in words; None when every byte is as written."""
    manifest = path / MANIFEST
    try:
        files = json.loads(manifest.read_text(encoding="utf-8"))
        expected = {str(name): (int(entry["size"]), str(entry["sha256"])) for name, entry in files.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (ValueError, TypeError, KeyError, AttributeError):
        return f"{MANIFEST} is not readable"
    if STATE not in expected:
        return f"{MANIFEST} does not list {STATE}"
    for name, (size, checksum) in expected.items():
        file = path / name
        if not file.exists():
            return f"{name} is missing"
        if file.stat().st_size != size:
            return f"{name} has {file.stat().st_size} bytes, {size} were written"
        if sha256(file) != checksum:
            return f"{name} has other bytes than were written"
    return None


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _folders(root: Path) -> Iterator[Path]:
    return (path for path in root.iterdir() if path.is_dir() and path.name.isdigit())
