"""What a job has cost by itself: time by phase, tokens, memory. What it took over from another job is not counted."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.run_folder.adopt_stages import ADOPTED
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import read_chain

MEASURED = ("evaluated", "measured_on_the_way")


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """``seconds`` by phase of logged steps and measurements; ``learned`` and ``measured`` count completion tokens."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    learned: int = 0
    measured: int = 0
    memory_gb: float | None = None

    @property
    def tokens(self) -> int:
        return self.learned + self.measured

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())


def job_cost(folder: Path) -> JobCost:
    """What the run in a folder has cost so far. Nothing, where there is none yet."""
    events = read_chain(folder).events
    taken = {str(name) for event in events if event.get("event") == ADOPTED for name in event.get("stages", [])}
    rows = [row for row in read_lines(folder / "timings.jsonl") if row.get("stage") not in taken]
    seconds: defaultdict[str, float] = defaultdict(float)
    for row in rows:
        for phase, spent in row["seconds"].items():
            seconds[str(phase)] += float(spent)
    measured = 0
    for event in events:
        for place in event.get("files", {}) if event.get("event") in MEASURED else ():
            record = _record(folder / place)
            seconds["evaluate"] += float(record.get("seconds", 0.0))
            measured += int(record.get("tokens", 0))
    memory = [float(row["memory_gb"]) for row in rows if row.get("memory_gb") is not None]
    return JobCost(
        seconds=_longest_first(seconds),
        learned=sum(int(row["tokens"]) for row in rows),
        measured=measured,
        memory_gb=max(memory, default=None),
    )


def _longest_first(seconds: Mapping[str, float]) -> dict[str, float]:
    return dict(sorted(seconds.items(), key=lambda item: -item[1]))


def _record(path: Path) -> Mapping[str, Any]:
    """An evaluation that may be missing, or made again after a kill."""
    try:
        record = json.loads(path.read_bytes().decode())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


def together(costs: Iterable[JobCost]) -> JobCost:
    """What several jobs have cost together, and the most memory that one of them held."""
    every = list(costs)
    seconds: defaultdict[str, float] = defaultdict(float)
    for cost in every:
        for phase, spent in cost.seconds.items():
            seconds[phase] += spent
    return JobCost(
        seconds=_longest_first(seconds),
        learned=sum(cost.learned for cost in every),
        measured=sum(cost.measured for cost in every),
        memory_gb=max((cost.memory_gb for cost in every if cost.memory_gb is not None), default=None),
    )
