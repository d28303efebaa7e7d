"""The file of an experiment -> an Experiment, with every arm's recipe read and built. It runs nothing and loads no
torch.

Every arm is measured in the same way: by the recipe's own evaluation, whatever an arm is paid for.
"""

from __future__ import annotations

import copy
import json
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from togi.experiment.ablation import ablated
from togi.experiment.controls import CONTROLS, changed
from togi.experiment.design import Arm, Budget, Experiment, ExperimentError, Prices
from togi.experiment.schema import ArmTable, ExperimentFile, ExperimentTable
from togi.models.model_source import is_function
from togi.recipe import Reading, RecipeError, read_recipe
from togi.recipe.build import build
from togi.recipe.errors import did_you_mean, explain
from togi.recipe.key_lines import LONGEST, Unreadable, statements
from togi.recipe.read_toml import read_values
from togi.recipe.schema import Table
from togi.run import Run
from togi.run_folder.manifest import recipe_changes
from togi.run_folder.run_description import made_of

PLAIN = "recipe"  # the arm that is the recipe as it is, where the file names none


def read_experiment(path: Path) -> Experiment:
    """Read the file of an experiment. Raises ExperimentError, and RecipeError for what is wrong in an arm's recipe."""
    file = read_file(path)
    table = file.experiment
    base = path.parent
    recipe = read_recipe(base / Path(table.recipe).expanduser(), table.changes)
    tables = file.arms or {PLAIN: ArmTable()}
    if taken := [name for name in tables if name in CONTROLS]:
        raise ExperimentError(f'arms.{taken[0]}: that is the name of a control: controls = ["{taken[0]}"]')
    arms = [_written(name, each, recipe, base) for name, each in tables.items()]
    arms += _asked_for(table, recipe, arms)
    _refuse_alike(arms)
    _refuse_measured_otherwise(arms)
    _refuse_measure(table, arms[0])
    seeds = table.seeds
    return Experiment(
        name=table.name or path.stem,
        question=table.question,
        measure=table.measure,
        smallest_effect=table.smallest_effect,
        arms=tuple(arms),
        seeds=tuple(range(1, seeds + 1)) if isinstance(seeds, int) else seeds,
        rule=table.rule,
        against=table.against,
        vary=table.vary,
        level=table.level,
        budget=Budget(**table.budget.model_dump()),
        prices=Prices(**table.prices.model_dump()),
        others=_others(table, arms, base),
    )


def read_file(path: Path) -> ExperimentFile:
    """The file's tables, checked by themselves. Raises ExperimentError."""
    if path.is_dir():
        raise ExperimentError(f"{path}: this is a folder, and a file is wanted: togi report {path} shows an experiment")
    try:
        with path.open("rb") as file:
            text = file.read(4 * LONGEST + 1).decode("utf-8-sig")
        if len(text) > LONGEST:
            raise ExperimentError(f"{path}: more than {LONGEST:,} characters: long texts are files of their own")
        for _ in statements(text):  # what the parser would not end on is refused before it
            pass
        values = tomllib.loads(text)
    except FileNotFoundError as error:
        raise ExperimentError(f"{path}: no such experiment") from error
    except ExperimentError:
        raise
    except Unreadable as error:
        raise ExperimentError(f"{path}:{error.line}: {error}") from error
    except (OSError, ValueError) as error:
        raise ExperimentError(f"{path}: cannot be read: {error}") from error
    if "experiment" not in values and {"model", "stage"} & values.keys():
        raise ExperimentError(f"{path}: this is a recipe, and an experiment names one: togi train {path} runs it")
    try:
        return ExperimentFile.model_validate(values)
    except ValidationError as error:
        raise ExperimentError("\n".join(dict.fromkeys(f"{path}: {line}" for line in _told(error)))) from None


