"""Groups that were sampled ahead, as files of the run folder, from when they are ready until no checkpoint is left from
which a run would learn from them. It samples nothing, and knows nothing of threads.

A group is ready when an event vouches for its file. A run that goes on from a checkpoint learns from the groups of all
later steps as they stand here: none is sampled again, and none is learned from that the weights have learned from.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from togi.run_folder.checkpoint import STATE
from togi.run_folder.files import RunFolder, dumps, remove, write_text
from togi.run_folder.integrity import named_files
from togi.samplers.ahead import Place, Ready, Why
from togi.samplers.group_rows import group_of, group_row
from togi.types import Group, Task

AHEAD = "ahead"
_NAME = re.compile(r"(?P<stage>.+)-(?P<step>\d{6,})-(?P<number>\d{4,})\.json")


class ReadyGroups:
    """Those of one stage. ``tasks`` are known by their ids."""

    def __init__(self, folder: RunFolder, stage: str, tasks: Sequence[Task]) -> None:
        self._folder, self._stage = folder, stage
        self._tasks = {task.id: task for task in tasks}

    def found(self) -> dict[Place, Ready]:
        """What an earlier process kept; nothing of tasks that are not there any more."""
        found = {}
        for path in named_files(self._folder.path, f"{AHEAD}/*.json"):
            told = _NAME.fullmatch(path.name)
            if told is None or told["stage"] != self._stage:
                continue
            row = json.loads(path.read_text(encoding="utf-8"))
            if set(_tasks_of(row)) <= self._tasks.keys():
                found[Place(step=int(told["step"]) - 1, number=int(told["number"]))] = self._read(row)
        return found

    def keep(self, place: Place, ready: Ready) -> None:
        path = self._path(place)
        write_text(path, dumps(_row(ready)))
        self._folder.event("sampled", **self._told(place), since=ready.since, files=self._folder.marks(path))

    def drop(self, place: Place, why: Why) -> None:
        self._folder.event("sampled_again", **self._told(place), why=why, removed=[self._name(place)])
        remove(self._path(place))

    def _read(self, row: Mapping[str, Any]) -> Ready:
        groups = self._groups(row["groups"])
        return Ready(
            tasks=tuple(row["tasks"]),
            groups=groups,
            played=groups if row["played"] is None else self._groups(row["played"]),
            drawn=tuple(row["drawn"]),
            counts=row["counts"],
            since=row["since"],
        )

    def _groups(self, rows: Sequence[Mapping[str, Any]]) -> tuple[Group, ...]:
        return tuple(group_of(each, self._tasks) for each in rows)

    def _told(self, place: Place) -> dict[str, Any]:
        return {"stage": self._stage, "step": place.step + 1, "group": place.number}

    def _name(self, place: Place) -> str:
        return f"{AHEAD}/{self._stage}-{place.step + 1:06d}-{place.number:04d}.json"

    def _path(self, place: Place) -> Path:
        return self._folder.path / self._name(place)


def _row(ready: Ready) -> dict[str, Any]:
    return {
        "tasks": list(ready.tasks),
        "groups": [group_row(group) for group in ready.groups],
        "played": None if ready.played == ready.groups else [group_row(group) for group in ready.played],
        "drawn": list(ready.drawn),
        "counts": dict(ready.counts),
        "since": ready.since,
    }


def _tasks_of(row: Mapping[str, Any]) -> Iterator[str]:
    yield from row["tasks"]
    for name in ("groups", "played"):
        yield from (group["task"] for group in row[name] or ())


def files_ahead(folder: Path) -> list[str]:
    """The files of groups that a run folder holds."""
    return sorted(f"{AHEAD}/{path.name}" for path in (folder / AHEAD).glob("[!.]*"))


def of_later_stages(folder: Path, stages: Sequence[str], at_work: int) -> list[str]:
    """The files of groups of the stages after the one at work, which begins them anew."""
    later = set(stages[at_work + 1 :])
    return [path for path in files_ahead(folder) if (told := _told_of(path)) and told["stage"] in later]


def over(folder: Path, stages: Sequence[str], kept: Iterable[Path]) -> list[str]:
    """The files of groups from which no run learns that goes on from one of the checkpoints ``kept``."""
    oldest = min((position for path in kept for position in _position(path)), default=(0, 0))
    number = {name: index for index, name in enumerate(stages)}
    return [
        path
        for path in files_ahead(folder)
        if (told := _told_of(path))
        and told["stage"] in number
        and (number[told["stage"]], int(told["step"]) - 1) < oldest
    ]


def _told_of(path: str) -> re.Match[str] | None:
    return _NAME.fullmatch(path.removeprefix(f"{AHEAD}/"))


def _position(path: Path) -> Iterator[tuple[int, int]]:
    try:
        position = json.loads((path / STATE).read_text(encoding="utf-8"))["position"]
        yield int(position["stage"]), int(position["step"])
    except (OSError, ValueError, KeyError):
        return
