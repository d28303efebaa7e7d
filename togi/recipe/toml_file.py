"""The tables of a TOML file that is no recipe, with changes of keys, or what is wrong with it. It knows no key."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from togi.recipe.errors import did_you_mean, explain
from togi.recipe.key_lines import LONGEST, Unreadable, statements
from togi.recipe.schema import Table

File = TypeVar("File", bound=Table)
COMMANDS = {
    "experiment": "experiment",
    "design": "eureka",
    "saycan": "saycan",
    "voyager": "voyager",
    "model": "train",
    "stage": "train",
}
"""Which command runs a file that has this table; the first that is there."""


def toml_of(path: Path, what: str) -> dict[str, Any]:
    """What the file says; ``what`` is the kind of file that is wanted. Raises ValueError, with its line."""
    try:
        with path.open("rb") as file:
            text = file.read(4 * LONGEST + 1).decode("utf-8-sig")
        if len(text) > LONGEST:
            raise ValueError(f"more than {LONGEST:,} characters: long texts are files of their own")
        for _ in statements(text):  # what the parser would not end on is refused before it
            pass
        return tomllib.loads(text)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such {what}") from error
    except Unreadable as error:
        raise ValueError(f"{path}:{error.line}: {error}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: cannot be read: {error}") from error


def read_tables(path: Path, kind: type[File], *, table: str, what: str, changes: Sequence[str] = ()) -> File:
    """The tables of a file, with ``KEY=VALUE`` changes. ``table`` is the one that makes it ``what`` it is. Raises
    ValueError."""
    values = toml_of(path, what)
    if table not in values and (known := next((each for each in COMMANDS if each in values), None)):
        raise ValueError(f"{path}: this is no {what}: togi {COMMANDS[known]} {path} runs it")
    try:
        for change in changes:
            _change(values, change)
        return kind.model_validate(values)
    except ValidationError as error:
        raise ValueError("\n".join(dict.fromkeys(f"{path}: {line}" for line in _told(error, kind)))) from None


def _change(values: dict[str, Any], change: str) -> None:
    key, equals, text = change.partition("=")
    *tables, last = key.strip().split(".")
    if not equals or not tables or not last:
        raise ValueError(f'"{change}": a change is written TABLE.KEY=VALUE')
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text.strip()
    place: Any = values
    for each in tables:
        place = place.setdefault(each, {})
        if not isinstance(place, dict):
            raise ValueError(f'"{change}": {each} is no table')
    place[last] = value


def _told(error: ValidationError, kind: type[Table]) -> Iterator[str]:
    for each in error.errors():
        *tables, last = each["loc"]
        fields = _table(kind, tables).model_fields
        said = explain(each)[1]
        if each["type"] == "extra_forbidden":
            said = f"unknown key; {did_you_mean(str(last), list(fields))}"
        elif each["type"] == "missing":
            told = fields[str(last)].description
            said = f"is needed and not there{f' ({told})' if told else ''}"
        yield f"{'.'.join(map(str, each['loc']))}: {said}"


def _table(kind: type[Table], key: Sequence[int | str]) -> type[Table]:
    """The table that a key stands in, as far as it leads through tables."""
    for part in key:
        field = kind.model_fields.get(str(part))
        if field is None or not (isinstance(field.annotation, type) and issubclass(field.annotation, Table)):
            break
        kind = field.annotation
    return kind


def file_beside(path: Path, key: str, name: str) -> Path:
    """A file that ``key`` names, by its place beside the file of tables. Raises ValueError where it is not there."""
    found = (path.parent / name).resolve()
    if not found.is_file():
        raise ValueError(f"{path}: {key}: there is no file {found}")
    return found