def _told(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        key = [str(part) for part in each["loc"] if part != "[key]"]
        tables: dict[str, type[Table]] = {"experiment": ExperimentTable, "arms": ArmTable}
        if key[:2] == ["experiment", "seeds"] and each["type"] != "missing":
            yield "experiment.seeds: wanted how many (seeds = 3) or which (seeds = [1, 2, 3]), whole numbers from 0"
        elif key == ["arms"]:
            yield "arms: wanted a table for each arm, written [arms.NAME]"
        elif each["type"] == "extra_forbidden":
            table: type[Table] | None = tables.get(key[0]) if len(key) > 1 else ExperimentFile
            known = list(table.model_fields) if table else []
            yield f"{'.'.join(key)}: unknown key; {did_you_mean(key[-1], known)}"
        elif each["type"] == "missing":
            field = ExperimentTable.model_fields.get(key[-1])
            yield f"{'.'.join(key)}: is needed and not there{f' ({field.description})' if field else ''}"
        elif each["type"] == "string_pattern_mismatch" and key[-1] == "measure":
            yield f'{".".join(key)}: got {each["input"]!r}, wanted "pass@1" (or "pass@8", …) or "score"'
        else:
            yield f"{'.'.join(key)}: {explain(each)[1]}"


def _written(name: str, table: ArmTable, recipe: Reading, base: Path) -> Arm:
    """An arm that the file describes."""
    own = base / Path(table.recipe).expanduser() if table.recipe else None
    try:
        if own is not None:
            reading = read_recipe(own, table.changes)
        else:
            reading = read_values(recipe.values, base=recipe.base, overrides=table.changes, origins=recipe.origins)
    except RecipeError as error:
        raise _of_arm(name, error) from None
    about = ", ".join([*([f"recipe {table.recipe}"] if table.recipe else []), *table.changes]) or "the recipe as it is"
    return Arm(name=name, run=_built(name, reading.values, reading, recipe), about=about)


def _asked_for(table: ExperimentTable, recipe: Reading, arms: Sequence[Arm]) -> Iterator[Arm]:
    """The controls and ablations of the experiment's recipe."""
    if table.better_prompt is not None and "better_prompt" not in table.controls:
        raise ExperimentError('better_prompt is given and not asked for: add "better_prompt" to controls')
    run = _built(PLAIN, recipe.values, recipe, recipe)
    for name in dict.fromkeys(table.controls):
        made = changed(name, recipe.values, run, table.better_prompt)
        yield Arm(
            name=name,
            run=_built(name, made.values, recipe, recipe),
            stages=made.stages,
            control=True,
            about=made.about,
            taken=made.taken,
            tokens_of=_paid_in(arms, made.same_tokens) if made.same_tokens else None,
        )
    for path in dict.fromkeys(table.ablate):
        without = "without_" + re.sub(r"[^A-Za-z0-9_-]", "_", path)
        yield Arm(
            name=without, run=_built(without, ablated(path, recipe.values), recipe, recipe), about=f"without {path}"
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


def _built(name: str, values: Mapping[str, Any], reading: Reading, measured: Reading) -> Run:
    """The run of an arm, measured as the experiment's recipe is."""
    values = copy.deepcopy(dict(values))
    evaluation = measured.recipe.evaluation
    reward = (evaluation and evaluation.reward) or measured.recipe.reward
    if isinstance(values.get("evaluation"), dict) and "reward" not in values["evaluation"] and reward:
        values["evaluation"]["reward"] = {"score": reward.score}
    try:
        return build(read_values(values, base=reading.base, name=f"arm {name}"))
    except RecipeError as error:
        raise _of_arm(name, error) from None


def _of_arm(name: str, error: RecipeError) -> ExperimentError:
    lines = [line if line.startswith(f"arm {name}: ") else f"arm {name}: {line}" for line in error.problems]
    return ExperimentError("\n".join(lines))


def _refuse_alike(arms: list[Arm]) -> None:
    """Two arms that are the same run would be told apart by nothing but chance."""
    for number, arm in enumerate(arms):
        for other in arms[:number]:
            same = (arm.stages, arm.taken) == (other.stages, other.taken)
            if same and not list(_differences(other, arm)):
                raise ExperimentError(
                    f"the arms {other.name} and {arm.name} differ in nothing: leave one out, or change it"
                )


def _differences(one: Arm, other: Arm) -> Iterator[str]:
    assert one.run is not None
    assert other.run is not None
    left, right = ({**arm.recipe, "name": "", "relative_to": ""} for arm in (one.run, other.run))
    yield from recipe_changes(left, right)


def _refuse_measured_otherwise(arms: list[Arm]) -> None:
    """Held-out results can be compared only of the same tasks, sampled and paid in the same way."""
    first = arms[0].run
    assert first is not None
    for arm in arms:
        run = arm.run
        assert run is not None
        if run.evaluation is None or first.evaluation is None:
            raise ExperimentError(
                f"arm {arm.name} is not measured: add [data.test] and [evaluation] to its recipe, and see that its "
                "reward can be given on held-out tasks"
            )
        if _asked(run) != _asked(first):
            raise ExperimentError(
                f"the arms {arms[0].name} and {arm.name} are measured on different tasks: give both the same "
                "[data.test] and evaluation.tasks"
            )
        own, theirs = _measured(first), _measured(run)
        if found := list(recipe_changes(own, theirs)):
            raise ExperimentError(
                f"the arms {arms[0].name} and {arm.name} are measured in different ways (evaluation.{found[0]}): "
                "measure both in the same way, and change only how they are trained"
            )


def _measured(run: Run) -> dict[str, Any]:
    """All that says how held-out answers are drawn, answered and paid; not when."""
    own = {name: value for name, value in run.recipe["evaluation"].items() if not name.startswith("every")}
    files = made_of(run)["files"]["evaluation"]
    return {
        **own,
        "env": own.get("env") or run.recipe.get("env"),
        "files": sorted(str(mark) for mark in files.values()),
    }


def _asked(run: Run) -> list[str]:
    assert run.evaluation is not None
    return [json.dumps([task.id, task.answer], sort_keys=True, default=str) for task in run.evaluation.tasks]


def _refuse_measure(table: ExperimentTable, arm: Arm) -> None:
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
    made_new = made_new or arm.run.model.lora is not None or is_function(arm.run.model.source)
    if table.vary == ("init",) and not made_new:
        raise ExperimentError(
            'vary = ["init"]: nothing in this recipe is made new (no model, no adapters, no heads), so all seeds '
            'would be the same run: add "order" and "sampling"'
        )
