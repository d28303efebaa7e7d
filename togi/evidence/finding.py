"""One thing a check found, in plain words. It knows no check."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``title`` says what was found, ``detail`` on what grounds, ``advice`` what to do. ``fail``: it cannot work."""

    level: Level
    title: str
    detail: str = ""
    advice: str = ""
