"""How fast the parts of a run were, and how long its answers, read from its folder. It measures nothing anew.

Sampling is not one number: an engine that draws many answers at once adds a token to all of them in hardly more time
than to one. So two numbers are fitted to the steps of the run, which drew unlike numbers of tokens in unlike numbers of
rounds: the seconds of a round, and those that each of its answers adds.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from togi.engines.engine_choice import EngineChoice
from togi.run_folder.engine_events import PUBLISHED, UNCHANGED
from togi.run_folder.files import read_lines
from togi.run_folder.integrity import read_chain, refuse_no_run
from togi.run_folder.manifest import read_manifest
from togi.scale.simulation import Layout, Rates, simulate

MOST_STEPS = 200  # that are read, evenly over the run
_APART = ("sample", "grade", "wait")
"""Phases that are not the learner's own work."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """``rates`` of a run that had ``layout``, and the ``lengths`` of each of its groups. ``simulated`` are the seconds
    that the simulation of its own steps says, ``seconds`` those that they took, both a step. ``dropped`` is the share
    of drawn tokens that its sampler did not keep, whose lengths nobody knows; ``published`` says whether weights were.
    """

    rates: Rates
    layout: Layout
    lengths: tuple[tuple[int, ...], ...]
    steps: int
    simulated: float
    seconds: float
    dropped: float
    published: bool


@dataclass(frozen=True, kw_only=True)
class _Step:
    seconds: Mapping[str, float]
    tokens: int
    drawn: int
    groups: tuple[tuple[int, ...], ...]

    @property
    def answers(self) -> np.ndarray:
        return np.array([[[length for group in self.groups for length in group]]])


def measured_rates(folder: Path, stage: str) -> Measured:
    """The rates of a stage. Raises ValueError where the folder holds no run, the stage sampled fewer than two steps, or
    sampling and learning overlapped, so that neither has seconds of its own."""
    refuse_no_run(folder)
    recipe = tomllib.loads((folder / "recipe.toml").read_text(encoding="utf-8"))
    layout = _layout(recipe, folder)
    if layout.staleness:
        raise ValueError(
            f"{folder} was sampled ahead of learning, where neither has seconds of its own: take rates from a run of "
            "the same recipe with scale.staleness=0, a few steps of it"
        )
    steps = _steps(folder, stage)
    if len(steps) < 2:
        raise ValueError(f"{folder}: stage {stage} sampled {len(steps)} steps, and rates need at least 2")
    steps = steps[1:] if len(steps) > 2 else steps  # the first step also warms up
    events = [each for each in read_chain(folder).events if each.get("event") in (PUBLISHED, UNCHANGED)]
    # The first of them waits until the engines have begun.
    publish = median(float(each["seconds"]) for each in events[1:] or events) if events else 0.0
    rates = _fitted(steps, layout, publish)
    simulated = [simulate(rates, layout, step.answers).step_seconds for step in steps]
    return Measured(
        rates=rates,
        layout=layout,
        lengths=tuple(group for step in steps for group in step.groups),
        steps=len(steps),
        simulated=fmean(simulated),
        seconds=fmean(sum(step.seconds.values()) for step in steps),
        dropped=max(0.0, 1 - sum(int(step.answers.sum()) for step in steps) / sum(step.drawn for step in steps)),
        published=bool(events),
    )


def _layout(recipe: Mapping[str, Any], folder: Path) -> Layout:
    scale, engine = recipe.get("scale", {}), recipe.get("engine", {})
    return Layout(
        engines=int(scale.get("engines", 0)),
        learners=int(scale.get("learners", 1)),
        staleness=int(scale.get("staleness", 0)),
        slots=int(engine.get("batch_size", EngineChoice().batch_size)),
        places=places_of(folder),
    )


def places_of(folder: Path) -> int | None:
    """How many processes like that of the run its machine computes at full speed at once; None where they have devices
    of their own."""
    machine = read_manifest(folder).get("machine", {})
    cores, threads = machine.get("cores"), machine.get("threads")
    on_cores = str(machine.get("device", "")).startswith("cpu")
    return max(1, int(cores) // int(threads)) if on_cores and cores and threads else None


def _steps(folder: Path, stage: str) -> list[_Step]:
    """Steps in which the stage sampled, evenly over the run."""
    rows = [
        row for row in read_lines(folder / "timings.jsonl") if row.get("stage") == stage and "sample" in row["seconds"]
    ]
    found = []
    for row in rows[:: -(-len(rows) // MOST_STEPS) or 1]:
        path = folder / "rollouts" / f"{stage}-{row['step']:06d}.jsonl"
        groups: dict[int, list[int]] = {}
        for attempt in read_lines(path):
            groups.setdefault(attempt["group"], []).append(max(1, int(attempt["tokens"])))
        if groups and row.get("drawn"):
            lengths = tuple(tuple(each) for each in groups.values())
            found.append(
                _Step(seconds=row["seconds"], tokens=int(row["tokens"]), drawn=int(row["drawn"]), groups=lengths)
            )
    return found


def _fitted(steps: Sequence[_Step], layout: Layout, publish: float) -> Rates:
    """What sampling and learning cost a round, a token, and a step. Weights are published before a step's groups are
    sampled, in the time of which they are counted."""
    engines = max(1, layout.engines)
    speed = layout.speed(engines)
    only_rounds = Rates(round_seconds=1, row_seconds=0)
    rounds = [simulate(only_rounds, replace(layout, places=None), step.answers).step_seconds for step in steps]
    drawn = [float(step.answers.sum()) / engines for step in steps]
    a_round, a_row = least_squares(
        rounds, drawn, [speed * max(0.0, step.seconds["sample"] - publish) for step in steps]
    )
    own = [sum(spent for phase, spent in step.seconds.items() if phase not in _APART) for step in steps]
    a_step, a_token = least_squares([1.0] * len(steps), [float(step.tokens) for step in steps], own)
    return Rates(
        round_seconds=a_round,
        row_seconds=a_row,
        grade_seconds=fmean(step.seconds.get("grade", 0.0) / step.answers.size for step in steps),
        step_seconds=a_step,
        token_seconds=a_token * layout.learners,
        publish_seconds=publish,
    )


def least_squares(first: Sequence[float], second: Sequence[float], wanted: Sequence[float]) -> tuple[float, float]:
    """The two factors, neither below 0, with which ``first`` and ``second`` add up to what comes nearest."""
    both, y = np.column_stack([first, second]), np.asarray(wanted)
    factors = np.linalg.lstsq(both, y, rcond=None)[0]
    if (factors >= 0).all():
        return float(factors[0]), float(factors[1])
    alone = [max(0.0, float(x @ y / (x @ x))) for x in both.T]
    errors = [float(np.square(y - factor * x).sum()) for factor, x in zip(alone, both.T, strict=True)]
    return (alone[0], 0.0) if errors[0] < errors[1] else (0.0, alone[1])
