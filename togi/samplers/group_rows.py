"""Groups as plain data that JSON can hold, each with its task's id in place of the task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import TypeAdapter

from togi.types import Group, Task

_GROUP = TypeAdapter(Group)


def group_row(group: Group) -> dict[str, Any]:
    return {**_GROUP.dump_python(group, exclude={"task"}), "task": group.task.id}


def group_of(row: Mapping[str, Any], tasks: Mapping[str, Task]) -> Group:
    """The group of a row; ``tasks`` are known by their ids."""
    return _GROUP.validate_python({**row, "task": tasks[row["task"]]})
