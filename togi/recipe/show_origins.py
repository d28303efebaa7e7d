"""A resolved recipe with the origin of every value, for people and for programs. It decides nothing."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.text import Text

from togi.harmless_text import ACTIVE, visible
from togi.recipe.errors import DEFAULT, dotted
from togi.recipe.key_lines import Key
from togi.recipe.read_toml import Reading

BARE = re.compile(r"[A-Za-z0-9_-]+")  # keys that TOML takes without quotes


def origins(reading: Reading, resolved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each value of a resolved recipe by its dotted key, as ``{"value": ..., "origin": ...}``.

    An origin is ``FILE:LINE``, ``command line`` or ``default``.
    """
    return {dotted(key, resolved): {"value": value, "origin": reading.origin(key)} for key, value in _leaves(resolved)}


def show(reading: Reading, resolved: Mapping[str, Any], console: Console) -> None:
    """Print the resolved recipe as TOML, each value with its origin as a comment; defaults are dimmed."""
    for line in _lines(resolved, reading, ()):
        console.print(line, soft_wrap=True)


def _lines(table: Mapping[str, Any], reading: Reading, key: Key) -> Iterator[Text]:
    inner = {name: value for name, value in table.items() if _is_table(value) or _is_tables(value)}
    for name, value in table.items():
        if name not in inner:
            origin = reading.origin((*key, name))
            style = "dim" if origin == DEFAULT else ""
            yield Text(f"{f'{_name(name)} = {_text(value)}':<39} ", style=style).append(
                f"# {visible(origin)}", style="dim cyan"
            )
    for name, value in inner.items():
        path = ".".join(_name(part) for part in (*key, name) if isinstance(part, str))
        for index, item in enumerate(value if _is_tables(value) else [value]):
            if not _is_tables(value) and all(map(_is_table, item.values())) and item:
                yield from _lines(item, reading, (*key, name))
                continue
            yield Text(f"\n[[{path}]]" if _is_tables(value) else f"\n[{path}]", style="bold")
            yield from _lines(item, reading, (*key, name, index) if _is_tables(value) else (*key, name))


def _text(value: Any) -> str:
    """A value as TOML writes it, on one line."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_name(name)} = {_text(inner)}" for name, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(_text, value)) + "]"
    # What would act on a terminal is written as its number, which reads back as the same.
    return ACTIVE.sub(lambda found: f"\\U{ord(found[0]):08X}", json.dumps(value, ensure_ascii=False))


def _name(key: str) -> str:
    return key if BARE.fullmatch(key) else _text(key)


def _is_table(value: Any) -> bool:
    return isinstance(value, Mapping)


def _is_tables(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, Mapping) for item in value)


def _leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    if _is_table(value) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*key, name))
    elif _is_tables(value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*key, index))
    else:
        yield key, value
