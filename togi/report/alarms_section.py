"""What watching a run told: alarms with the attempts that show them, and what each signal says at the end.

It reads no file and writes no HTML.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from togi.evidence.during import SIGNALS, readings
from togi.evidence.read_run import Json, RunData
from togi.harmless_text import shortened
from togi.report.examples import LONGEST, Attempt, logged
from togi.short_values import text


@dataclass(frozen=True, kw_only=True)
class Shown:
    """An attempt that shows an alarm, with what was asked and what was expected."""

    task: str
    prompt: str
    expected: str
    attempt: Attempt


@dataclass(frozen=True, kw_only=True)
class AlarmView:
    severity: str
    step: str
    signal: str
    text: str
    open: bool
    attempts: tuple[Shown, ...]


@dataclass(frozen=True, kw_only=True)
class StageWatch:
    """One stage: its alarms, and the signals that were quiet, had too few steps, or were not measured."""

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
                alarms=_alarms(said),
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


def _alarms(said: Sequence[Json]) -> tuple[AlarmView, ...]:
    """In the order of their steps; the first critical one is open, or else the first."""
    shown = next((at for at, alarm in enumerate(said) if alarm["severity"] == "critical"), 0)
    return tuple(_alarm(alarm, at == shown) for at, alarm in enumerate(said))


def _alarm(alarm: Json, is_open: bool) -> AlarmView:
    known = alarm["signal"] if alarm["signal"] in SIGNALS else "unknown signal"
    return AlarmView(
        severity="critical" if alarm["severity"] == "critical" else "warning",
        step=str(alarm["step"]),
        signal=known,
        text=text(alarm["text"], 600),
        open=is_open,
        attempts=tuple(_shown(row) for row in alarm["rollouts"] if _whole(row)),
    )


def _shown(row: Json) -> Shown:
    answer = row.get("answer")
    return Shown(
        task=text(row.get("task"), 120),
        prompt=shortened(str(row.get("prompt", "")), LONGEST),
        expected="" if answer is None else text(answer, 120),
        attempt=logged(row),
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
        f"Critical alarm at step {alarm['step']} of {text(alarm['stage'])}: {text(alarm['text'], 600)}"
        for alarm in data.alarms
        if alarm["severity"] == "critical"
    ]


def stopped(data: RunData) -> list[str]:
    """Why a run that has not finished stopped, where it stopped by itself."""
    last = data.events[-1] if data.events else {}
    by_itself = last.get("event") in ("interrupted", "learner_lost")
    return [f"It stopped: {text(last.get('why'), 900)}."] if by_itself else []
