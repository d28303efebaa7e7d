"""One thing a check found, in plain words, and the file of a run folder that keeps them. It knows no check."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

from togi.run_folder.files import append_event, dumps, mark, write_text
from togi.run_folder.links import EVENTS

FILE = "doctor.json"
Level = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """``title`` says what was found, ``detail`` on what grounds, ``advice`` what to do. ``fail``: it cannot work."""

    level: Level
    title: str
    detail: str = ""
    advice: str = ""


def keep(folder: Path, verdict: str, sections: Sequence[tuple[str, Sequence[Finding]]]) -> None:
    """Write what the doctor found to a run's folder, where the report finds it."""
    found = [{"section": title, **asdict(finding)} for title, group in sections for finding in group]
    write_text(folder / FILE, dumps({"verdict": verdict, "findings": found}) + "\n")
    if (folder / EVENTS).exists():
        append_event(folder, "checked", files={FILE: mark(folder / FILE)})
