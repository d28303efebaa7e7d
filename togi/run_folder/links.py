"""Whether all of a run folder lies in the run folder. It reads no file's content and changes nothing.

A run cuts logs and replaces or deletes whole folders of its own. Through a link it would do so elsewhere.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

EVENTS = "events.jsonl"
LOGS = ("metrics.jsonl", "timings.jsonl", "alarms.jsonl")
ASKED = ("replies.jsonl", "words.jsonl")
"""Logs of what models were asked in loops that are no training."""
LOCK = ".lock"
PARTS = (
    "rollouts",
    "evaluations",
    "evaluations_on_the_way",
    "models",
    "best",
    "checkpoints",
    "preferences",
    "verification",
    "steps",
    "thoughts",
    "references",
    "ahead",
)
"""The folders in a run folder that Togi writes; whatever else lies there is the user's."""

_IN_PLACE = (EVENTS, *LOGS, *ASKED, LOCK, "rewards.log")
WHOLE = ("manifest.json", "recipe.toml", "redteam.json", "doctor.json")


def stray(folder: Path) -> str | None:
    """The first part of a run folder that is a link, or no file or folder where one is wanted, in words; else None.

    The run folder itself may be a link. A second name of a file is harmless where the file is only ever replaced, and
    is told for those that grow and are cut in place.
    """
    for name in (*_IN_PLACE, *WHOLE):
        path = folder / name
        if not os.path.lexists(path):
            continue
        found = path.lstat()
        if fault := _no_file(path, found):
            return fault
        if name in _IN_PLACE and found.st_nlink > 1:
            return f"{path} is one file with {found.st_nlink} names (hard links), and a run would change all of them"
    for name in PARTS:
        if fault := _stray_below(folder / name):
            return fault
    return None


def _stray_below(part: Path) -> str | None:
    if not os.path.lexists(part):
        return None
    if part.is_symlink():
        return _link(part)
    if not part.is_dir():
        return f"{part} is wanted as a folder and is none"
    for place, folders, files in os.walk(part):
        for name in folders:
            if (Path(place) / name).is_symlink():
                return _link(Path(place) / name)
        for name in files:
            path = Path(place) / name
            if fault := _no_file(path, path.lstat()):
                return fault
    return None


def _no_file(path: Path, found: os.stat_result) -> str | None:
    if stat.S_ISLNK(found.st_mode):
        return _link(path)
    return None if stat.S_ISREG(found.st_mode) else f"{path} is wanted as a file and is none"


def _link(path: Path) -> str:
    return f"{path} is a symbolic link (to {path.readlink()}), and a run would change what lies there"
