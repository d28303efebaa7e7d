"""What an experiment has spent so far, and whether that is its budget. It starts nothing and writes nothing.

Time and energy are the machine's as a whole, so jobs that are at work at once share them evenly.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from togi.energy import Meter
from togi.experiment.design import Budget, Prices
from togi.experiment.job_cost import JobCost, job_cost, together
from togi.experiment.ledger import Took
from togi.experiment.money import money

COUNT = 5.0  # seconds between two looks at the tokens that jobs have spent


class Spending:
    """The time and energy of an experiment: ``before`` seconds and ``joules`` were spent when it was resumed."""

    def __init__(self, *, before: float, joules: float, budget: Budget, prices: Prices, meter: Meter) -> None:
        self._budget, self._prices, self._meter = budget, prices, meter
        self._folders: list[Path] = []
        self._before, self._begun, self._joules = before, time.monotonic(), joules
        self._working: dict[str, _Working] = {}
        self._now = _Reading(time.monotonic(), meter.joules())
        self._logged, self._counted = JobCost(), -COUNT

    @property
    def clock(self) -> float:
        """Seconds that the experiment has worked by now, also before it was resumed."""
        return self._before + time.monotonic() - self._begun

    def count(self, folders: Sequence[Path]) -> None:
        """Count what the jobs in these folders have logged and log from now on."""
        self._folders += folders
        self._counted = -COUNT

    def begin(self, job: str) -> None:
        self._share()
        self._working[job] = _Working(self._now.seconds)

    def end(self, job: str) -> Took:
        """What its process took, which is at work no longer."""
        self._share()
        own = self._working.pop(job)
        self._joules += own.joules
        return Took(
            seconds=self._now.seconds - own.since,
            machine=own.machine,
            joules=None if self._now.joules is None else own.joules,
        )

    def _share(self) -> None:
        """Give what the machine has spent since the last look to those at work."""
        before, self._now = self._now, _Reading(time.monotonic(), self._meter.joules())
        for own in self._working.values():
            own.machine += (self._now.seconds - before.seconds) / len(self._working)
            if before.joules is not None and self._now.joules is not None:
                own.joules += (self._now.joules - before.joules) / len(self._working)

    def over_budget(self, share: float = 1.0) -> str:
        """Of what that share of the budget is spent, in words; empty as long as it is of nothing."""
        budget, part = self._budget, "" if share == 1.0 else f"{share:.0%} of "
        if budget.hours is not None and self.clock / 3600 >= share * budget.hours:
            return f"{part}the budget of {budget.hours:g} hours is spent"
        if budget.tokens is not None and self._read().tokens >= share * budget.tokens:
            return f"{part}the budget of {budget.tokens:,} tokens is spent"
        if budget.money is not None:
            self._share()
            joules = None if self._now.joules is None else self._joules + sum(o.joules for o in self._working.values())
            spent = money(replace(self._read(), machine=self.clock, joules=joules), self._prices)
            if spent is not None and spent.total >= share * budget.money:
                return f"{part}the budget of {budget.money:g} {self._prices.currency or 'in money'} is spent"
        return ""

    def _read(self) -> JobCost:
        """What jobs have logged by themselves, as it was some seconds ago."""
        if time.monotonic() - self._counted >= COUNT:
            self._logged = together(job_cost(folder) for folder in self._folders)
            self._counted = time.monotonic()
        return self._logged


@dataclass(frozen=True)
class _Reading:
    seconds: float
    joules: float | None


@dataclass
class _Working:
    since: float
    machine: float = 0.0
    joules: float = 0.0
