"""A typed Python function as a tool: its schema is its signature, its description its docstring. It is called in a
worker process, as graders are."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_type_hints

from pydantic import PydanticUserError

from togi.find_function import absolute, files_of, resolve
from togi.sandbox.workers.pool import Pool, shared_pool
from togi.tools.call_function import arguments_of
from togi.tools.tool import Description, Kept, Result

CALLED = "togi.tools.call_function:call_function"
ARGUMENT = re.compile(r"\s*(?::param\s+)?\**(\w+)(?:\s*\([^)]*\))?\s*:\s*(.+)")
SECTION = re.compile(r"\s*(args|arguments|parameters|returns?|raises|examples?|yields|notes?):?\s*", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class FunctionTool:
    """The function of a ``reference``, "file.py:function" or "module:function". What it returns is shown to the model
    as text or JSON, and what it raises as an error."""

    reference: str
    description: Description
    pool: Pool = field(default_factory=shared_pool, compare=False, repr=False)

    @property
    def files(self) -> tuple[Path, ...]:
        return files_of(self.reference)

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result:
        verdict = self.pool.call(CALLED, {"arguments": dict(arguments)}, {"function": self.reference})
        if verdict.status != "ok":
            return Result(text=f"{self.description.name} failed: {verdict.note}", failed=True)
        return Result(text=str(verdict.value["text"]), failed=bool(verdict.value["failed"]))


def function_tool(reference: str, base: Path, pool: Pool, name: str = "") -> FunctionTool:
    """Raises ValueError for a function that is not there, or whose parameters cannot be told to a model."""
    reference = absolute(reference, base)
    function = resolve(reference, base)
    return FunctionTool(
        reference=reference, description=describe(function, name or reference.rpartition(":")[2]), pool=pool
    )


def describe(function: Callable[..., Any], name: str) -> Description:
    """What the model is told of a function. Raises ValueError for parameters without a type, or of a type that JSON
    does not have, and for a function without a docstring."""
    try:
        hints = get_type_hints(function)
    except Exception as error:
        raise ValueError(f"the types of the tool {name} cannot be read: {error}") from error
    for each in inspect.signature(function).parameters.values():
        if each.kind in (each.VAR_POSITIONAL, each.VAR_KEYWORD, each.POSITIONAL_ONLY):
            raise ValueError(f"the tool {name} takes {each}, and a model calls by name: name every parameter")
        if each.name not in hints:
            raise ValueError(f"the parameter {each.name} of the tool {name} has no type: write {each.name}: str")
    about, parameters = _docstring(function)
    if not about:
        raise ValueError(f"the tool {name} has no docstring, and the model is told what a tool does by that: write one")
    try:
        schema = arguments_of(function).json_schema()
    except (PydanticUserError, TypeError, ValueError) as error:
        raise ValueError(f"the parameters of the tool {name} cannot be told to a model: {error}") from error
    schema.pop("title", None)
    for key, each in schema.get("properties", {}).items():
        each.pop("title", None)
        if key in parameters:
            each["description"] = parameters[key]
    return Description(name=name, text=about, parameters=schema)


def _docstring(function: Callable[..., Any]) -> tuple[str, dict[str, str]]:
    """What stands before the first section of a docstring, and what it says of each argument."""
    about: list[str] = []
    found: dict[str, str] = {}
    names = inspect.signature(function).parameters
    inside = False
    for line in (inspect.getdoc(function) or "").splitlines():
        if SECTION.fullmatch(line):
            inside = True
        elif (argument := ARGUMENT.fullmatch(line)) and argument[1] in names:
            inside = True
            found[argument[1]] = argument[2].strip()
        elif not inside:
            about.append(line)
    return " ".join(" ".join(about).split()), found
