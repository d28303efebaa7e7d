"""Task sets, the order they are trained in, and whether two of them share a question; it knows no file format."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import cached_property
from typing import overload

from togi.data.errors import DataError
from togi.data.row_to_task import prompt_key
from togi.types import Task


class Tasks(Sequence[Task]):
    """Tasks in order, never changed. ``digest`` is a sha256 over their contents; ``dropped`` counts rows left out
    because their prompt stands in another split, ``skipped`` those that were sound but said nothing, by reason."""

    def __init__(self, tasks: Sequence[Task], *, dropped: int = 0, skipped: Mapping[str, int] | None = None) -> None:
        self._tasks = tuple(tasks)
        self.dropped = dropped
        self.skipped = dict(skipped or {})

    def __len__(self) -> int:
        return len(self._tasks)

    @overload
    def __getitem__(self, index: int) -> Task: ...

    @overload
    def __getitem__(self, index: slice) -> Tasks: ...

    def __getitem__(self, index: int | slice) -> Task | Tasks:
        if isinstance(index, slice):
            return Tasks(self._tasks[index], dropped=self.dropped, skipped=self.skipped)
        return self._tasks[index]

    def notes(self) -> list[str]:
        """What was left out of the source and why, a plain sentence each; nothing when nothing was."""
        reasons = dict(sorted(self.skipped.items(), key=lambda each: -each[1]))
        if self.dropped:
            reasons["their prompt stands in another split"] = self.dropped
        return [
            f"{count:,} row{'s were' if count > 1 else ' was'} left out: {reason}" for reason, count in reasons.items()
        ]

    @cached_property
    def digest(self) -> str:
        sha = hashlib.sha256()
        for task in self._tasks:
            sha.update(json.dumps(asdict(task), sort_keys=True).encode() + b"\n")
        return sha.hexdigest()


class TaskStream(Iterator[Task]):
    """Tasks without end, in an order that differs by epoch and is the same for the same seed.

    The order is a sort by hash(seed, epoch, index): any position can be restored without playing what came before.
    """

    def __init__(self, tasks: Sequence[Task], seed: int) -> None:
        if not tasks:
            raise DataError("there are no tasks to train on")
        self._tasks = tasks
        self._seed = seed
        self._epoch = 0
        self._position = 0
        self._order = self._shuffled()

    def __next__(self) -> Task:
        if self._position == len(self._order):
            self._epoch, self._position = self._epoch + 1, 0
            self._order = self._shuffled()
        task = self._tasks[self._order[self._position]]
        self._position += 1
        return task

    def state(self) -> dict[str, int]:
        return {"epoch": self._epoch, "position": self._position}

    def restore(self, state: Mapping[str, int]) -> None:
        """Go on after the task that was drawn last when ``state`` was taken. Raises ValueError."""
        epoch, position = state["epoch"], state["position"]
        if epoch < 0 or not 0 <= position <= len(self._tasks):
            raise ValueError(f"position {position} of epoch {epoch} is not in a set of {len(self._tasks)} tasks")
        self._epoch, self._position = epoch, position
        self._order = self._shuffled()

    def _shuffled(self) -> list[int]:
        def key(index: int) -> bytes:
            return hashlib.blake2b(f"{self._seed}/{self._epoch}/{index}".encode(), digest_size=16).digest()

        return sorted(range(len(self._tasks)), key=key)


def stream(tasks: Sequence[Task], seed: int) -> TaskStream:
    return TaskStream(tasks, seed)


def split(tasks: Tasks, share: float) -> tuple[Tasks, Tasks]:
    """(tasks to learn from, about ``share`` of them held out). All tasks of one question are on the same side."""
    held_out = {key for key in map(prompt_key, tasks) if _unit(key) < share}
    parts = [task for task in tasks if prompt_key(task) not in held_out]
    return Tasks(parts, dropped=tasks.dropped, skipped=tasks.skipped), Tasks(
        [task for task in tasks if prompt_key(task) in held_out]
    )


def _unit(text: str) -> float:
    """A number in [0, 1) that looks random and depends on the text alone."""
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / (1 << 64)


def disjoint(train: Sequence[Task], test: Sequence[Task]) -> None:
    """Refuse held-out tasks whose prompt is also trained on. Raises DataError that names the first ones."""
    trained = {prompt_key(task): task.id for task in train}
    shared = [(trained[key], task.id) for task in test if (key := prompt_key(task)) in trained]
    if shared:
        pairs = ", ".join(f"{ours} = {theirs}" for ours, theirs in shared[:5])
        raise DataError(
            f"{len(shared)} of {len(test)} held-out tasks have a prompt that is also trained on ({pairs}"
            f"{', …' if len(shared) > 5 else ''}): a gain on them would prove nothing; leave them out of one of the two"
        )
