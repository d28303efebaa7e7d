"""Calls a user's reward function in a worker, in Togi's or in TRL's signature, and checks what it returns."""

from __future__ import annotations

import inspect
import math
import numbers
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

from togi.types import Message, Task

LARGEST = 1e9  # a reward beyond this overflows float32 statistics and is a mistake, not a preference


def signature(*, function: Callable[..., Any]) -> Literal["togi", "trl"]:
    """Togi's ``(task, completion) -> float`` or TRL's ``(completions, **columns) -> list``, told by parameter names."""
    names = list(inspect.signature(function).parameters)
    if names[:2] == ["task", "completion"]:
        return "togi"
    if "completions" in names:
        return "trl"
    raise ValueError(
        f"{_name(function)}({', '.join(names)}) is neither Togi's signature (task, completion) -> float "
        "nor TRL's (completions, **columns) -> list of float"
    )


def one(*, function: Callable[..., Any], task: Mapping[str, Any], completion: str) -> float | None:
    """Togi's signature on one completion; None abstains."""
    return _number(function(make_task(task), completion), _name(function))


def many(
    *, function: Callable[..., Any], prompt: Any, completions: Sequence[Any], columns: Mapping[str, Any]
) -> list[float | None]:
    """TRL's signature on all completions of one prompt: every column repeated, passed by keyword where accepted."""
    count = len(completions)
    given = {name: [value] * count for name, value in columns.items()}
    given |= {"prompts": [prompt] * count, "completions": list(completions)}
    parameters = inspect.signature(function).parameters.values()
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        wanted = {parameter.name for parameter in parameters}
        missing = [p.name for p in parameters if p.default is p.empty and p.name not in given]
        if missing:
            raise ValueError(f"{_name(function)} wants {missing}, and the data has the columns {sorted(given)}")
        given = {name: value for name, value in given.items() if name in wanted}
    result = function(**given)
    if isinstance(result, str | bytes | Mapping) or not isinstance(result, Sequence):
        raise ValueError(f"{_name(function)} returned {_show(result)}; a list of {count} numbers was wanted")
    if len(result) != count:
        raise ValueError(f"{_name(function)} returned {len(result)} numbers for {count} completions")
    return [_number(value, _name(function)) for value in result]


def make_task(plain: Mapping[str, Any]) -> Task:
    return Task(
        id=plain["id"],
        prompt=tuple(Message(**message) for message in plain["prompt"]),
        answer=plain["answer"],
        info=plain["info"],
    )


def _number(value: Any, name: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, str | bytes) or not (isinstance(value, numbers.Real) or hasattr(type(value), "__float__")):
        raise ValueError(f"{name} returned {_show(value)}; a number was wanted")
    number = float(value)
    if not math.isfinite(number) or abs(number) > LARGEST:
        raise ValueError(f"{name} returned {number}; a finite number of at most {LARGEST:g} was wanted")
    return number


def _name(function: Callable[..., Any]) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _show(value: Any) -> str:
    return f"{type(value).__name__} {value!r}"[:200]
