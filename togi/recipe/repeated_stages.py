"""Stages that are gone through several times, written out: ``[[repeat]]`` becomes ordinary stages with names of their
own, so that nobody else knows of rounds. It knows what a stage says of others, and no algorithm.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from togi.recipe.errors import did_you_mean, stage_name
from togi.recipe.key_lines import Key
from togi.recipe.schema import RepeatTable

Problem = tuple[Key, str]
STARTS = ("start", "critic_start", "teacher")
MOST = 100  # stages of a run, as in the schema


@dataclass(frozen=True, kw_only=True)
class Group:
    """Stages that follow each other, by ``names``, and are gone through ``times`` times."""

    names: tuple[str, ...]
    times: int
    growth: Mapping[str, float]


def faults(tables: Sequence[RepeatTable], stages: Sequence[Mapping[str, Any]]) -> Iterator[Problem]:
    """What is wrong between the groups and the stages that are written."""
    names = [stage_name(stage) or "" for stage in stages]
    taken: set[str] = set()
    for number, table in enumerate(tables):
        key: Key = ("repeat", number)
        if missing := [name for name in table.stages if name not in names]:
            yield (*key, "stages"), f"no stage is called {missing[0]!r}; {did_you_mean(missing[0], names)}"
            continue
        at = [names.index(name) for name in table.stages]
        if at != list(range(at[0], at[0] + len(at))):
            follow = ", ".join(names[min(at) : max(at) + 1])
            yield (*key, "stages"), f"stages are repeated that follow each other, in their order: {follow}"
        if twice := taken & set(table.stages):
            yield (*key, "stages"), f"{min(twice)!r} stands in two groups: a stage is repeated in one"
        if odd := [name for name in table.growth if name not in table.stages]:
            yield (*key, "growth"), f"{odd[0]!r} is no stage of this group; {did_you_mean(odd[0], table.stages)}"
        taken |= set(table.stages)
    count = len(stages) + sum((table.times - 1) * len(table.stages) for table in tables)
    if count > MOST:
        yield ("repeat",), f"these are {count:,} stages with all rounds, and a run has at most {MOST}: take fewer"


def written_out(
    tables: Sequence[RepeatTable], values: Mapping[str, Any], origins: Mapping[Key, str]
) -> tuple[dict[str, Any], dict[Key, str]]:
    """The recipe's values with the stages of every round, and where each of their keys was written.

    ``answers`` becomes ``answers_1``, ``answers_2``, ... A stage of a round means by a name the stage of the same round
    where that stands before it, else the one of the round before. A stage after the group means the last round where it
    starts, and all rounds where it learns from their rollouts.
    """
    stages: Sequence[Mapping[str, Any]] = values["stage"]
    each = [Group(names=table.stages, times=table.times, growth=table.growth) for table in tables]
    groups = {name: group for group in each for name in group.names}
    out: list[dict[str, Any]] = []
    came_from: list[int] = []
    for number, stage in enumerate(stages):
        group = groups.get(stage_name(stage) or "")
        if group is None:
            out.append(_after(stage, groups))
            came_from.append(number)
        elif stage_name(stage) == group.names[0]:
            for turn in range(1, group.times + 1):
                for place in range(len(group.names)):
                    out.append(_in_round(_after(stages[number + place], groups), group, place, turn))
                    came_from.append(number + place)
    places = {key: origin for key, origin in origins.items() if key[:1] not in (("stage",), ("repeat",)) or not key[1:]}
    for new, old in enumerate(came_from):
        own = {key[2:]: origin for key, origin in origins.items() if key[:2] == ("stage", old)}
        places |= {("stage", new, *key): origin for key, origin in own.items()}
    rest = {name: value for name, value in values.items() if name != "repeat"}
    return {**rest, "stage": out}, places


def _after(stage: Mapping[str, Any], groups: Mapping[str, Group]) -> dict[str, Any]:
    """A stage with the names of other groups' stages as those of their rounds."""
    found = copy.deepcopy(dict(stage))
    own = groups.get(stage_name(stage) or "")
    others = {name: group for name, group in groups.items() if group is not own}
    for key in STARTS:
        if (start := found.get(key)) in others:
            found[key] = f"{start}_{others[start].times}"
    _learn_from(found, {name: range(1, group.times + 1) for name, group in others.items()})
    return found


def _in_round(stage: dict[str, Any], group: Group, place: int, turn: int) -> dict[str, Any]:
    """The stage at a place of its group, in a round."""
    before, rest = group.names[:place], group.names[place:]
    for key in STARTS:
        if (start := stage.get(key)) in before:
            stage[key] = f"{start}_{turn}"
        elif start in rest and turn > 1:
            stage[key] = f"{start}_{turn - 1}"
        elif start in rest:
            del stage[key]
    data = stage.get("data")
    earlier = isinstance(data, dict) and data.pop("earlier_rounds", False)
    _learn_from(stage, {name: range(1 if earlier else turn, turn + 1) for name in before})
    stage["name"] = f"{group.names[place]}_{turn}"
    stage["steps"] = round(stage["steps"] * group.growth.get(group.names[place], 1.0) ** (turn - 1))
    return stage


def _learn_from(stage: dict[str, Any], rounds: Mapping[str, range]) -> None:
    """Put the stages of those rounds for the names of repeated ones in ``data.rollouts``."""
    data = stage.get("data")
    if not (isinstance(data, dict) and "rollouts" in data):
        return
    named = data["rollouts"]
    names = [named] if isinstance(named, str) else list(named)
    data["rollouts"] = [
        each for name in names for each in ([f"{name}_{turn}" for turn in rounds[name]] if name in rounds else [name])
    ]
