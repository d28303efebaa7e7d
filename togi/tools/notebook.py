"""A memory for one episode: texts noted down by a name, and read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from togi.tools.tool import Description, Kept, Result, argued, described

MOST, LONGEST = 100, 10_000  # notes of an episode, characters of one


@dataclass(frozen=True, kw_only=True)
class Remember:
    files: tuple[Path, ...] = ()

    @property
    def description(self) -> Description:
        about = "Notes a text down by a name; an earlier text of this name is replaced."
        return described("remember", about, name="What to find it by.", text="What to note down.")

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        given = argued(self.description, arguments)
        if given.problem:
            return Result(text=given.problem, failed=True)
        name, text = given.texts["name"], given.texts["text"]
        if len(name) + len(text) > LONGEST:
            return Result(text=f"a note has at most {LONGEST:,} characters", failed=True)
        if name not in kept.notes and len(kept.notes) >= MOST:
            return Result(text=f"there are {MOST} notes already: replace one", failed=True)
        kept.notes[name] = text
        return Result(text="noted")


@dataclass(frozen=True, kw_only=True)
class Recall:
    files: tuple[Path, ...] = ()

    @property
    def description(self) -> Description:
        return described("recall", "Gives the text that was noted down by a name.", name="The name of the note.")

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        given = argued(self.description, arguments)
        if given.problem:
            return Result(text=given.problem, failed=True)
        name = given.texts["name"]
        if name in kept.notes:
            return Result(text=kept.notes[name])
        return Result(text=f"there is no note {name!r}; there are: {', '.join(kept.notes) or 'none'}", failed=True)
