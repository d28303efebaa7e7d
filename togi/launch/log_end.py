"""What a command wrote last, for a message about it."""

from __future__ import annotations

import os
from pathlib import Path

from togi.harmless_text import visible

_BYTES = 8192


def end_of(log: Path, lines: int = 12) -> str:
    """The last lines of a log, made harmless to look at; "" where there is none."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - _BYTES))
            said = file.read(_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
    return visible("\n".join(said.strip().splitlines()[-lines:]))
