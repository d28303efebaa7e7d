"""Finds the line on which each key of a TOML text stands; it knows no key by name and trusts that the text parses."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

Key = tuple[str | int, ...]


def lines_of(text: str) -> dict[Key, int]:
    """The line (from 1) of every key and table header of a valid TOML text; array members carry their index.

    The standard parser gives values without positions. Since the whole text is known to parse, a statement is the
    fewest lines that parse by themselves, whatever strings and arrays it spreads over.
    """
    found: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    lines = text.split("\n")
    start = 0
    while start < len(lines):
        end = start + 1
        while (statement := _parsed("\n".join(lines[start:end]))) is None:
            end += 1
        head = lines[start].lstrip()
        if head.startswith("["):
            table = _table(statement, counts, is_array=head.startswith("[["))
            found.setdefault(table, start + 1)
        else:
            for key in _paths(statement):
                found.setdefault(table + key, start + 1)
        start = end
    return found


def _parsed(statement: str) -> dict[str, Any] | None:
    try:
        return tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return None


def _table(header: dict[str, Any], counts: dict[Key, int], *, is_array: bool) -> Key:
    """The key path of a parsed ``[header]``, with the running index of each array of tables on the way."""
    names: list[str] = []
    value: Any = header
    while isinstance(value, dict) and value:
        names.append(next(iter(value)))
        value = value[names[-1]]
    path: Key = ()
    for position, name in enumerate(names):
        path = (*path, name)
        if is_array and position == len(names) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _paths(value: Any, prefix: Key = ()) -> Iterator[Key]:
    if prefix:
        yield prefix
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for name, inner in items:
        yield from _paths(inner, (*prefix, name))
