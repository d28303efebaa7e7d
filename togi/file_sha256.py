"""The SHA-256 of a file, by which weights, rows and whatever a run keeps are known again."""

from __future__ import annotations

import hashlib
from pathlib import Path


def file_sha256(path: Path) -> str:
    """In hexadecimal digits; read in pieces, so that a file may be larger than memory."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
