"""Python programs of the model as a tool: each runs in a jail of its own, and what it prints is shown."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.sandbox.box import AnyTier, Box, Limits, Script
from togi.sandbox.tiers.choose_tier import open_box
from togi.tools.tool import Description, Kept, Result, argued, described

NAME = "python"


@dataclass(frozen=True, kw_only=True)
class PythonProgram:
    """Nothing is kept between calls. The jail is the strongest that holds here, or that of ``tier``."""

    seconds: float = 5.0
    tier: AnyTier = "auto"
    files: tuple[Path, ...] = ()
    _boxes: list[Box] = field(default_factory=list, compare=False, repr=False)

    @property
    def description(self) -> Description:
        about = "Runs a Python program. Only what it prints is shown; nothing is kept between calls."
        return described(NAME, about, code="The program, which prints what is wanted.")

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        given = argued(self.description, arguments)
        if given.problem:
            return Result(text=given.problem, failed=True)
        if not self._boxes:
            self._boxes.append(open_box(self.tier, workers=1))
        (ran,) = self._boxes[0].run([Script(source=given.texts["code"])], Limits(seconds=self.seconds))
        last = ran.stderr.strip().splitlines()[-1:]
        if ran.status != "ok" or last:
            why = last[0] if last else ran.note or ran.status
            return Result(text="\n".join(part for part in (ran.stdout.strip(), why) if part), failed=True)
        return Result(text=ran.stdout.strip() or "the program printed nothing")
