"""Reads a recipe: TOML text and dotted overrides become a checked ``Recipe`` that knows where each value came from.

It knows the form of a recipe and nothing of models, data or training; it imports neither torch nor transformers.
"""

from __future__ import annotations

import copy
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from togi.credentials import ADVICE, secret_in, without_secrets
from togi.harmless_text import shortened
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
from togi.recipe.key_lines import DEEPEST, LONGEST, Key, Unreadable, lines_of, statements
from togi.recipe.repeated_stages import faults, written_out
from togi.recipe.schema import Recipe

NEIGHBOURS = 20  # recipes named when one was not found


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A checked recipe. ``values`` is what was written (overrides included), with each round of [[repeat]] as stages of
    its own, ``origins`` where each key of it stands, ``base`` the folder that files are relative to; ``folded`` is what
    was written before rounds became stages, with its origins."""

    recipe: Recipe
    values: Mapping[str, Any]
    origins: Mapping[Key, str]
    base: Path
    folded: tuple[Mapping[str, Any], Mapping[Key, str]]

    def changed(self, overrides: Sequence[str]) -> Reading:
        """The recipe with further overrides; a change to a repeated stage is one to all of its rounds."""
        values, origins = self.folded
        return read_values(values, base=self.base, overrides=overrides, origins=origins)

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
    try:
        if path.is_dir():
            path = path / "recipe.toml"
            if not path.is_file():
                raise RecipeError([f"{path.parent}: no run folder, since it holds no recipe.toml"])
        if not path.is_file():
            near = sorted(file.name for file in path.parent.glob("*.toml"))[:NEIGHBOURS]
            there = f"; there is {', '.join(near)}" if near else ""
            raise RecipeError([f"{path}: no such recipe{there}"])
        with path.open("rb") as file:
            # A character has up to four bytes.
            text = file.read(4 * LONGEST + 1).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError([f"{path}: not UTF-8 text (byte {error.start}); save it as UTF-8"]) from error
    except OSError as error:
        raise RecipeError([f"{path}: cannot be read: {error.strerror}"]) from error
    return read_text(text, name=str(path), base=path.parent.resolve(), overrides=overrides)


def read_text(text: str, *, name: str, base: Path, overrides: Sequence[str] = ()) -> Reading:
    """Read a recipe from its text; ``name`` stands in messages where a file's path would."""
    if len(text) > LONGEST:
        raise RecipeError([f"{name}: more than {LONGEST:,} characters: a recipe is short, and long texts are files"])
    text = text.replace("\r\n", "\n")
    try:
        for _ in statements(text):  # what the parser would not end on is refused before it
            pass
        values = tomllib.loads(text)
    except Unreadable as error:
        raise RecipeError([f"{name}:{error.line}: {error}"]) from error
    except tomllib.TOMLDecodeError as error:
        place = re.fullmatch(r"(.*) \(at (?:line (\d+), column (\d+)|end of document)\)", str(error), re.DOTALL)
        what, line = (place[1], place[2]) if place else (str(error), None)
        at = f"{name}:{line}" if line else f"{name}: at the end"
        raise RecipeError([f"{at}: not valid TOML: {what}"]) from error
    if values.get("built_in") == "python":
        raise RecipeError(
            [
                f"{name}: this run was built in Python, and no file holds its tasks and rewards. Run the program that "
                "builds it to go on; to measure it again, call togi.evaluate_run(run, STAGE) there"
            ]
        )
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
    if problems := list(_foreign(merged, ())):
        raise RecipeError(tell(where(key, places), dotted(key, merged), message) for key, message in problems)
    recipe, folded = _checked(merged, places), (merged, places)
    if recipe.repeat:
        if wrong := list(faults(recipe.repeat, merged["stage"])):
            raise RecipeError(tell(where(key, places), dotted(key, merged), message) for key, message in wrong)
        merged, places = written_out(recipe.repeat, merged, places)
        recipe = _checked(merged, places)
    base = base / (recipe.relative_to or "")
    reading = Reading(recipe=recipe, values=merged, origins=places, base=base, folded=folded)
    if not reading.base.is_dir():
        raise RecipeError([reading.problem(("relative_to",), f"there is no folder {reading.base}")])
    return reading


