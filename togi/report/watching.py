"""What watching a run told: alarms with the attempts that show them, and what each signal says at the end.

It reads no file and writes no HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.watch import SIGNALS, readings
from togi.report.examples import Attempt, logged
from togi.report.plain import text
from togi.report.read import Json, RunData, planned_stages


@dataclass(frozen=True, kw_only=True)
class AlarmView:
    severity: str
    step: str
    signal: str
    text: str
    attempts: tuple[tuple[str, Attempt], ...]


@dataclass(frozen=True, kw_only=True)
class StageWatch:
    """One stage: its alarms, and the signals that were quiet, had too few steps, or had nothing to be told from."""

    stage: str
    sentence: str
    alarms: tuple[AlarmView, ...]
    quiet: str
    too_few: str
    unmeasured: str


def watching(data: RunData) -> list[StageWatch]:
    """Every stage whose answers were sampled, or that raised an alarm."""
    found = []
    for stage in data.stages:
        rows = [row for row in data.metrics if row["stage"] == stage]
        said = [alarm for alarm in data.alarms if alarm["stage"] == stage]
        told = readings(rows)
        if not said and not any("sampled_entropy" in row for row in rows):
            continue
        alarmed = {alarm["signal"] for alarm in said}
        states = {name: reading.state for name, reading in told.items() if name not in alarmed}
        found.append(
            StageWatch(
                stage=text(stage),
                sentence=_sentence(len(rows), said),
                alarms=tuple(_alarm(alarm) for alarm in said),
                quiet=", ".join(name for name, state in states.items() if state in ("quiet", "warning", "critical")),
                too_few=", ".join(name for name, state in states.items() if state == "not enough data"),
                unmeasured=", ".join(name for name, state in states.items() if state == "not measured"),
            )
        )
    return found


def _sentence(steps: int, said: Sequence[Json]) -> str:
    if not said:
        return f"No alarm in {steps} steps."
    return f"{len(said)} {'alarm' if len(said) == 1 else 'alarms'} in {steps} steps."


def _alarm(alarm: Json) -> AlarmView:
    known = alarm["signal"] if alarm["signal"] in SIGNALS else "unknown signal"
    return AlarmView(
        severity="critical" if alarm["severity"] == "critical" else "warning",
        step=str(alarm["step"]),
        signal=known,
        text=text(alarm["text"], 600),
        attempts=tuple((text(row.get("task"), 120), logged(row)) for row in alarm["rollouts"] if _whole(row)),
    )


def _whole(row: object) -> bool:
    """Whether it can be shown; a damaged row is left out."""
    return (
        isinstance(row, dict)
        and isinstance(row.get("score"), dict)
        and isinstance(row.get("completion"), str)
        and "tokens" in row
    )


def alarm_sentences(data: RunData) -> list[str]:
    """Critical alarms in a sentence each."""
    return [
        f"Alarm while {text(alarm['stage'])} trained, at step {alarm['step']}: {text(alarm['text'], 600)}"
        for alarm in data.alarms
        if alarm["severity"] == "critical"
    ]


def alarmed_on_the_way(data: RunData, model: str) -> bool:
    """Whether a critical alarm was raised in the stage that made a model, or in one that it was built on."""
    plans = [stage for stage in planned_stages(data.recipe) if "name" in stage]
    names = [str(stage["name"]) for stage in plans]
    way: list[str] = []
    while model in names and model not in way:
        way.append(model)
        at = names.index(model)
        model = str(plans[at].get("start") or (names[at - 1] if at else ""))
    return any(alarm["severity"] == "critical" and alarm["stage"] in way for alarm in data.alarms)
