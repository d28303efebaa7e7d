"""What a job has cost by itself: time by phase, tokens, memory, energy, and what a judge at a server was asked.

What it took over from another job is not counted. All time of its processes that is neither a logged step nor a
measurement is starting: of Python, loading and saving models, and steps that a kill has lost.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from togi.askers.reply_cache import Spent, spent_in, spent_together
from togi.experiment.expected_cost import STARTING
from togi.experiment.ledger import Ended
from togi.rewards.judge.who_is_asked import CACHE
from togi.run_folder.adopt_stages import ADOPTED
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import read_chain

MEASURED = ("evaluated", "measured_on_the_way")


@dataclass(frozen=True, kw_only=True)
class JobCost:
    """``seconds`` by phase; ``written``, ``learned`` and ``measured`` count completion tokens, ``written`` those that
    were sampled to be learned from. ``machine`` are the seconds of the machine that were its own. ``joules`` is None
    where the machine tells nothing, and ``unmetered`` says that some process's energy is not in it."""

    seconds: Mapping[str, float] = field(default_factory=dict)
    written: int = 0
    learned: int = 0
    measured: int = 0
    memory_gb: float | None = None
    machine: float = 0.0
    joules: float | None = None
    unmetered: bool = False
    judge: Spent = field(default_factory=Spent)

    @property
    def tokens(self) -> int:
        return self.learned + self.measured

    @property
    def total_seconds(self) -> float:
        return sum(self.seconds.values())

    @property
    def starting(self) -> float:
        return self.seconds.get(STARTING, 0.0)


def job_cost(folder: Path, ended: Ended | None = None) -> JobCost:
    """What the run in a folder has cost so far; with ``ended`` also its starting and energy. Nothing, where there is
    none yet."""
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
    if ended is not None:
        seconds[STARTING] = max(0.0, ended.seconds - sum(seconds.values()))
    memory = [float(row["memory_gb"]) for row in rows if row.get("memory_gb") is not None]
    return JobCost(
        seconds=_longest_first(seconds),
        written=sum(int(row["tokens"]) for row in rows if "grade" in row["seconds"]),
        learned=sum(int(row["tokens"]) for row in rows),
        measured=measured,
        memory_gb=max(memory, default=None),
        machine=0.0 if ended is None else ended.machine,
        joules=None if ended is None else ended.joules,
        unmetered=ended is not None and ended.unmetered,
        judge=spent_in(folder / CACHE),
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
    known = [cost.joules for cost in every if cost.joules is not None]
    return JobCost(
        seconds=_longest_first(seconds),
        written=sum(cost.written for cost in every),
        learned=sum(cost.learned for cost in every),
        measured=sum(cost.measured for cost in every),
        memory_gb=max((cost.memory_gb for cost in every if cost.memory_gb is not None), default=None),
        machine=sum(cost.machine for cost in every),
        joules=sum(known) if known else None,
        unmetered=any(cost.unmetered for cost in every),
        judge=spent_together(cost.judge for cost in every),
    )
