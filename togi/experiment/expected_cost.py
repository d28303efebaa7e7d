"""What jobs are expected to take, by phase, as plain values: ``forecast.json``. It reckons nothing.

The file is written before anything runs, and the first event vouches for it.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from togi.evidence.before.cost_estimate import NONE, Range, added

FORECAST = "forecast.json"
GRADING, STARTING = "grading", "starting"
PHASES = ("sampling", GRADING, "learning", "evaluating", STARTING)


@dataclass(frozen=True, kw_only=True)
class Expected:
    """Completion tokens and seconds of one phase, from least to most."""

    tokens: Range = NONE
    seconds: Range = NONE

    def __add__(self, other: Expected) -> Expected:
        return Expected(tokens=added(self.tokens, other.tokens), seconds=added(self.seconds, other.seconds))

    def __sub__(self, other: Expected) -> Expected:
        return Expected(tokens=_less(self.tokens, other.tokens), seconds=_less(self.seconds, other.seconds))


Phases = Mapping[str, Expected]


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """What each job is expected to take, by its name; ``alone`` are the seconds that all cells would take if nothing
    were shared. ``unknown`` says why there is no forecast, where there is none."""

    jobs: Mapping[str, Phases]
    alone: Range = NONE
    unknown: str = ""

    def of(self, names: Collection[str]) -> Phases:
        """What these jobs are expected to take together."""
        return summed(phases for name, phases in self.jobs.items() if name in names)

    @property
    def seconds(self) -> Range:
        return added(*(phase.seconds for phase in self.of(self.jobs).values()))

    def plain(self) -> dict[str, Any]:
        jobs = {name: {phase: asdict(each) for phase, each in phases.items()} for name, phases in self.jobs.items()}
        return {"jobs": jobs, "alone": self.alone, **({"unknown": self.unknown} if self.unknown else {})}


def summed(several: Iterable[Phases]) -> dict[str, Expected]:
    found = dict.fromkeys(PHASES, Expected())
    for phases in several:
        for name, each in phases.items():
            found[name] += each
    return found


def read_forecast(folder: Path) -> Forecast | None:
    """The forecast in an experiment's folder; None where it has none, as one on a function, and where it is damaged."""
    try:
        return forecast_from((folder / FORECAST).read_bytes().decode())
    except (OSError, ValueError, RecursionError, LookupError, TypeError, AttributeError):
        return None


def forecast_from(text: str) -> Forecast:
    """What ``plain`` gave, as JSON."""
    value = json.loads(text)
    jobs = {
        job: {name: Expected(tokens=_range(each["tokens"]), seconds=_range(each["seconds"])) for name, each in own}
        for job, own in ((job, phases.items()) for job, phases in value["jobs"].items())
    }
    return Forecast(jobs=jobs, alone=_range(value["alone"]), unknown=str(value.get("unknown", "")))


def _range(pair: tuple[float, float]) -> Range:
    return float(pair[0]), float(pair[1])


def _less(one: Range, other: Range) -> Range:
    return one[0] - other[0], one[1] - other[1]
