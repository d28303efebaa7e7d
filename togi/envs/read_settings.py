"""Settings of an environment as a recipe gives them, checked one by one. It knows no environment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any


def settings_of(kind: type[Any]) -> list[str]:
    """The names of a dataclass that a recipe may set: not ``seconds``, which stands beside the settings."""
    return [each.name for each in fields(kind) if not each.name.startswith("_") and each.name != "seconds"]


def refuse_odd(settings: Mapping[str, Any], wanted: Iterable[str], whose: str) -> None:
    """Raises ValueError for a name that is none of ``whose`` settings."""
    wanted = tuple(wanted)
    if odd := [name for name in settings if name not in wanted]:
        raise ValueError(f"{odd[0]!r} is no setting of {whose}: there are {', '.join(wanted)}")


def whole_number(settings: Mapping[str, Any], name: str, least: int, default: int) -> int:
    """Raises ValueError for anything but a whole number of at least ``least``."""
    value = settings.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise ValueError(f"{name} = {value!r}: wanted a whole number of at least {least}")
    return value
