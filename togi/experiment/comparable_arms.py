"""Arms that can be compared: each built from its recipe, measured as the experiment's own recipe is, and different from
the others. It reads no file."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from togi.data import Tasks
from togi.experiment.design import Arm, ExperimentError, seeded
from togi.recipe import Reading, RecipeError
from togi.recipe.build import build
from togi.recipe.read_toml import read_values
from togi.run import Chance, Run
from togi.run_folder.manifest import recipe_changes
from togi.run_folder.run_description import made_of


def built(
    name: str,
    values: Mapping[str, Any],
    reading: Reading,
    measured: Reading,
    loaded: dict[str, Tasks] | None = None,
) -> Run:
    """The run of an arm, measured as the experiment's recipe is. Tasks ``loaded`` for other arms are taken."""
    values = copy.deepcopy(dict(values))
    evaluation = measured.recipe.evaluation
    reward = (evaluation and evaluation.reward) or measured.recipe.reward
    if isinstance(values.get("evaluation"), dict) and "reward" not in values["evaluation"] and reward:
        values["evaluation"]["reward"] = {"score": reward.score}
    try:
        return build(read_values(values, base=reading.base, name=f"arm {name}"), loaded=loaded)
    except RecipeError as error:
        raise of_arm(name, error) from None


def of_arm(name: str, error: RecipeError) -> ExperimentError:
    lines = [line if line.startswith(f"arm {name}: ") else f"arm {name}: {line}" for line in error.problems]
    return ExperimentError("\n".join(lines))


def refuse_alike(arms: Sequence[Arm], vary: Sequence[Chance]) -> None:
    """Two arms that are the same run once both have a seed would be told apart by nothing but chance."""
    for number, arm in enumerate(arms):
        for other in arms[:number]:
            same = (arm.stages, arm.taken, arm.vary) == (other.stages, other.taken, other.vary)
            if same and not list(_differences(other, arm, arm.vary or vary)):
                raise ExperimentError(
                    f"the arms {other.name} and {arm.name} differ in nothing: leave one out, or change it"
                )


def _differences(one: Arm, other: Arm, vary: Sequence[Chance]) -> Iterator[str]:
    assert one.run is not None
    assert other.run is not None
    seeded_alike = (seeded(run, 0, vary).recipe for run in (one.run, other.run))
    left, right = ({**recipe, "name": "", "relative_to": ""} for recipe in seeded_alike)
    yield from recipe_changes(left, right)


def refuse_measured_otherwise(arms: list[Arm]) -> None:
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
