"""What a tracker is told of a run, and what it must offer. Knows none of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol


@dataclass(frozen=True, kw_only=True)
class Tracked:
    """The run as its trackers know it.

    ``identity`` is the same whenever the run goes on, and no other run's. Steps after ``done`` are sent again by a run
    that goes on, and replace those that were sent before.
    """

    name: str
    project: str
    folder: Path
    identity: str
    done: int
    recipe: Mapping[str, Any]


class Tracker(Protocol):
    """Takes numbers by name; opened, called and closed in one thread that nothing waits for."""

    def log(self, numbers: Mapping[str, float], step: int) -> None: ...

    def close(self) -> None: ...
