"""A resolved recipe with the origin of every value, for people and for programs. It decides nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from togi.recipe.errors import DEFAULT, dotted, where
from togi.recipe.locate import Key
from togi.recipe.read import Reading


def origins(reading: Reading, resolved: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Each value of a resolved recipe by its dotted key, as ``{"value": ..., "origin": ...}``.

    An origin is ``FILE:LINE``, ``command line`` or ``default``.
    """
    return {
        dotted(key, resolved): {"value": value, "origin": _origin(key, reading)} for key, value in _leaves(resolved)
    }


def show(reading: Reading, resolved: Mapping[str, Any], console: Console) -> None:
    """Print the resolved recipe, one value a line; what was written stands out from what is a default."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, entry in origins(reading, resolved).items():
        written = entry["origin"] != DEFAULT
        table.add_row(
            Text(name, style="bold" if written else "dim"),
            Text(_text(entry["value"]), style="" if written else "dim"),
            Text(entry["origin"], style="cyan" if written else "dim"),
        )
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value) if isinstance(value, str) else str(value)


def _leaves(value: Any, key: Key = ()) -> Iterator[tuple[Key, Any]]:
    if isinstance(value, Mapping) and value:
        for name, inner in value.items():
            yield from _leaves(inner, (*key, name))
    elif isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from _leaves(item, (*key, index))
    else:
        yield key, value


def _origin(key: Key, reading: Reading) -> str:
    if _written(key, reading.values):
        return where(key, reading.origins)
    # A stage's and the evaluation's sampling start from the general one.
    if "sampling" in key and _written(general := key[key.index("sampling") :], reading.values):
        return where(general, reading.origins)
    return DEFAULT


def _written(key: Key, values: Any) -> bool:
    for part in key:
        inside = part in values if isinstance(values, Mapping) else isinstance(values, list) and isinstance(part, int)
        if not inside:
            return False
        values = values[part]
    return True
