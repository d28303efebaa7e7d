"""The table [sweep] of an experiment's file -> a Sweep, with every value at the end of what is searched built and held
against the others. It asks no sampler and runs nothing."""

from __future__ import annotations

import copy
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from togi.experiment.comparable_arms import built, refuse_measured_otherwise
from togi.experiment.design import Arm, ExperimentError
from togi.experiment.jobs import beginnings
from togi.experiment.schema import ExperimentTable, SearchedTable, SweepTable
from togi.experiment.sweep.next_values import needs_optuna
from togi.experiment.sweep.sweep_design import SEARCHED, Choice, Space, Span, Sweep, Values
from togi.recipe import Reading, RecipeError
from togi.recipe.errors import COMMAND_LINE, stage_name
from togi.run import Run

TRIAL = "trial"
MEASURED = ("evaluation.", "data.test.")
CHANCE = ("seed", "seeds", "name", "relative_to")  # what is no setting of a recipe


@dataclass(frozen=True, kw_only=True)
class RecipeRuns:
    """A recipe with values that are searched. Trials are measured on its ``choice`` first held-out tasks, and arms on
    the others."""

    recipe: Reading
    choice: int

    def trial(self, values: Values) -> Run:
        """Measured on what the search is decided by."""
        reading = self._with(values)
        own = copy.deepcopy(dict(reading.values))
        own["evaluation"] = {**own["evaluation"], "tasks": self.choice}
        del own["evaluation"]["choice_tasks"]
        return built(TRIAL, own, reading, self.recipe)

    def arm(self, values: Values) -> Run:
        reading = self._with(values)
        return built(SEARCHED, reading.values, reading, self.recipe)

    def _with(self, values: Values) -> Reading:
        changes = [f"{key}={json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
        try:
            return self.recipe.changed(changes)
        except RecipeError as error:
            lines = (line.replace(f"{COMMAND_LINE}: ", "sweep.keys: ", 1) for line in error.problems)
            raise ExperimentError("\n".join(lines)) from None


def read_sweep(table: SweepTable, experiment: ExperimentTable, recipe: Reading, seeds: Sequence[int]) -> Sweep:
    """The sweep that a file asks for; ``seeds`` are those of arms. Raises ExperimentError."""
    needs_optuna()
    runs = RecipeRuns(recipe=recipe, choice=_choice_tasks(recipe))
    keys = {key: _space(key, each) for key, each in table.keys.items()}
    plain = runs.trial({})
    shared = min(_refuse_idle(key, space, plain, runs) for key, space in keys.items())
    fresh = max(seeds) + 1
    trial_seeds = tuple(range(fresh, fresh + table.seeds)) if isinstance(table.seeds, int) else table.seeds
    if table.stop_hopeless:
        _refuse_unmeasured(experiment, plain, len(trial_seeds))
    return Sweep(
        keys=keys,
        trials=table.trials,
        seeds=trial_seeds,
        of=runs,
        sampler=table.sampler,
        seed=table.seed,
        stop_hopeless=table.stop_hopeless,
        share=table.budget_share,
        usual=_usual(keys, plain),
        stages=len(plain.stages),
        shared=shared - 1 if shared else None,
    )


def _choice_tasks(recipe: Reading) -> int:
    """How many held-out tasks the search is decided by."""
    evaluation = recipe.recipe.evaluation
    if evaluation is None or evaluation.choice_tasks is None:
        raise ExperimentError(
            "a sweep is decided by tasks of its own, which no arm is measured on, and the recipe sets none apart: set "
            'evaluation.choice_tasks in it, or here, as in changes = ["evaluation.choice_tasks=50"]'
        )
    return evaluation.choice_tasks


def _space(key: str, table: SearchedTable) -> Space:
    """What a key may be. Raises ExperimentError for what holds nothing to search."""
    spans = [name for name in ("low", "high", "log") if name in table.model_fields_set]
    if table.choices is not None:
        if spans:
            raise ExperimentError(f"sweep.keys.{key}: choices and {spans[0]} exclude each other: keep one of the two")
        if not all(isinstance(value, bool | int | float | str | list) for value in table.choices):
            raise ExperimentError(f"sweep.keys.{key}: choices are numbers, texts, true or false, or lists of them")
        alike = any(one == other for one, other in itertools.combinations(table.choices, 2))
        if alike or len(table.choices) < 2:
            raise ExperimentError(f"sweep.keys.{key}: wanted two different choices at least, each once")
        return Choice(values=tuple(table.choices))
    if table.low is None or table.high is None:
        raise ExperimentError(
            f"sweep.keys.{key}: wanted low and high, or choices, as in {{ low = 1e-6, high = 1e-4, log = true }}"
        )
    if not table.low < table.high:
        raise ExperimentError(f"sweep.keys.{key}: low = {table.low:g} is not below high = {table.high:g}")
    if table.log and table.low <= 0:
        raise ExperimentError(f"sweep.keys.{key}: with log = true low is above 0; got {table.low:g}")
    return Span(low=table.low, high=table.high, log=table.log)


def _refuse_idle(key: str, space: Space, plain: Run, runs: RecipeRuns) -> int:
    """How many beginnings of a run a key leaves as they are: that before all stages is the first. Raises
    ExperimentError for a key that no recipe has, that does nothing, or that changes what is measured."""
    if key.startswith(MEASURED):
        raise ExperimentError(f"sweep.keys.{key}: that changes what is measured, and not what is learned: leave it out")
    if key.partition(".")[0] in CHANCE:
        raise ExperimentError(f"sweep.keys.{key}: that is no setting, and its best value would be luck: leave it out")
    ends = [runs.trial({key: end}) for end in space.ends]
    refuse_measured_otherwise(
        [
            Arm(name="recipe", run=plain),
            *(Arm(name=f"{key}={end}", run=run) for end, run in zip(space.ends, ends, strict=True)),
        ]
    )
    paths = [list(beginnings(run)) for run in ends]
    made = [path[-1] for path in paths]
    for (one, first), (other, second) in itertools.combinations(zip(space.ends, made, strict=True), 2):
        if first == second:
            raise ExperimentError(
                f"sweep.keys.{key}: {json.dumps(one)} and {json.dumps(other)} make the same run, since the key does "
                "nothing to what is learned there: leave it out"
            )
    path = list(beginnings(plain))
    same = (all(other[:length] == path[:length] for other in paths) for length in range(len(path), -1, -1))
    return len(path) - list(same).index(True)


def _refuse_unmeasured(experiment: ExperimentTable, plain: Run, seeds: int) -> None:
    """Raises ExperimentError where the recipe does not measure on the way what the search is decided by."""
    assert plain.evaluation is not None
    if not plain.evaluation.every and seeds == 1:
        raise ExperimentError(
            "sweep.stop_hopeless goes by what is measured on the way, and the recipe measures nothing there: set "
            "evaluation.every in it, or leave stop_hopeless out"
        )
    if (k := int(experiment.measure.partition("@")[2] or 1)) > plain.evaluation.every_attempts > 0:
        raise ExperimentError(
            f"sweep.stop_hopeless: {experiment.measure} needs {k} attempts at each task on the way, and "
            f"evaluation.every_attempts is {plain.evaluation.every_attempts}"
        )


def _usual(keys: dict[str, Space], plain: Run) -> Values | None:
    """The values that the recipe has itself; None where it has none or one that is not searched."""
    found = {key: value for key in keys for value in _values_at(plain.recipe, key.split("."))}
    return found if all(key in found and found[key] in space for key, space in keys.items()) else None


def _values_at(table: Any, names: Sequence[str]) -> Iterator[Any]:
    """The value at a dotted key, none where there is none; stages go by name."""
    if not names:
        yield table
    elif isinstance(table, dict) and names[0] in table:
        yield from _values_at(table[names[0]], names[1:])
    elif isinstance(table, list):
        yield from (
            value
            for number, item in enumerate(table)
            if names[0] in (str(number), stage_name(item) if isinstance(item, dict) else None)
            for value in _values_at(item, names[1:])
        )
