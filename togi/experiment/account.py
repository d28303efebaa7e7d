"""What an experiment took, by phase, beside what was forecast, and why the two differ. It measures nothing.

Seconds are those of all jobs together, also of those that were at work at once. Only jobs that are done are held
against their forecast.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isclose

from togi.experiment.expected_cost import GRADING, PHASES, STARTING, Expected, Forecast
from togi.experiment.job_cost import JobCost, together
from togi.experiment.ledger import Ended

LOGGED = {
    "sample": "sampling",
    "grade": "grading",
    "gold": "grading",
    "evaluate": "evaluating",
    "measure": "evaluating",
    STARTING: STARTING,
}
"""Phases of a step that are phases here; all others are learning."""
SMALL = 5.0
ALIKE = 1.15  # times as fast: a probe of milliseconds tells no better


@dataclass(frozen=True, kw_only=True)
class Phase:
    """``expected`` is None where nothing was forecast, ``tokens`` where none are counted."""

    name: str
    seconds: float
    expected: Expected | None = None
    tokens: int | None = None
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Account:
    """``why`` explains the whole, ``phases`` each part."""

    phases: tuple[Phase, ...]
    why: tuple[str, ...]

    @property
    def seconds(self) -> float:
        return sum(phase.seconds for phase in self.phases)


def account(costs: Mapping[str, JobCost], ended: Mapping[str, Ended], forecast: Forecast | None) -> Account:
    """Of the jobs that are done. ``costs`` are by job, with their starting."""
    done = [name for name, each in ended.items() if each.how == "done" and name in costs]
    spent = together(costs[name] for name in done)
    seconds = dict.fromkeys(PHASES, 0.0)
    for phase, took in spent.seconds.items():
        seconds[LOGGED.get(phase, "learning")] += took
    known = forecast is not None and all(name in forecast.jobs for name in done)
    expected = forecast.of(done) if forecast and known else {}
    tokens = {"sampling": spent.written, "learning": spent.learned, "evaluating": spent.measured}
    starts = sum(ended[name].started for name in done)
    phases = []
    for name, took in seconds.items():
        own, why = expected.get(name), ""
        if name == GRADING and own is not None:
            own, why = None, "graders are not tried beforehand"
        elif own is not None:
            why = _starting(took, starts) if name == STARTING else _why(took, tokens[name], own)
        phases.append(Phase(name=name, seconds=took, expected=own, tokens=tokens.get(name), why=why))
    return Account(phases=tuple(phases), why=tuple(_told(done, ended, forecast, known)))


def _told(done: Sequence[str], ended: Mapping[str, Ended], forecast: Forecast | None, known: bool) -> Iterator[str]:
    if forecast is None:
        return
    if forecast.unknown:
        yield f"There was no forecast: {forecast.unknown}"
        return
    if not known:
        yield "Some of what was run was not planned when the forecast was made, so nothing is held against it."
        return
    if left := len(forecast.jobs.keys() - set(done)):
        yield f"{left} of {len(forecast.jobs)} jobs are not done, and neither their forecast nor their time is in here."
    if again := [name for name in done if ended[name].started > 1]:
        jobs = "1 job was" if len(again) == 1 else f"{len(again)} jobs were"
        yield f"{jobs} started more than once: the steps that a kill lost count as starting."


def _why(took: float, tokens: int, expected: Expected) -> str:
    """How the tokens and the machine's speed explain the seconds."""
    low, high = expected.tokens
    if isclose(low, high, rel_tol=0.01):
        length = f"{tokens:,} tokens, {low:,.0f} forecast"
    else:
        length = f"{tokens:,} tokens, {low:,.0f} to {high:,.0f} forecast"
    at = _seconds_at(tokens, expected)
    if at <= 0:
        return length
    times = took / at
    if times > ALIKE:
        small = ", as with a small model, whose time is no arithmetic" if times > SMALL else ""
        return f"{length}; each took {times:.1f} times as long as the probe of the machine says{small}"
    if times < 1 / ALIKE:
        return f"{length}; each took 1/{1 / times:.1f} of the time that the probe of the machine says"
    return f"{length}, at the speed that the probe of the machine says"


def _seconds_at(tokens: int, expected: Expected) -> float:
    """What would have been forecast, had it been known how many tokens there would be."""
    (low, high), (least, most) = expected.tokens, expected.seconds
    if isclose(low, high, rel_tol=0.01):
        return least * tokens / low if low else 0.0
    return max(0.0, least + (tokens - low) * (most - least) / (high - low))


def _starting(took: float, starts: int) -> str:
    processes = f"{starts} process{'es' if starts != 1 else ''}"
    each = f"{took / max(1, starts):.1f} s each beside steps and measurements"
    return f"{processes}, {each}: Python and torch, loading and saving models"
