"""The file of an experiment -> an Experiment, with every arm's recipe read and built. It runs nothing and loads no
torch.

Every arm is measured in the same way: by the recipe's own evaluation, whatever an arm is paid for.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

from togi.data import Tasks
from togi.experiment.ablation import ablated
from togi.experiment.comparable_arms import built, of_arm, refuse_alike, refuse_measured_otherwise
from togi.experiment.controls import CONTROLS, changed
from togi.experiment.design import Arm, Budget, Experiment, ExperimentError, Prices
from togi.experiment.experiment_file import read_file
from togi.experiment.grid import Combination, combinations, varied
from togi.experiment.schema import ArmTable, ExperimentTable, Vary
from togi.experiment.sweep.read_sweep import read_sweep
from togi.experiment.sweep.sweep_design import SEARCHED
from togi.models.model_source import is_function
from togi.recipe import Reading, RecipeError, read_recipe
from togi.recipe.build import build
from togi.run import Run

PLAIN = "recipe"  # the arm that is the recipe as it is, where the file names none


def read_experiment(path: Path) -> Experiment:
    """Read the file of an experiment. Raises ExperimentError, and RecipeError for what is wrong in an arm's recipe."""
    file = read_file(path)
    table = file.experiment
    base = path.parent
    recipe = read_recipe(base / Path(table.recipe).expanduser(), table.changes)
    grid = varied(file.grid)
    tables = file.arms or ({} if grid else {PLAIN: ArmTable()})
    if taken := [name for name in tables if name in CONTROLS]:
        raise ExperimentError(f'arms.{taken[0]}: that is the name of a control: controls = ["{taken[0]}"]')
    if SEARCHED in tables:
        raise ExperimentError(f"arms.{SEARCHED}: that is the arm which a sweep chooses: give it another name")
    loaded: dict[str, Tasks] = {}
    arms = [_written(name, each, recipe, base, loaded) for name, each in tables.items()]
    arms += [_combined(each, recipe, loaded) for each in combinations(grid)]
    arms += _asked_for(table, recipe, arms, loaded)
    refuse_alike(arms, table.vary)
    refuse_measured_otherwise(arms)
    _refuse_measure(table, arms[0], [table.vary, *(each.vary for each in tables.values() if each.vary)])
    seeds = tuple(range(1, table.seeds + 1)) if isinstance(table.seeds, int) else table.seeds
    return Experiment(
        name=table.name or path.stem,
        question=table.question,
        measure=table.measure,
        smallest_effect=table.smallest_effect,
        arms=tuple(arms),
        grid=grid,
        seeds=seeds,
        rule=table.rule,
        against=table.against,
        vary=table.vary,
        level=table.level,
        budget=Budget(**table.budget.model_dump()),
        prices=Prices(**table.prices.model_dump()),
        others=_others(table, arms, base),
        sweep=read_sweep(file.sweep, table, recipe, seeds) if file.sweep else None,
    )


def _written(name: str, table: ArmTable, recipe: Reading, base: Path, loaded: dict[str, Tasks]) -> Arm:
    """An arm that the file describes."""
    own = base / Path(table.recipe).expanduser() if table.recipe else None
    try:
        reading = recipe.changed(table.changes) if own is None else read_recipe(own, table.changes)
    except RecipeError as error:
        raise of_arm(name, error) from None
    about = ", ".join([*([f"recipe {table.recipe}"] if table.recipe else []), *table.changes]) or "the recipe as it is"
    if table.vary is not None:
        about += f"; only {' and '.join(table.vary)} of its seeds differ"
    run = built(name, reading.values, reading, recipe, loaded)
    return Arm(name=name, run=run, about=about, vary=table.vary)


def _combined(one: Combination, recipe: Reading, loaded: dict[str, Tasks]) -> Arm:
    """An arm of the grid."""
    try:
        reading = recipe.changed(one.changes)
    except RecipeError as error:
        raise of_arm(one.name, error) from None
    run = built(one.name, reading.values, reading, recipe, loaded)
    return Arm(name=one.name, run=run, about=one.about, levels=one.levels)


