"""Reads a recipe: TOML text and dotted overrides become a checked ``Recipe`` that knows where each value came from.

It knows the form of a recipe and nothing of models, data or training; it imports neither torch nor transformers.
"""

from __future__ import annotations

import copy
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from togi.recipe.errors import (
    COMMAND_LINE,
    DEFAULT,
    RecipeError,
    did_you_mean,
    dotted,
    explain_all,
    shown,
    stage_name,
    tell,
    where,
)
from togi.recipe.locate import Key, lines_of
from togi.recipe.schema import Recipe


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A checked recipe. ``values`` is what was written (overrides included), ``origins`` where each key of it stands,
    ``base`` the folder that files are relative to."""

    recipe: Recipe
    values: Mapping[str, Any]
    origins: Mapping[Key, str]
    base: Path

    def problem(self, key: Key, message: str) -> str:
        """What is wrong with a key, told with its place."""
        place = self.origin(key)
        return tell(where(key, self.origins) if place == DEFAULT else place, dotted(key, self.values), message)

    def origin(self, key: Key) -> str:
        """Where the value of a key was written, or ``default``; sampling starts from the general ``[sampling]``."""
        if _is_written(key, self.values):
            return where(key, self.origins)
        if "sampling" in key and _is_written(general := key[key.index("sampling") :], self.values):
            return where(general, self.origins)
        return DEFAULT


def read_recipe(path: Path | str, overrides: Sequence[str] = ()) -> Reading:
    """Read a recipe file, or the ``recipe.toml`` of a run folder.

    Raises:
        RecipeError: with every problem found, each naming file, line and key.
    """
    path = Path(path)
    if path.is_dir():
        path = path / "recipe.toml"
        if not path.is_file():
            raise RecipeError([f"{path.parent}: no run folder, since it holds no recipe.toml"])
    if not path.is_file():
        near = sorted(file.name for file in path.parent.glob("*.toml"))
        there = f"; there is {', '.join(near)}" if near else ""
        raise RecipeError([f"{path}: no such recipe{there}"])
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError([f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    return read_text(text, name=str(path), base=path.parent.resolve(), overrides=overrides)


def read_text(text: str, *, name: str, base: Path, overrides: Sequence[str] = ()) -> Reading:
    """Read a recipe from its text; ``name`` stands in messages where a file's path would."""
    text = text.replace("\r\n", "\n")
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        place = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        what, line = (place[1], place[2]) if place else (str(error), None)
        at = f"{name}:{line}" if line else f"{name}: at the end"
        raise RecipeError([f"{at}: not valid TOML: {what}"]) from error
    origins = {key: f"{name}:{line}" for key, line in lines_of(text).items()}
    return read_values(values, name=name, base=base, overrides=overrides, origins=origins)


def read_values(
    values: Mapping[str, Any],
    *,
    base: Path,
    name: str = "recipe",
    overrides: Sequence[str] = (),
    origins: Mapping[Key, str] | None = None,
) -> Reading:
    """Read a recipe from a plain dictionary, as ``tomllib`` gives it or as Python code builds it."""
    merged = copy.deepcopy(dict(values))
    places = {(): name, **(origins or {})}
    for text in overrides:
        key = _override(text, merged)
        places = {old: place for old, place in places.items() if old[: len(key)] != key}
        places[key] = COMMAND_LINE
    try:
        recipe = Recipe.model_validate(merged)
    except ValidationError as error:
        found = explain_all(error.errors())
        raise RecipeError(tell(where(key, places), dotted(key, merged), message) for key, message in found) from None
    reading = Reading(recipe=recipe, values=merged, origins=places, base=base / (recipe.relative_to or ""))
    if not reading.base.is_dir():
        raise RecipeError([reading.problem(("relative_to",), f"there is no folder {reading.base}")])
    return reading


def _is_written(key: Key, values: Any) -> bool:
    for part in key:
        inside = part in values if isinstance(values, Mapping) else isinstance(values, list) and isinstance(part, int)
        if not inside:
            return False
        values = values[part]
    return True


def _override(text: str, values: dict[str, Any]) -> Key:
    """Set one ``key.path=value`` in place; gives the path with stages by index."""
    path, equals, written = text.partition("=")
    names = path.strip().split(".")
    if not equals or not all(names):
        raise RecipeError([f"{COMMAND_LINE}: {text!r} is no override; write KEY=VALUE, as in model.dtype=float32"])
    value = _value(written.strip())
    table: Any = values
    key: Key = ()
    for name in names[:-1]:
        step = _step(table, name, text)
        key = (*key, step)
        if isinstance(step, str):
            table.setdefault(step, {})
        table = table[step]
    step = _step(table, names[-1], text)
    table[step] = value
    return (*key, step)


def _step(table: Any, name: str, override: str) -> str | int:
    """The dictionary key or list index that ``name`` means in ``table``."""
    if isinstance(table, dict):
        return name
    if not isinstance(table, list):
        raise RecipeError([f"{COMMAND_LINE}: {override}: nothing stands below {shown(table)}"])
    if name.isdecimal():
        if int(name) < len(table):
            return int(name)
        raise RecipeError([f"{COMMAND_LINE}: {override}: no number {name}; they go from 0 to {len(table) - 1}"])
    known = [stage_name(item) if isinstance(item, Mapping) else None for item in table]
    if name in known:
        return known.index(name)
    advice = did_you_mean(name, [item for item in known if item])
    raise RecipeError([f"{COMMAND_LINE}: {override}: no {name!r}; {advice}"])


def _value(written: str) -> Any:
    """The value as TOML reads it; what TOML cannot read is text, so that plain words need no quotes."""
    try:
        parsed = tomllib.loads(f"value = {written}")
    except tomllib.TOMLDecodeError:
        return written
    return parsed["value"] if parsed.keys() == {"value"} else written