def _checked(values: Mapping[str, Any], places: Mapping[Key, str]) -> Recipe:
    """Raises RecipeError."""
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        found = explain_all(error.errors())
        raise RecipeError(tell(where(key, places), dotted(key, values), message) for key, message in found) from None


def _foreign(value: Any, key: Key) -> Iterator[tuple[Key, str]]:
    """What no key may hold: secrets, numbers beyond TOML's own, lone surrogates, and tables without end."""
    if len(key) > 2 * DEEPEST:
        yield key[:DEEPEST], f"nested too deeply: at most {DEEPEST} levels"
    elif isinstance(value, Mapping | list | tuple):
        for name, inner in value.items() if isinstance(value, Mapping) else enumerate(value):
            yield from _foreign(inner, (*key, name))
    elif isinstance(value, str) and (kind := secret_in(value)):
        yield key, f"holds {kind}, which would be kept in the run's folder: {ADVICE}"
    elif isinstance(value, str) and any("\ud800" <= character <= "\udfff" for character in value):
        yield key, "holds half of a surrogate pair, which is no character"
    elif isinstance(value, int) and not -(2**63) <= value < 2**63:
        yield key, "this number is too large: whole numbers have at most 64 bits"
    elif isinstance(value, float) and not math.isfinite(value):
        yield key, f"got {value}, wanted a finite number"


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
        shown = shortened(without_secrets(text), 100)
        raise RecipeError([f'{COMMAND_LINE}: "{shown}" is no override; write KEY=VALUE, as in model.dtype=float32'])
    if len(names) > DEEPEST:
        raise RecipeError([f"{COMMAND_LINE}: a key of {len(names)} parts; the deepest has {DEEPEST}"])
    try:
        value = _value(written.strip())
    except Unreadable as error:
        raise RecipeError([f"{COMMAND_LINE}: {path.strip()}: {error}"]) from error
    table: Any = values
    key: Key = ()
    for name in names[:-1]:
        step = _step(table, name, path)
        key = (*key, step)
        if isinstance(step, str):
            table.setdefault(step, {})
        table = table[step]
    step = _step(table, names[-1], path)
    table[step] = value
    return (*key, step)


def _step(table: Any, name: str, path: str) -> str | int:
    """The dictionary key or list index that ``name`` means in ``table``; ``path`` is the whole key."""
    path = shortened(path, 200)
    if isinstance(table, dict):
        return name
    if not isinstance(table, list):
        raise RecipeError([f"{COMMAND_LINE}: {path}: nothing stands below {shown(table)}"])
    if name.isdecimal() and len(name) < 10:
        if int(name) < len(table):
            return int(name)
        raise RecipeError([f"{COMMAND_LINE}: {path}: no number {name[:9]}; they go from 0 to {len(table) - 1}"])
    known = [stage_name(item) if isinstance(item, Mapping) else None for item in table]
    if name in known:
        return known.index(name)
    advice = did_you_mean(name, [item for item in known if item])
    raise RecipeError([f"{COMMAND_LINE}: {path}: no {shortened(name, 100)!r}; {advice}"])


def _value(written: str) -> Any:
    """The value as TOML reads it; what TOML cannot read is text, so that plain words need no quotes.

    Raises:
        Unreadable: more than a recipe holds.
    """
    whole = f"value = {written}"
    if len(whole) > LONGEST:
        raise Unreadable(1, f"a value of {len(written):,} characters")
    for _ in statements(whole):
        pass
    try:
        parsed = tomllib.loads(whole)
    except tomllib.TOMLDecodeError:
        return written
    return parsed["value"] if parsed.keys() == {"value"} else written
