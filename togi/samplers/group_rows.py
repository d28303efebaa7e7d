"""Groups as plain data that JSON can hold, each with its task's id in place of the task."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from togi.types import Group, Task

_GROUP = TypeAdapter(Group)


def group_row(group: Group) -> dict[str, Any]:
    row: dict[str, Any] = _spelled(_GROUP.dump_python(group, exclude={"task"}))
    return {**row, "task": group.task.id}


def group_of(row: Mapping[str, Any], tasks: Mapping[str, Task]) -> Group:
    """The group of a row; ``tasks`` are known by their ids."""
    return _GROUP.validate_python({**row, "task": tasks[row["task"]]})


def _spelled(value: Any) -> Any:
    """The value with nan and infinity, which JSON lacks, as the words that are read as these numbers."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if isinstance(value, Mapping):
        return {name: _spelled(each) for name, each in value.items()}
    return [_spelled(each) for each in value] if isinstance(value, list | tuple) else value
