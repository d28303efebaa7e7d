"""Graders of texts, patterns and JSON; they run in workers, whose clock ends a pattern that backtracks for ever."""

from __future__ import annotations

import json
import math as mathematics
import re
from collections.abc import Callable
from typing import Any

from togi.graders.answer_place import place_of
from togi.graders.marks import UNPARSED, Mark, answer_text, normal

SCHEMA = {  # what the grader of schemas is given: imported before the clock of a call starts
    "validator": "jsonschema:Draft202012Validator",
    "registry": "referencing:Registry",
}
FENCED = re.compile(r"```(?:json)?[ \t]*\n(.*)\n[ \t]*```", re.DOTALL)


def parse_json(text: str) -> tuple[Any, bool]:
    """A text's JSON value, and whether it is one: one value, in a code fence or bare, and nothing around it.

    A key given twice in an object and NaN are no JSON here: it would be left to chance what was meant.
    """
    text = text.strip()
    fenced = FENCED.fullmatch(text)
    try:
        return json.loads(fenced[1] if fenced else text, object_pairs_hook=_object, parse_constant=_constant), True
    except (ValueError, RecursionError):
        return None, False


def exact(*, text: str, gold: Any, tag: str, marker: str, case: bool) -> Mark:
    golds = texts(gold)
    if golds is None:
        return {"bad_gold": f"the answer {gold!r} is no text, nor a list of texts"}
    place = place_of(text, tag=tag, marker=marker, box=False)
    if place is None:
        return UNPARSED
    return {"value": float(normal(place.text, case) in {normal(each, case) for each in golds}), "parsed": 1.0}


def matches(*, text: str, gold: Any, tag: str, marker: str, pattern: str) -> Mark:
    """1 when the whole answer matches the pattern, the task's own where none is given."""
    wanted = pattern or gold
    if not isinstance(wanted, str):
        return {"bad_gold": f"{wanted!r} is no regular expression: it is no text"}
    try:
        compiled = re.compile(wanted)
    except re.error as error:
        return {"bad_gold": f"{wanted!r} is no regular expression: {error}"}
    place = place_of(text, tag=tag, marker=marker, box=False)
    return UNPARSED if place is None else {"value": float(compiled.fullmatch(place.text) is not None), "parsed": 1.0}


def schema(
    *, text: str, tag: str, marker: str, wanted: Any, validator: Callable[..., Any], registry: Callable[..., Any]
) -> Mark:
    """1 when the answer is one JSON value that the schema allows. References to other documents are not followed."""
    try:
        validator.check_schema(wanted)  # type: ignore[attr-defined]
    except Exception as error:  # its own SchemaError, which is not at hand here
        return {"bad_gold": f"the schema is none: {str(error).splitlines()[0]}"}
    value, found = parse_json(answer_text(text, tag=tag, marker=marker) or "")
    if not found:
        return UNPARSED
    return {"value": float(validator(wanted, registry=registry()).is_valid(value)), "parsed": 1.0}


def object_fields(*, text: str, tag: str, marker: str, key: str) -> dict[str, Any]:
    """The answer's field as text; strings as they are, other values as JSON. None where it is no object that has it."""
    value, _ = parse_json(answer_text(text, tag=tag, marker=marker) or "")
    if not isinstance(value, dict) or key not in value:
        return {"field": None}
    return {"field": value[key] if isinstance(value[key], str) else json.dumps(value[key], ensure_ascii=False)}


def texts(gold: Any) -> list[str] | None:
    """A task's answer, or each of a list of answers, as text; None where one is none."""
    found = [_as_text(each) for each in (gold if isinstance(gold, list) else [gold])]
    said = [each for each in found if each and each.strip()]
    return said if said and len(said) == len(found) else None


def _as_text(answer: Any) -> str | None:
    """One answer of a task as text, a truth value as JSON writes it; None for what is no text and no number."""
    if isinstance(answer, bool):
        return json.dumps(answer)
    if isinstance(answer, float) and not mathematics.isfinite(answer):
        return None
    return str(answer) if isinstance(answer, str | int | float) else None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")
