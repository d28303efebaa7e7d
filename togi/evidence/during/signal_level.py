"""What a signal says of a stage: quiet, a warning, critical, or that it cannot tell. It knows no metric."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["quiet", "warning", "critical", "not enough data", "not measured"]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a signal says of a stage so far. ``about`` names the part of the reward that it speaks of, if any."""

    state: State
    text: str = ""
    about: str = ""


QUIET = Reading(state="quiet")
TOO_FEW = Reading(state="not enough data")
UNMEASURED = Reading(state="not measured")
