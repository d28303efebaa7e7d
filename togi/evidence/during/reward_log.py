"""The log of what own rewards print during a run, ``rewards.log``: bounded in size, and safe to show on a terminal.

It is for people: nothing reads it, and what depends on it is nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from togi.harmless_text import visible
from togi.run_folder.files import FolderError, writing

LARGEST = 1 << 20  # bytes; then the log is kept as rewards.log.old and begun anew
NAME = "rewards.log"


class RewardLog:
    """Appends to ``folder/rewards.log``. ``place`` is written before what is printed from now on."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / NAME
        self.place = ""

    def __call__(self, name: str, text: str) -> None:
        """A listener of ``printed_to``. Raises FolderError where the log is a link or a folder, or the disk is full."""
        head = f"[{self.place}] {name}: " if self.place else f"{name}: "
        lines = "".join(f"{head}{line}\n" for line in visible(text).splitlines() if line.strip())
        with writing(self.path.parent, NAME), os.fdopen(self._open(), "ab") as file:
            file.write(lines.encode())
            size = file.tell()
        if size > LARGEST:
            self.path.replace(self.path.with_name(f"{NAME}.old"))

    def _open(self) -> int:
        try:
            return os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        except OSError as error:
            if not self.path.is_symlink() and not self.path.is_dir():
                raise
            raise FolderError(f"{self.path} is no plain file, so nothing is written to it: take it away") from error
