"""Calls a tool's function, mostly in a worker: arguments are checked by its signature, and what it raises is told."""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, NotRequired, get_type_hints

from pydantic import ConfigDict, TypeAdapter, ValidationError
from typing_extensions import TypedDict

from togi.graders import awaiting

LONGEST = 1 << 20  # characters of a result that leave the worker; the model is shown fewer


@lru_cache(maxsize=64)
def arguments_of(function: Callable[..., Any]) -> TypeAdapter[Any]:
    """What checks a call's arguments by the types of the function's parameters. Raises whatever pydantic does for
    types that it cannot check."""
    hints = get_type_hints(function, include_extras=True)
    needed = {
        each.name: hints[each.name] if each.default is each.empty else NotRequired[hints[each.name]]
        for each in inspect.signature(function).parameters.values()
    }
    arguments = TypedDict("arguments", needed)  # type: ignore[misc]
    arguments.__pydantic_config__ = ConfigDict(extra="forbid")  # type: ignore[attr-defined]
    return TypeAdapter(arguments)


def call_function(
    function: Callable[..., Any], arguments: Mapping[str, Any], signed: Callable[..., Any] | None = None
) -> dict[str, Any]:
    """What the function gave, as text, and whether it failed. ``signed``, if given, is what has its signature."""
    try:
        checked = arguments_of(signed or function).validate_python(dict(arguments))
    except ValidationError as error:
        return {"text": "; ".join(map(_told, error.errors())), "failed": True}
    try:
        value = function(**checked)
        return {"text": text_of(awaiting.one(value) if inspect.isawaitable(value) else value), "failed": False}
    except Exception as error:
        return {"text": f"{type(error).__name__}: {error}"[:LONGEST], "failed": True}


def text_of(value: Any) -> str:
    """A text as it is, and anything else as JSON."""
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))[:LONGEST]


def _told(error: Mapping[str, Any]) -> str:
    name = ".".join(map(str, error["loc"]))
    match error["type"]:
        case "missing":
            return f"{name} is missing"
        case "extra_forbidden":
            return f"there is no argument {name!r}"
    return f"{name}: {error['msg']}"
