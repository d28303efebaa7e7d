"""Cuts a TOML text into statements and finds the line of each key. It knows no key by name, and trusts no text.

The standard parser gives values without positions, and takes time without end for some texts. One pass over strings,
comments and brackets finds where statements end, and refuses what nobody writes by hand.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator
from typing import Any

import regex

Key = tuple[str | int, ...]

LONGEST = 1 << 18
"""Characters of a recipe; the longest of Togi's own has some 4,000."""

DEEPEST = 24
"""Tables within tables, lists within lists, or parts of a dotted key."""

_DIGITS = 100  # of a number: Python takes quadratic time for long ones
# A string that is not ended goes on to the end of its line or of the text: the parser refuses it later. Not `re`, whose
# possessive repeats miss the end of some strings in Python 3.11.2.
_TOKEN = regex.compile(
    r'"""(?:[^"\\]|\\.?|"{1,2}(?!"))*+(?:"{3,5}|\Z)'
    r"|'''(?:[^']|'{1,2}(?!'))*+(?:'{3,5}|\Z)"
    r'|"(?:[^"\\\n]|\\[^\n]?)*+"?'
    r"|'[^'\n]*+'?"
    r"|#[^\n]*+"
    rf"|[0-9](?:[0-9_]){{{_DIGITS},}}"
    r"|[\[\]{}=,.\n]",
    regex.DOTALL,
)


class Unreadable(ValueError):
    """A text that is not read; ``line`` says where it goes wrong."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


def lines_of(text: str) -> dict[Key, int]:
    """The line (from 1) of every key and table header of a valid TOML text; array members carry their index."""
    found: dict[Key, int] = {}
    counts: dict[Key, int] = {}
    table: Key = ()
    for line, statement in statements(text):
        parsed = tomllib.loads(statement)
        head = statement.lstrip()
        if head.startswith("["):
            table = _table(parsed, counts, is_array=head.startswith("[["))
            found.setdefault(table, line)
        else:
            for key in _paths(parsed):
                found.setdefault(table + key, line)
    return found


def statements(text: str) -> Iterator[tuple[int, str]]:
    """Every header and every assignment with the line it begins on.

    Raises:
        Unreadable: nested too deeply, or a number too long to be one.
    """
    start, line, first, depth, parts = 0, 1, 1, 0, 1
    for token in _TOKEN.finditer(text):
        found = token[0]
        if found in "[{":
            depth += 1
        elif found in "]}":
            depth = max(0, depth - 1)
        elif found == ".":
            parts += 1
        elif found[0].isdecimal():
            raise Unreadable(line, f"a number of {len(found):,} digits")
        if found in "[]{}=,\n":
            parts = 1
        if max(depth, parts) > DEEPEST:
            raise Unreadable(line, f"nested too deeply: at most {DEEPEST} levels")
        line += found.count("\n")
        if found == "\n" and depth == 0:
            if text[start : token.start()].strip():
                yield first, text[start : token.end()]
            start, first = token.end(), line
    if text[start:].strip():
        yield first, text[start:]


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
