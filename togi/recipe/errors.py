"""Says what is wrong with a recipe: where (file and line, or command line), which key, what was got, what was wanted.

It knows the schema and the form of pydantic's complaints, and nothing of what the values mean.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from togi.harmless_text import shortened
from togi.recipe.key_lines import Key
from togi.recipe.other_trainers import ELSEWHERE
from togi.recipe.schema import Recipe, StageTable, named_by

COMMAND_LINE = "command line"
DEFAULT = "default"
SHOWN = 20  # problems told at once


class RecipeError(ValueError):
    """A recipe cannot be read or built; every problem stands on a line of its own, of many the first ones."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        more = len(self.problems) - SHOWN
        super().__init__("\n".join([*self.problems[:SHOWN], *([f"… and {more} more"] if more > 0 else [])]))


def dotted(key: Key, values: Mapping[str, Any]) -> str:
    """The key as one would write it in an override: stages by name."""
    if len(key) > 1 and key[0] == "stage" and isinstance(key[1], int):
        stages = values.get("stage")
        stage = stages[key[1]] if isinstance(stages, list) and key[1] < len(stages) else None
        if isinstance(stage, Mapping):
            key = ("stage", stage_name(stage) or key[1], *key[2:])
    return shortened(".".join(str(part) for part in key), 200)


def stage_name(stage: Mapping[str, Any]) -> str | None:
    name, algorithm = stage.get("name"), stage.get("algorithm")
    if name is None and isinstance(algorithm, str):
        return named_by(algorithm)
    return name if isinstance(name, str) else None


def where(key: Key, origins: Mapping[Key, str]) -> str:
    """The origin of the key: its own, else that of the first key within it, else of the closest table around it."""
    if key in origins:
        return origins[key]
    inside = (origin for other, origin in origins.items() if other[: len(key)] == key)
    return next(inside, None) or where(key[:-1], origins)


def tell(place: str, name: str, message: str) -> str:
    """One line about one key."""
    return f"{place}: {name}: {message}" if name else f"{place}: {message}"


def did_you_mean(got: str, known: Iterable[str]) -> str:
    """Advice for a misspelt word: the nearest known one, or all of them."""
    known = sorted(known)
    if near := _nearest(got, known):
        return f"did you mean {near!r}?"
    return f"there is {', '.join(known)}" if known else "nothing can be set here"


def _nearest(got: str, known: Iterable[str]) -> str | None:
    """The known word that ``got`` is a misspelling of, if any."""
    near = difflib.get_close_matches(got[:100], list(known), n=1, cutoff=0.6)
    return near[0] if near else None


def explain_all(errors: Sequence[ErrorDetails]) -> list[tuple[Key, str]]:
    """All complaints but those that only follow from another: a list whose members are wrong is not too short, and a
    key that was misspelt is not missing as well."""
    keys = [tuple(error["loc"]) for error in errors]
    around = {key[:length] for key in keys for length in range(len(key))}
    misspelt = {
        (*key[:-1], _meant(str(key[-1]), fields_at(key[:-1])))
        for key, error in zip(keys, errors, strict=True)
        if error["type"] == "extra_forbidden"
    }
    kept = []
    for key, error in zip(keys, errors, strict=True):
        follows = (error["type"] == "too_short" and key in around) or (error["type"] == "missing" and key in misspelt)
        if error["type"] == "extra_forbidden" and (inner := list(_known_inside(key, error["input"]))):
            kept += inner
        elif not follows:
            kept.append(explain(error))
    return kept


def _known_inside(key: Key, value: Any) -> Iterator[tuple[Key, str]]:
    """Whatever another trainer's table holds that has a name here."""
    for name, inner in value.items() if isinstance(value, Mapping) else ():
        found = list(_known_inside((*key, name), inner))
        yield from found
        if not found and name in ELSEWHERE:
            yield (*key, name), f"unknown key; {ELSEWHERE[name]}"


def _meant(got: str, known: Iterable[str]) -> str | None:
    return ELSEWHERE[got].key if got in ELSEWHERE else _nearest(got, known)


