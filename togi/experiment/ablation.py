"""A recipe without one thing: one stage, one part of the reward, or one setting. It changes what a recipe says."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from togi.experiment.design import ExperimentError
from togi.experiment.reward_terms import part_names, without
from togi.recipe.errors import did_you_mean, stage_name


def ablated(path: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's values without what ``path`` names: ``stage.NAME``, ``reward.PART``, or a key that is written in it.

    Raises ExperimentError for what is not there, and where nothing would be left.
    """
    left = copy.deepcopy(dict(values))
    names = path.split(".")
    if names[0] == "stage" and len(names) == 2:
        _remove_stage(left, names[1])
    elif names[0] == "reward" and len(names) == 2 and names[1] != "score":
        _remove_part(left, names[1])
    else:
        _remove_key(left, names, path)
    return left


def _remove_stage(values: dict[str, Any], name: str) -> None:
    number = _stage_number(values["stage"], name)
    if len(values["stage"]) == 1:
        raise ExperimentError(f"ablate stage.{name}: it is the only stage, and the arm would be the untrained model")
    del values["stage"][number]


def _stage_number(stages: list[dict[str, Any]], name: str) -> int:
    known = [stage_name(stage) or "" for stage in stages]
    if name not in known:
        raise ExperimentError(f"ablate stage.{name}: no stage is called {name!r}; {did_you_mean(name, known)}")
    return known.index(name)


def _remove_part(values: dict[str, Any], part: str) -> None:
    tables = [table for table in (values.get("reward"), *(s.get("reward") for s in values["stage"])) if table]
    known = {name for table in tables for name in part_names(table["score"])}
    if part not in known:
        raise ExperimentError(f"ablate reward.{part}: no reward has that part; {did_you_mean(part, known)}")
    for table in tables:
        if part in part_names(table["score"]):
            left = without(table["score"], part)
            if left is None or not part_names(left):
                raise ExperimentError(f"ablate reward.{part}: nothing would be left of {table['score']!r}")
            table["score"] = left


def _remove_key(values: dict[str, Any], names: list[str], path: str) -> None:
    table: Any = values
    for name in names[:-1]:
        if isinstance(table, list):
            table = table[_stage_number(table, name)]
        else:
            table = table.get(name) if isinstance(table, dict) else None
    if not isinstance(table, dict) or names[-1] not in table:
        raise ExperimentError(
            f"ablate {path}: the recipe does not set it, so it cannot be left out. Name stage.NAME, reward.PART, or a "
            "key that is written in the recipe"
        )
    del table[names[-1]]
