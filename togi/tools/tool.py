"""The nouns of tools: what a model is told of one, a call of it, and what the call gave. It runs nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol


@dataclass(kw_only=True)
class Kept:
    """What an episode keeps between its calls: ``notes`` by name, and the ``files`` of its folder by their path, of
    which one that ends in "/" is a folder."""

    notes: dict[str, str] = field(default_factory=dict)
    files: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Description:
    """What the model is told of a tool; ``parameters`` is a JSON schema of an object."""

    name: str
    text: str
    parameters: Mapping[str, Any]

    @property
    def schema(self) -> dict[str, Any]:
        """In OpenAI's form, as ``Task.tools`` has it."""
        function = {"name": self.name, "description": self.text, "parameters": dict(self.parameters)}
        return {"type": "function", "function": function}


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call as the model wrote it. Where it could not be read, ``arguments`` is None, and ``problem`` tells the model
    why."""

    name: str = ""
    arguments: Mapping[str, Any] | None = None
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Result:
    """What a tool says to the model. ``failed`` where the call did not do what was asked."""

    text: str
    failed: bool = False


class Tool(Protocol):
    """Something that a model can call. A call never raises for what the model wrote: it says what was wrong."""

    @property
    def description(self) -> Description: ...

    @property
    def files(self) -> tuple[Path, ...]:
        """The files that it is made of or reads, besides Togi's own."""
        ...

    def call(self, arguments: Mapping[str, Any], kept: Kept) -> Result: ...


def described(name: str, text: str, /, **texts: str) -> Description:
    """A tool whose arguments are all texts, and all needed: ``texts`` says what each is."""
    properties = {key: {"type": "string", "description": value} for key, value in texts.items()}
    schema = {"type": "object", "properties": properties, "required": list(texts), "additionalProperties": False}
    return Description(name=name, text=text, parameters=schema)


@dataclass(frozen=True, kw_only=True)
class Argued:
    """The texts that a call of such a tool gave, or what is wrong with them."""

    texts: Mapping[str, str] = field(default_factory=dict)
    problem: str = ""


def argued(description: Description, arguments: Mapping[str, Any]) -> Argued:
    """The arguments of a tool whose arguments are all texts; a number is taken as the text that it was written as."""
    wanted = list(description.parameters["properties"])
    problems = [f"{name} is missing" for name in wanted if name not in arguments]
    problems += [f"there is no argument {name!r}" for name in arguments if name not in wanted]
    texts: dict[str, str] = {}
    for name in wanted:
        value = arguments.get(name, "")
        if isinstance(value, str | int | float) and not isinstance(value, bool):
            texts[name] = str(value)
        else:
            problems.append(f"{name} should be a text")
    return Argued(texts=texts, problem="; ".join(problems))