def _asked_for(table: ExperimentTable, recipe: Reading, arms: Sequence[Arm], loaded: dict[str, Tasks]) -> Iterator[Arm]:
    """The controls and ablations of the experiment's recipe."""
    if table.better_prompt is not None and "better_prompt" not in table.controls:
        raise ExperimentError('better_prompt is given and not asked for: add "better_prompt" to controls')
    run = built(PLAIN, recipe.values, recipe, recipe, loaded)
    for name in dict.fromkeys(table.controls):
        made = changed(name, recipe.values, run, table.better_prompt)
        yield Arm(
            name=name,
            run=built(name, made.values, recipe, recipe, loaded),
            stages=made.stages,
            control=True,
            about=made.about,
            taken=made.taken,
            tokens_of=_paid_in(arms, made.same_tokens) if made.same_tokens else None,
        )
    for path in dict.fromkeys(table.ablate):
        without = "without_" + re.sub(r"[^A-Za-z0-9_-]", "_", path)
        yield Arm(
            name=without,
            run=built(without, ablated(path, recipe.values), recipe, recipe, loaded),
            about=f"without {path}",
        )


def _paid_in(arms: Sequence[Arm], stages: frozenset[str]) -> str:
    """The first arm with all of those stages. Raises ExperimentError where there is none."""
    for arm in arms:
        assert arm.run is not None
        if stages <= {stage.name for stage in arm.run.stages if stage.algorithm.sampler.rewarded}:
            return arm.name
    raise ExperimentError(
        f"sft_same_tokens learns as many tokens as an arm learns in {' and '.join(sorted(stages))}, where it is paid, "
        "and no arm has that: keep the names of the recipe's stages, or leave the control out"
    )


def _others(table: ExperimentTable, arms: Sequence[Arm], base: Path) -> dict[str, Run]:
    """What measures the arms on other held-out tasks. Raises ExperimentError where that would say nothing."""
    found: dict[str, Run] = {}
    for name, path in table.others.items():
        reading = read_recipe(base / Path(path).expanduser())
        found[name] = build(reading)
        if found[name].evaluation is None:
            raise ExperimentError(
                f"others.{name}: {path} is not measured: add [data.test] and [evaluation], since these tasks are asked"
            )
    sources = {arm.run.model.source for arm in arms if arm.run is not None and not arm.control}
    if found and len(sources) > 1:
        raise ExperimentError(
            f"others: the arms start from several models ({', '.join(sorted(sources))}), so there is no untrained one "
            "to hold them against: leave others out, or let all arms start from one model"
        )
    return found


def _refuse_measure(table: ExperimentTable, arm: Arm, varies: Collection[Vary]) -> None:
    assert arm.run is not None
    assert arm.run.evaluation is not None
    attempts = arm.run.evaluation.attempts
    k = int(table.measure.partition("@")[2] or 1)
    if k > attempts:
        raise ExperimentError(
            f"measure = {table.measure!r} needs {k} attempts at each held-out task, and evaluation.attempts is "
            f"{attempts}"
        )
    if table.measure != "score" and table.smallest_effect >= 1:
        raise ExperimentError(
            f"smallest_effect = {table.smallest_effect:g}: {table.measure} goes from 0 to 1, so 0.03 is three points"
        )
    made_new = any(stage.algorithm.heads for stage in arm.run.stages if stage.algorithm.heads != "none")
    made_new = made_new or any(stage.algorithm.thinking for stage in arm.run.stages)
    made_new = made_new or arm.run.model.lora is not None or is_function(arm.run.model.source)
    if ("init",) in varies and not made_new:
        raise ExperimentError(
            'vary = ["init"]: nothing in this recipe is made new (no model, no adapters, no heads), so all seeds '
            'would be the same run: add "order" and "sampling"'
        )
