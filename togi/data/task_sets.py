"""Task sets, the order they are trained in, and whether two of them share a question; it knows no file format."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import overload

from togi.data.errors import DataError
from togi.data.lineage import Lineage
from togi.data.mixture import shares
from togi.data.row_to_task import prompt_key
from togi.types import Task


@dataclass(frozen=True, kw_only=True)
class MadeRows:
    """A file of rows that a command made, and its record."""

    path: Path
    lineage: Lineage


class Tasks(Sequence[Task]):
    """Tasks in order, never changed. ``digest`` is a sha256 over their contents; ``dropped`` counts rows left out
    because their prompt stands in another split, ``skipped`` those that were sound but said nothing, by reason.
    Of a mixture ``sources`` says which source each task is from, and ``weights`` how often each is drawn from. ``made``
    are the files behind them whose lineage is known."""

    def __init__(
        self,
        tasks: Sequence[Task],
        *,
        dropped: int = 0,
        skipped: Mapping[str, int] | None = None,
        sources: Sequence[int] = (),
        weights: Sequence[float] = (),
        made: Sequence[MadeRows] = (),
    ) -> None:
        assert not weights or len(sources) == len(tasks)
        self._tasks = tuple(tasks)
        self.sources = tuple(sources)
        self.weights = tuple(weights)
        self.made = tuple(made)
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
            return self._with(range(len(self))[index])
        return self._tasks[index]

    def where(self, keep: Callable[[Task], bool]) -> Tasks:
        return self._with([index for index, task in enumerate(self._tasks) if keep(task)])

    def changed(self, change: Callable[[Task], Task]) -> Tasks:
        """The same tasks, each as ``change`` makes it."""
        return self._like([change(task) for task in self._tasks], self.sources)

    def replaced(self, tasks: Sequence[Task]) -> Tasks:
        """Other tasks in the places of these."""
        assert len(tasks) == len(self)
        return self._like(tasks, self.sources)

    def _with(self, kept: Sequence[int]) -> Tasks:
        sources = [self.sources[index] for index in kept] if self.weights else ()
        return self._like([self._tasks[index] for index in kept], sources)

    def _like(self, tasks: Sequence[Task], sources: Sequence[int]) -> Tasks:
        return Tasks(
            tasks,
            dropped=self.dropped,
            skipped=self.skipped,
            sources=sources,
            weights=self.weights,
            made=self.made,
        )

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
        if self.weights:
            sha.update(json.dumps([self.sources, self.weights]).encode())
        return sha.hexdigest()


def mixed(parts: Sequence[Tasks], weights: Sequence[float]) -> Tasks:
    """The tasks of several sources, drawn in proportion to ``weights``; "train:17" of the second is "train.2:17"."""
    tasks, sources = [], []
    skipped: Counter[str] = Counter()
    for number, part in enumerate(parts):
        for task in part:
            name, _, row = task.id.partition(":")
            tasks.append(replace(task, id=f"{name}.{number + 1}:{row}"))
            sources.append(number)
        skipped.update(part.skipped)
    dropped = sum(part.dropped for part in parts)
    made = [each for part in parts for each in part.made]
    return Tasks(tasks, dropped=dropped, skipped=skipped, sources=sources, weights=weights, made=made)


def with_shuffled_answers(tasks: Tasks) -> Tasks:
    """The tasks, each with the answer of another one and what else its grader reads (``info``): the same ones every
    time, whatever a run's seed. Raises DataError where there is no other answer to give."""
    if len({json.dumps([task.answer, task.info], sort_keys=True, default=str) for task in tasks}) < 2:
        raise DataError(f"answers are shuffled among tasks whose answers differ, and all {len(tasks)} have the same")
    order = sorted(range(len(tasks)), key=lambda index: _unit(f"answer of another task {index}"))
    giver = dict(zip(order, [*order[1:], order[0]], strict=True))
    given = [replace(task, answer=tasks[giver[i]].answer, info=tasks[giver[i]].info) for i, task in enumerate(tasks)]
    return tasks.replaced(given)


class TaskStream(Iterator[Task]):
    """Tasks without end, in an order that differs by epoch and is the same for the same seed.

    The order is a sort by hash(seed, epoch, index): any position can be restored without playing what came before. An
    epoch of a mixture has as many draws as there are tasks, each source its share of them; a source goes on in the next
    epoch where it stopped, and begins again in a new order when it is through.
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
        if not isinstance(self._tasks, Tasks) or not self._tasks.weights:
            return self._sorted(self._epoch, range(len(self._tasks)))
        members: dict[int, list[int]] = {}
        for index, source in enumerate(self._tasks.sources):
            members.setdefault(source, []).append(index)
        draws = shares([self._tasks.weights[source] for source in members], len(self._tasks))
        drawn: list[int] = []
        for own, count in zip(members.values(), draws, strict=True):
            first, last = self._epoch * count, (self._epoch + 1) * count
            passes = range(first // len(own), -(-last // len(own)))
            ordered = [index for each in passes for index in self._sorted(each, own)]
            start = first - passes.start * len(own)
            drawn += ordered[start : start + count]
        return [drawn[at] for at in self._sorted(self._epoch, range(len(drawn)))]

    def _sorted(self, epoch: int, indices: Sequence[int]) -> list[int]:
        def key(index: int) -> bytes:
            return hashlib.blake2b(f"{self._seed}/{epoch}/{index}".encode(), digest_size=16).digest()

        return sorted(indices, key=key)


def stream(tasks: Sequence[Task], seed: int) -> TaskStream:
    return TaskStream(tasks, seed)


def split(tasks: Tasks, share: float) -> tuple[Tasks, Tasks]:
    """(tasks to learn from, about ``share`` of them held out). All tasks of one question are on the same side."""
    held_out = {key for key in map(prompt_key, tasks) if _unit(key) < share}
    kept = tasks.where(lambda task: prompt_key(task) not in held_out)
    return kept, Tasks([task for task in tasks if prompt_key(task) in held_out])


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
