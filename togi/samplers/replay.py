"""Groups of earlier steps that are learned from once more. Knows no token's worth and no loss.

What is remembered is plain data in a checkpoint, so that a run that was stopped replays what it would have.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, pvariance
from typing import Any, Literal

import numpy as np

from togi.advantages import informative
from togi.samplers.group import attempted
from togi.samplers.group_rows import group_of, group_row
from togi.types import Group, Task

Priority = Literal["signal", "newest", "chance"]


@dataclass(frozen=True, kw_only=True)
class Replay:
    """Of a step's groups the ``share`` that earlier steps sampled, as far as there are any that may be learned again:
    their attempts were paid differently, none was drawn more than ``oldest`` weight updates ago, and they were not
    replayed ``uses`` times yet.

    ``priority`` says which of them come first: ``signal`` draws those oftener whose rewards spread more (for right and
    wrong by p (1 - p)), ``newest`` takes the last ones, ``chance`` any.
    """

    share: float = 0.25
    oldest: int = 8
    uses: int = 1
    priority: Priority = "signal"

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ValueError(f"share is the replayed part of a step's groups, above 0 and below 1, got {self.share}")
        if self.oldest < 1:
            raise ValueError(f"oldest counts weight updates since a group was drawn, at least 1, got {self.oldest}")
        if self.uses < 1:
            raise ValueError(f"uses counts how often a group is replayed, at least 1, got {self.uses}")

    def wanted(self, groups: int) -> int:
        """How many of a step's groups are to be replayed."""
        return round(self.share * groups)


@dataclass(frozen=True, kw_only=True)
class Remembered:
    """A group that may be learned from again. ``drawn`` counts the weight updates its oldest turn was sampled after,
    ``uses`` how often it was replayed."""

    group: Group
    drawn: int
    uses: int = 0


class ReplayBuffer:
    """What a stage remembers, and which of it comes next. Chance is decided by ``seed`` and the weights' version."""

    def __init__(self, replay: Replay, seed: int) -> None:
        self._replay, self._seed = replay, seed
        self._held: tuple[Remembered, ...] = ()
        self._fit = self._expired = 0
        self._ages: list[int] = []

    def take(self, groups: int, version: int) -> list[Group]:
        """Those of a step's ``groups`` that weights of ``version`` learn from again; what is too old is forgotten."""
        rule = self._replay
        young = [each for each in self._held if version - each.drawn <= rule.oldest]
        chosen = self._chosen(young, min(rule.wanted(groups), len(young)), version)
        self._expired = sum(not each.uses for each in self._held) - sum(not each.uses for each in young)
        self._ages = [version - young[place].drawn for place in chosen]
        self._fit = len(young)
        used = [replace(each, uses=each.uses + (place in chosen)) for place, each in enumerate(young)]
        self._held = tuple(each for each in used if each.uses < rule.uses)
        return [young[place].group for place in sorted(chosen)]

    def counts(self) -> dict[str, float]:
        """Of the step that took last: ``replay/groups``, ``replay/age`` and ``replay/age_max`` (updates since they were
        drawn), ``replay/held`` (groups that could be replayed), ``replay/expired`` (those that became too old unused).
        """
        counts: dict[str, float] = {
            "replay/groups": len(self._ages),
            "replay/held": self._fit,
            "replay/expired": self._expired,
        }
        if self._ages:
            counts |= {"replay/age": fmean(self._ages), "replay/age_max": max(self._ages)}
        return counts

    def _chosen(self, young: Sequence[Remembered], count: int, version: int) -> set[int]:
        if self._replay.priority == "newest":
            return set(range(len(young) - count, len(young)))
        signal = self._replay.priority == "signal"
        weight_N = np.array([pvariance(rewards(each.group)) if signal else 1.0 for each in young])
        wait_N = np.random.default_rng([self._seed, version]).exponential(size=len(young))
        return set(np.argsort(wait_N / weight_N, kind="stable")[:count].tolist())

    def add(self, groups: Sequence[Group]) -> None:
        """Remember what was sampled: scored attempts only, of groups in which they were paid differently."""
        for group in groups:
            sampled = [pair for pair in attempted(group) if pair[1].status == "ok" and pair[0].turns]
            if not informative([score.value for _, score in sampled]):
                continue
            attempts, scores = zip(*sampled, strict=True)
            drawn = min(turn.version for attempt in attempts for turn in attempt.turns)
            self._held += (Remembered(group=replace(group, trajectories=attempts, scores=scores), drawn=drawn),)

    @property
    def held(self) -> tuple[Remembered, ...]:
        return self._held

    def restore(self, rows: Sequence[Mapping[str, Any]], tasks: Sequence[Task]) -> None:
        by_id = {task.id: task for task in tasks}
        self._held = tuple(Remembered(**{**row, "group": group_of(row["group"], by_id)}) for row in rows)


def remembered_rows(held: Sequence[Remembered]) -> list[dict[str, Any]]:
    """What is remembered as plain data; a task is named by its id."""
    return [{"group": group_row(each.group), "drawn": each.drawn, "uses": each.uses} for each in held]


def rewards(group: Group) -> list[float]:
    return [score.value for score in group.scores if score.status == "ok"]
