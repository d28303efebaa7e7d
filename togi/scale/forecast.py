"""What a recipe would do with more engines or sampled ahead: the simulation of each, from what a run measured or else
from the arithmetic of this machine. It starts nothing and trains nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from togi.evidence.before.cost_estimate import Rates as Speed, attempts_of, estimate
from togi.run import Run, Stage
from togi.scale.measured_rates import Measured
from togi.scale.simulation import Layout, Rates, Simulated, drawn_lengths, simulate
from togi.tokenization import Chat

STEPS = 20  # that are simulated of each layout


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is simulated of a stage: how fast its parts are, and how long its answers [steps, groups, attempts]."""

    rates: Rates
    lengths: np.ndarray


@dataclass(frozen=True, kw_only=True)
class Rung:
    """One layout, at its fastest and its slowest: the two are the same where rates and lengths were measured."""

    layout: Layout
    low: Simulated
    high: Simulated

    @property
    def devices(self) -> int:
        """Processes that have a device of their own; one machine where they share it."""
        return 1 if self.layout.places is not None else self.layout.learners + self.layout.engines

    def price(self, hourly: float) -> tuple[float, float]:
        """Money for a step, an hour of a device costing ``hourly``."""
        low, high = (each.step_seconds / 3600 * hourly * self.devices for each in (self.low, self.high))
        return low, high


def climb(cases: Sequence[Case], layouts: Sequence[Layout]) -> list[Rung]:
    """Every layout by the first case, the faster, and the last."""
    return [
        Rung(
            layout=layout,
            low=simulate(cases[0].rates, layout, cases[0].lengths),
            high=simulate(cases[-1].rates, layout, cases[-1].lengths),
        )
        for layout in layouts
    ]


def layouts_of(run: Run, engines: Sequence[int], staleness: Sequence[int], places: int | None) -> list[Layout]:
    """All that can be: nothing is sampled ahead by the learner itself."""
    return [
        Layout(engines=count, staleness=ahead, learners=run.scale.learners, slots=run.engine.batch_size, places=places)
        for count in engines
        for ahead in staleness
        if count or not ahead
    ]


def by_run(stage: Stage, measured: Measured) -> tuple[Case]:
    """As a run was: its rates, and answers drawn from its own."""
    lengths = drawn_lengths(measured.lengths, steps=STEPS, groups=stage.tasks_per_step, attempts=_attempts(stage))
    return (Case(rates=measured.rates, lengths=lengths),)


def by_arithmetic(run: Run, stage: Stage, chat: Chat, speed: Speed, graded: float = 0.0) -> tuple[Case, Case]:
    """As the arithmetic of a machine says, with answers as long as recorded ones, and as long as allowed. There every
    token takes as long, however many are drawn at once: that small batches are slower, only a run tells."""
    phases = estimate(replace(run, stages=(stage,), evaluation=None), chat, speed).phases
    groups, attempts = stage.tasks_per_step, _attempts(stage)
    answers = stage.steps * groups * attempts

    def case(end: int) -> Case:
        length = max(1, round(phases["sampling"].tokens[end] / answers))
        tokens = answers * length
        rates = Rates(
            round_seconds=0.0,
            row_seconds=phases["sampling"].seconds[end] / tokens,
            grade_seconds=graded,
            token_seconds=phases["learning"].seconds[end] / tokens,
        )
        return Case(rates=rates, lengths=np.full((1, groups, attempts), length))

    return case(0), case(1)


def _attempts(stage: Stage) -> int:
    return max(1, round(attempts_of(stage).fewest))


def plain(rung: Rung, hourly: float | None) -> Mapping[str, Any]:
    """A rung as JSON has it."""
    priced = {} if hourly is None else {"price_per_step": rung.price(hourly)}
    return {
        "layout": asdict(rung.layout),
        "step_seconds": (rung.low.step_seconds, rung.high.step_seconds),
        "engines_idle": (rung.low.engines_idle, rung.high.engines_idle),
        "learner_idle": (rung.low.learner_idle, rung.high.learner_idle),
        "staleness": rung.high.ages,
        "tokens_per_second": (rung.high.tokens_per_second, rung.low.tokens_per_second),
        **priced,
    }
