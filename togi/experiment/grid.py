"""A grid: an arm for every combination of some settings' values, as changes to the recipe. It reads no recipe."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod
from typing import Any

from togi.evidence.experiment.main_effects import Setting
from togi.experiment.design import ExperimentError, Varied
from togi.experiment.schema import MOST_ARMS

MOST_VALUES = 9


@dataclass(frozen=True, kw_only=True)
class Combination:
    """One arm of a grid: which value of each setting it has, and the same as changes to the recipe."""

    name: str
    about: str
    levels: tuple[int, ...]
    changes: tuple[str, ...]


def varied(table: Mapping[str, Any]) -> tuple[Varied, ...]:
    """What a file's ``[grid]`` varies. Raises ExperimentError for what makes no grid."""
    found = tuple(Varied(key=key, values=tuple(values)) for key, values in _keys(table, ()))
    for one in found:
        if not 2 <= len(one.values) <= MOST_VALUES:
            raise ExperimentError(
                f"grid.{one.key}: got {len(one.values)} values, wanted 2 to {MOST_VALUES} that are compared"
            )
        if len({_text(value) for value in one.values}) < len(one.values):
            raise ExperimentError(f"grid.{one.key}: a value stands there twice: name each once")
    if (arms := prod(len(one.values) for one in found)) > MOST_ARMS:
        raise ExperimentError(f"grid: {arms} combinations, and at most {MOST_ARMS} arms are run: take fewer values")
    return found


def _keys(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Sequence[Any]]]:
    for name, value in table.items():
        key = (*path, name)
        if isinstance(value, Mapping):
            yield from _keys(value, key)
        elif isinstance(value, list | tuple) and not any(isinstance(each, Mapping) for each in value):
            yield ".".join(key), value
        else:
            raise ExperimentError(f"grid.{'.'.join(key)}: wanted a list of values, as in {key[-1]} = [0.2, 0.28]")


def combinations(grid: Sequence[Varied]) -> Iterator[Combination]:
    """Every combination, those of the first setting's first value first; nothing of an empty grid."""
    names = short_names(grid)
    for levels in product(*(range(len(one.values)) for one in grid)) if grid else ():
        chosen = [one.values[level] for one, level in zip(grid, levels, strict=True)]
        yield Combination(
            name="grid-" + "".join(str(level + 1) for level in levels),
            about=", ".join(f"{name} {_shown(value)}" for name, value in zip(names, chosen, strict=True)),
            levels=levels,
            changes=tuple(f"{one.key}={_text(value)}" for one, value in zip(grid, chosen, strict=True)),
        )


def settings(grid: Sequence[Varied], arms: Mapping[str, Sequence[int]]) -> list[Setting]:
    """What the arms of a grid, by their levels, have of each setting."""
    ordered = sorted(arms, key=lambda name: tuple(arms[name]))
    return [
        Setting(
            name=name,
            arms={
                _shown(value): [arm for arm in ordered if arms[arm][number] == level]
                for level, value in enumerate(one.values)
            },
        )
        for number, (name, one) in enumerate(zip(short_names(grid), grid, strict=True))
    ]


def short_names(grid: Sequence[Varied]) -> list[str]:
    """The last part of each key, or the whole key where two end alike."""
    last = [one.key.rpartition(".")[2] for one in grid]
    return [name if last.count(name) == 1 else one.key for name, one in zip(last, grid, strict=True)]


def _text(value: Any) -> str:
    """The value as TOML and JSON both write it."""
    return json.dumps(value, ensure_ascii=False)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else _text(value)
