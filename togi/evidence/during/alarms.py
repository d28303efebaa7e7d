"""Watches a stage step by step and raises each alarm once. It writes no file and changes no reward."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.evidence.during.collapse_signals import COLLAPSES
from togi.evidence.during.metric_columns import Table
from togi.evidence.during.signal_level import Reading, State
from togi.evidence.during.signals import SIGNALS
from togi.evidence.during.step_measures import Row
from togi.evidence.during.telling_attempts import offenders

HELD = 2
"""Steps in a row that a signal must alarm for."""
AT_ONCE = frozenset({"numbers"})
"""Signals that need not last: they count faults of several steps themselves."""
RANK: Mapping[State, int] = {"warning": 1, "critical": 2}


@dataclass(frozen=True, kw_only=True)
class Alarm:
    """What went wrong, in words with numbers, and up to three attempts of the step that show it, as rollout rows."""

    stage: str
    step: int
    signal: str
    severity: State
    text: str
    rollouts: tuple[Mapping[str, Any], ...] = ()

    @property
    def collapse(self) -> bool:
        """Whether the policy is lost, so that going on would only cost time."""
        return self.signal in COLLAPSES and self.severity == "critical"


class Watching:
    """A stage under watch. Its state is a function of the metrics rows it was shown, so a resumed run alarms alike."""

    def __init__(self, stage: str) -> None:
        self.stage = stage
        self._table = Table()
        self._held: dict[str, int] = {}
        self._said: dict[str, int] = {}

    def look(self, metrics: Mapping[str, Any], rows: Sequence[Row] = ()) -> list[Alarm]:
        """Take a step's metrics row and its rollout rows, and give the alarms that they raise for the first time.

        An alarm is raised again only when it turns from a warning to critical.
        """
        self._table.add(metrics)
        raised = []
        for name, signal in SIGNALS.items():
            reading = signal(self._table)
            rank = RANK.get(reading.state, 0)
            self._held[name] = self._held.get(name, 0) + 1 if rank else 0
            if self._held[name] >= (1 if name in AT_ONCE else HELD) and rank > self._said.get(name, 0):
                self._said[name] = rank
                raised.append(
                    Alarm(
                        stage=self.stage,
                        step=int(metrics["step"]),
                        signal=name,
                        severity=reading.state,
                        text=reading.text,
                        rollouts=offenders(name, reading.about, rows),
                    )
                )
        return raised


def readings(metrics: Sequence[Mapping[str, Any]]) -> dict[str, Reading]:
    """What each signal says at the end of one stage's metrics rows."""
    table = Table()
    for row in metrics:
        table.add(row)
    return {name: signal(table) for name, signal in SIGNALS.items()}


def watched(stage: str, metrics: Sequence[Mapping[str, Any]]) -> Watching:
    """A watch that has seen the stage's rows among ``metrics``: where a run stands when it goes on, or at its end."""
    watching = Watching(stage)
    for row in metrics:
        if row["stage"] == stage:
            watching.look(row)
    return watching
