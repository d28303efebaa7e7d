"""The file of an experiment as its tables, checked by themselves. It reads no recipe."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from pydantic import ValidationError

from togi.experiment.design import ExperimentError
from togi.experiment.schema import (
    ArmTable,
    BudgetTable,
    ExperimentFile,
    ExperimentTable,
    PricesTable,
    SearchedTable,
    SweepTable,
)
from togi.recipe.errors import did_you_mean, explain
from togi.recipe.schema import Table
from togi.recipe.toml_file import toml_of

WITHIN: Mapping[str, type[Table]] = {"budget": BudgetTable, "prices": PricesTable}
"""The tables of an experiment's own table."""


def read_file(path: Path) -> ExperimentFile:
    """The file's tables, checked by themselves. Raises ExperimentError."""
    if path.is_dir():
        raise ExperimentError(f"{path}: this is a folder, and a file is wanted: togi report {path} shows an experiment")
    try:
        values = toml_of(path, "experiment")
    except ValueError as error:
        raise ExperimentError(str(error)) from error
    if "experiment" not in values and {"model", "stage"} & values.keys():
        raise ExperimentError(f"{path}: this is a recipe, and an experiment names one: togi train {path} runs it")
    try:
        return ExperimentFile.model_validate(values)
    except ValidationError as error:
        raise ExperimentError("\n".join(dict.fromkeys(f"{path}: {line}" for line in _told(error)))) from None


def _told(error: ValidationError) -> Iterator[str]:
    for each in error.errors():
        key = [str(part) for part in each["loc"] if part != "[key]"]
        tables: dict[str, type[Table]] = {"experiment": ExperimentTable, "arms": ArmTable, "sweep": SweepTable}
        if key[:2] == ["experiment", "seeds"] and each["type"] != "missing":
            yield "experiment.seeds: wanted how many (seeds = 3) or which (seeds = [1, 2, 3]), whole numbers from 0"
        elif key[:2] == ["sweep", "keys"] and len(key) > 2 and each["type"] == "extra_forbidden":
            yield _of_searched(key[2], key[3:])
        elif key[:2] == ["sweep", "seeds"]:
            yield "sweep.seeds: wanted how many (seeds = 1) or which (seeds = [11, 12]), whole numbers from 0"
        elif key[:1] == ["grid"]:
            yield "grid: wanted keys of the recipe with lists of plain values, as in stage.grpo.attempts = [4, 8]"
        elif key == ["arms"]:
            yield "arms: wanted a table for each arm, written [arms.NAME]"
        elif each["type"] == "extra_forbidden":
            table = WITHIN.get(key[1]) if len(key) > 2 and key[0] == "experiment" else tables.get(key[0])
            if len(key) == 1:
                table = ExperimentFile
            known = list(table.model_fields) if table else []
            yield f"{'.'.join(key)}: unknown key; {did_you_mean(key[-1], known)}"
        elif each["type"] == "missing":
            field = tables.get(key[0], ExperimentTable).model_fields.get(key[-1])
            yield f"{'.'.join(key)}: is needed and not there{f' ({field.description})' if field else ''}"
        elif each["type"] == "string_pattern_mismatch" and key[-1] == "measure":
            yield f'{".".join(key)}: got {each["input"]!r}, wanted "pass@1" (or "pass@8", …) or "score"'
        else:
            yield f"{'.'.join(key)}: {explain(each)[1]}"


def _of_searched(key: str, rest: list[str]) -> str:
    """What is wrong with a searched key: TOML takes dots outside quotes for tables, or it has no such name."""
    if "." not in key:
        return (
            f'sweep.keys.{key}: write the whole key in quotes, as in "stage.grpo.learning_rate" = {{ low = 1e-6, '
            "high = 1e-4, log = true }"
        )
    return f"sweep.keys.{key}.{'.'.join(rest)}: unknown key; {did_you_mean(rest[-1], SearchedTable.model_fields)}"
