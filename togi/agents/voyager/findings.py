"""What lives show, as numbers: how many items over prompts, when each tier, who was wrong about a goal, and what a
library is worth in a new world. It words nothing."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from togi.agents.voyager.archive import REPLIES, Archive, lives
from togi.agents.voyager.attempt import Attempt, Lived
from togi.agents.voyager.library import Skill
from togi.agents.voyager.schema import Arm
from togi.statistics import Difference, Interval, difference_over_seeds, holm, over_seeds
from togi.transcript import Line, read_transcript

SMALLEST = 1.0
"""The smallest difference that is spoken of, in items."""
SMALLEST_SHARE = 0.1
"""The same of shares of goals."""


@dataclass(frozen=True, kw_only=True)
class Told:
    """One life as it went: its attempts in order, and the skills that it kept, of a world with ``items`` in tiers."""

    lived: Lived
    attempts: tuple[Attempt, ...]
    skills: tuple[Skill, ...]
    items: Mapping[str, int]

    @cached_property
    def first_seen(self) -> dict[str, int]:
        """Of each item that there ever was the number of the prompt after which there was some."""
        found = dict[str, int]()
        for attempt in self.attempts:
            for item in (*attempt.seen, *attempt.held):
                found.setdefault(item, attempt.number + 1)
        return found

    def unique(self, prompts: int) -> list[int]:
        """How many different items there had been after each prompt."""
        return [sum(at <= number for at in self.first_seen.values()) for number in range(1, prompts + 1)]

    def tiers(self) -> dict[int, int]:
        """Of each tier that was reached the prompt of its first item."""
        found = dict[int, int]()
        for item, at in sorted(self.first_seen.items(), key=lambda pair: pair[1]):
            found.setdefault(self.items[item], at)
        return found

    @cached_property
    def goals(self) -> list[list[Attempt]]:
        """The attempts by goal, in order."""
        found: list[list[Attempt]] = []
        for attempt in self.attempts:
            if attempt.turn == 1:
                found.append([])
            found[-1].append(attempt)
        return found


@dataclass(frozen=True, kw_only=True)
class Arms:
    """One arm over its lives: ``scores`` [lives, columns], their mean with its interval, and of all but the first the
    difference of the first arm from it with a p-value for all together."""

    arm: Arm
    scores: np.ndarray[tuple[int, int], np.dtype[np.float64]]
    mean: Interval
    difference: Difference | None
    p: float


@dataclass(frozen=True, kw_only=True)
class Disagreement:
    """What critics said of attempts, beside what the state said of them."""

    right: int
    wrong_yes: int
    wrong_no: int
    unread: int

    @property
    def asked(self) -> int:
        return self.right + self.wrong_yes + self.wrong_no + self.unread


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Everything that a folder shows."""

    plan: Mapping[str, Any]
    told: tuple[Told, ...]
    lines: tuple[Line, ...]

    @property
    def prompts(self) -> int:
        return int(self.plan["tables"]["life"]["prompts"])

    @property
    def tiers(self) -> list[int]:
        return sorted(set(self.plan["items"].values()))

    def lives(self, arm: Arm | None = None, *, new_worlds: bool = False) -> list[Told]:
        return [
            each
            for each in self.told
            if bool(each.lived.goals) is new_worlds and (arm is None or each.lived.arm == arm)
        ]

    @cached_property
    def whole(self) -> bool:
        """Whether every life is over."""
        return all(len(each.attempts) == self.prompts for each in self.lives()) and all(
            len(each.goals) == len(each.lived.goals) and _over(each.goals[-1], self.plan)
            for each in self.lives(new_worlds=True)
        )

    @cached_property
    def arms(self) -> list[Arms]:
        """Different items at the end of each life."""
        return compared(
            {arm: [[each.unique(self.prompts)[-1]] for each in self.lives(arm)] for arm in self.of}, SMALLEST
        )

    def tier_prompts(self, arm: Arm, tier: int) -> list[int]:
        """The prompt of the first item of a tier, of each life of an arm that had one."""
        found = (each.tiers() for each in self.lives(arm))
        return [at[tier] for at in found if tier in at]

    @cached_property
    def moved(self) -> list[Arms]:
        """Goals that were reached in new worlds, the share of each life's."""
        found = {each.lived.arm: list[list[float]]() for each in self.lives(new_worlds=True)}
        for each in self.lives(new_worlds=True):
            found[each.lived.arm].append([float(any(one.reached for one in goal)) for goal in each.goals])
        return compared(found, SMALLEST_SHARE)

    @cached_property
    def of(self) -> list[Arm]:
        return list(dict.fromkeys(each.lived.arm for each in self.lives()))

    @cached_property
    def disagreement(self) -> Disagreement:
        """Over all attempts that a critic was asked about."""
        asked = [
            one
            for each in self.told
            if each.lived.arm != "unverified" or each.lived.goals
            for one in each.attempts
            if not one.fault
        ]
        known = [one for one in asked if one.critic is not None]
        return Disagreement(
            right=sum(one.critic == one.reached for one in known),
            wrong_yes=sum(bool(one.critic) and not one.reached for one in known),
            wrong_no=sum(one.critic is False and one.reached for one in known),
            unread=len(asked) - len(known),
        )


def read_outcome(archive: Archive) -> Outcome:
    """What a folder shows so far. Raises FolderError for another folder."""
    plan = archive.plan()
    told = tuple(
        Told(
            lived=lived,
            attempts=tuple(archive.attempts(lived.name)),
            skills=tuple(archive.skills(lived.name)),
            items=plan["items"],
        )
        for lived in lives(plan)
    )
    path: Path = archive.path / REPLIES
    return Outcome(plan=plan, told=told, lines=tuple(read_transcript(path)))


def compared(scores: Mapping[Arm, Sequence[Sequence[float]]], margin: float) -> list[Arms]:
    """The first arm against each other one, life by life in the same worlds."""
    tables = {arm: np.array(rows, np.float64) for arm, rows in scores.items() if rows and len(set(map(len, rows))) == 1}
    tables = {arm: table for arm, table in tables.items() if table.size}
    if not tables:
        return []
    first, *others = tables.values()
    differences = [difference_over_seeds(first, other, margin=margin) for other in others if other.shape == first.shape]
    if len(differences) < len(others):
        return []
    ps = holm([each.p for each in differences]).tolist() if differences else []
    return [
        Arms(
            arm=arm,
            scores=table,
            mean=over_seeds(table),
            difference=differences[place - 1] if place else None,
            p=ps[place - 1] if place else math.nan,
        )
        for place, (arm, table) in enumerate(tables.items())
    ]


def used(skill: Skill, told: Told) -> list[str]:
    """Where a skill was called: the goals of the attempts whose code calls it by its name."""
    calling = [one for one in told.attempts if skill.name in one.called and one.number != skill.number]
    return list(dict.fromkeys(f"{one.goal.told}{'' if one.done else ' (given up or tried again)'}" for one in calling))


def _over(goal: Sequence[Attempt], plan: Mapping[str, Any]) -> bool:
    return goal[-1].done or len(goal) == plan["tables"]["transfer"]["tries"]