def explain(error: ErrorDetails) -> tuple[Key, str]:
    """Where a complaint of pydantic belongs, and the same in our words."""
    key, kind, got, context = tuple(error["loc"]), error["type"], error["input"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return key, f"unknown key; {_unknown(key)}"
    if kind == "missing":
        return key, f"is needed and not there ({_description(key)})"
    if kind == "value_error":
        return key, str(context["error"])
    if kind in ("model_type", "model_attributes_type"):
        return key, f"got {shown(got)}, wanted a table with {', '.join(sorted(fields_at(key)))}"
    if kind == "literal_error":
        wanted = str(context["expected"]).replace("'", '"')
        return key, f"got {shown(got)}, wanted {wanted}"
    if kind == "string_pattern_mismatch":
        return key, f"got {shown(got)}, wanted a name of letters, digits, - and _ that starts with a letter"
    if kind == "too_short":
        return key, f"got {shown(got)}, wanted at least one (write [[{key[-1]}]])"
    if kind == "string_too_short":
        return key, "got empty text"
    return key, f"got {shown(got)}, wanted {_wanted(kind, context)}"


def shown(value: Any) -> str:
    """A value with its kind in TOML's words, so that ``"1e-5"`` and ``1e-5`` cannot be confused."""
    if isinstance(value, bool):
        return f"{str(value).lower()} (true/false)"
    if isinstance(value, str):
        return f'"{shortened(value, 80)}" (text)'
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return "a list" if value else "an empty list"
    if isinstance(value, Mapping):
        return "a table"
    return f"{value} ({type(value).__name__})"


BOUNDS = {
    "greater_than": "a number above {gt}",
    "greater_than_equal": "a number of at least {ge}",
    "less_than": "a number below {lt}",
    "less_than_equal": "a number of at most {le}",
    "string_too_long": "text of at most {max_length} characters",
    "too_long": "a list of at most {max_length}",
}
KINDS = {"int": "a whole number", "float": "a number", "string": "text", "bool": "true or false", "tuple": "a list"}


def _wanted(kind: str, context: Mapping[str, Any]) -> str:
    if kind in BOUNDS:
        return BOUNDS[kind].format(**{name: _plain(bound) for name, bound in context.items()})
    if kind == "finite_number":
        return "a finite number"
    return KINDS.get(kind.split("_")[0], "text, a number, true/false, a list or a table")


def _plain(bound: Any) -> str:
    return f"{bound:g}" if isinstance(bound, float) else f"{bound:,}" if isinstance(bound, int) else str(bound)


def _unknown(key: Key) -> str:
    name, table = str(key[-1]), key[:-1]
    here = fields_at(table)
    if name in ELSEWHERE:
        return str(ELSEWHERE[name])
    if _nearest(name, here):
        return did_you_mean(name, here)
    for home in ("sampling", "model", "data", "prompt", "checkpoint", "evaluation", "stage"):
        if name in fields_at((home, 0) if home == "stage" else (home,)) and home not in table:
            inside = f"stage.{home}" if table[:1] == ("stage",) and home == "sampling" else home
            return f"it belongs in [{inside}]"
    if model_at(table) is StageTable:
        return f"{did_you_mean(name, here)}; an algorithm's own settings stand in [stage.settings]"
    return did_you_mean(name, here)


def _description(key: Key) -> str:
    field = fields_at(key[:-1]).get(str(key[-1]))
    return str(field.description).split(".")[0].rstrip(".") if field else ""


def fields_at(key: Key) -> Mapping[str, Any]:
    """The keys the schema knows in a table, empty where there is none."""
    model = model_at(key)
    return model.model_fields if model else {}


def model_at(key: Key) -> type[BaseModel] | None:
    """The model of the table at a key path, None where the schema has no table."""
    model: type[BaseModel] | None = Recipe
    for part in key:
        if isinstance(part, int):
            continue
        field = model.model_fields.get(part) if model else None
        model = _table_in(field.annotation) if field else None
    return model


def _table_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if get_origin(annotation) in (Union, types.UnionType, tuple, Annotated):
        return next((table for part in get_args(annotation) if (table := _table_in(part))), None)
    return None
